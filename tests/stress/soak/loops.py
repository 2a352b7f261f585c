# SPDX-License-Identifier: Apache-2.0
"""Event loops: tasks on few places, that are cancelled and time out."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from linux_aio import AIOContext, aligned_buffer
from soak.blocks import BLOCK, Block
from soak.files import some_file
from soak.round import Round

TASKS = 64


class Owner:
    """The task of one block."""

    def __init__(self, work: Round, context: AIOContext, fd: int, number: int) -> None:
        self.work = work
        self.context = context
        self.fd = fd
        self.block = Block(number)
        self.chance = work.chance(f"owner {fd} {number}")
        self.buffer = aligned_buffer(BLOCK)

    async def live(self) -> None:
        steps: list[Callable[[], Coroutine[Any, Any, None]]] = [
            self.write,
            self.read,
            self.read,
            self.readinto,
            self.sync,
        ]
        for _ in range(self.chance.randint(5, 40)):
            limit = self.chance.choice([None, None, None, 0, 0.0005, 0.01])
            try:
                async with asyncio.timeout(limit):
                    await self.chance.choice(steps)()
            except TimeoutError:
                self.work.count(timeouts=1)
        await self.read()

    async def write(self) -> None:
        self.buffer[:] = self.block.next()
        assert await self.context.write(self.buffer, self.fd, self.block.offset) == BLOCK
        self.block.written()
        self.work.count(writes=1)

    async def read(self) -> None:
        self.block.check(await self.context.read(BLOCK, self.fd, self.block.offset))
        self.work.count(reads_checked=1)

    async def readinto(self) -> None:
        count = await self.context.readv([self.buffer], self.fd, self.block.offset)
        self.block.check(bytes(self.buffer[:count]))
        self.work.count(reads_checked=1)

    async def sync(self) -> None:
        if self.chance.random() < 0.1:
            await self.context.fdsync(self.fd)
            self.work.count(syncs=1)


async def spell(work: Round, fd: int, chance: Random) -> None:
    """Some contexts for a while, some of which close with tasks at work."""
    contexts = [work.context(chance, size) for size in (1, 4, 32)]
    owners = [Owner(work, contexts[at % 3], fd, at) for at in range(TASKS)]
    tasks = [asyncio.create_task(owner.live()) for owner in owners]
    for _ in range(chance.randint(0, 20)):
        await asyncio.sleep(chance.choice([0, 0.001]))
        chance.choice(tasks).cancel()
        work.count(cancellations=1)
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result
    for owner in owners:
        await owner.read()
    tasks = [asyncio.create_task(owner.live()) for owner in owners[:8]]
    await asyncio.sleep(0)
    for context in contexts:
        with contextlib.suppress(ValueError):  # of those who are in the queue
            await context.aclose()
        statistics = context.statistics()
        assert statistics["submitted"] == statistics["completed"], statistics
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        assert result is None or is_of_closing(result), result


def is_of_closing(error: BaseException) -> bool:
    """What those get who await while the context closes: queued, or in flight and cancelled."""
    is_cancelled = isinstance(error, OSError) and error.errno == errno.ECANCELED
    return isinstance(error, ValueError) or is_cancelled


def work_in_a_loop(work: Round) -> None:
    chance = work.chance("loop")
    while not work.is_over():
        with some_file(work.folder, TASKS, chance) as fd:
            asyncio.run(spell(work, fd, chance))
