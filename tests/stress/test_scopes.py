# SPDX-License-Identifier: Apache-2.0
"""Random scopes and time-outs around requests that are held in flight: each byte has one owner.

Each task owns a block of the file. It knows which contents the block may have, and which bytes each
of its buffers has from the moment that a call ended. A write that reaches the disk after its call
said otherwise, or a read that lands after its call ended, is seen.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

from linux_aio import AIOContext, aligned_buffer
from support.any_loop import AnyLoop
from support.fusefs import HoldingFS

pytest_plugins = ["support.fixtures"]

BLOCK = 4096
TASKS = 24
STEPS = 25
PLACES = 8


@pytest.fixture
def fd(fs: HoldingFS) -> Iterator[int]:
    fd = os.open(fs.create("blocks", bytes(TASKS * BLOCK)), os.O_RDWR | os.O_DIRECT)
    yield fd
    fs.unhold()
    os.close(fd)


class Owner:
    """The task of one block."""

    def __init__(self, loop: AnyLoop, context: AIOContext, fd: int, number: int, seed: int) -> None:
        self.loop = loop
        self.context = context
        self.fd = fd
        self.number = number
        self.random = random.Random(seed * TASKS + number)
        self.version = 0
        self.possible = {0}  # versions of which the block may be
        self.unsettled = False  # a cancelled write may still be made
        self.ended: list[tuple[Any, bytes]] = []  # buffers, and what they have for ever
        self.cancelled = 0
        self.completed = 0

    def pattern(self, version: int) -> bytes:
        if version == 0:
            return bytes(BLOCK)
        return (self.number * 100_000 + version).to_bytes(8, "little") * (BLOCK // 8)

    async def live(self) -> None:
        for _ in range(STEPS):
            if self.unsettled:
                # the kernel may do two writes of one block in either order
                await self.read()
                continue
            await self.random.choice([self.write, self.write_buffer, self.read, self.readinto])()

    async def within_scopes(self, call: Any) -> bool:
        """Await it within scopes that end at random. False if one of them cancelled it."""
        limit = self.random.choice([None, 0, 0.001, 0.005, 0.02])
        outer_limit = self.random.choice([None, None, 0.003])
        completed = False
        async with self.loop.scope(outer_limit), self.loop.scope(limit) as scope:
            if self.random.random() < 0.2:
                scope.cancel()
            if self.random.random() < 0.2:
                async with self.loop.shield():
                    await call()
            else:
                await call()
            completed = True
        self.completed += completed
        self.cancelled += not completed
        return completed

    async def write(self) -> None:
        self.version += 1
        data = self.pattern(self.version)

        async def call() -> None:
            assert await self.context.write(data, self.fd, self.number * BLOCK) == BLOCK

        if await self.within_scopes(call):
            self.possible = {self.version}
        elif self.loop.name != "trio":  # in Trio it was not made
            self.possible.add(self.version)
            self.unsettled = True

    async def write_buffer(self) -> None:
        self.version += 1
        buffer = aligned_buffer(BLOCK)
        buffer[:] = self.pattern(self.version)

        async def call() -> None:
            assert await self.context.write(buffer, self.fd, self.number * BLOCK) == BLOCK

        if await self.within_scopes(call):
            self.possible = {self.version}
        elif self.loop.name != "trio":
            self.possible.add(self.version)
        buffer[:] = b"\xff" * BLOCK  # it is the program's again: nothing of this is written

    async def read(self) -> None:
        data: list[bytes] = []

        async def call() -> None:
            data.append(await self.context.read(BLOCK, self.fd, self.number * BLOCK))

        if await self.within_scopes(call):
            self.check(data[0])

    async def readinto(self) -> None:
        buffer = aligned_buffer(BLOCK)

        async def call() -> None:
            assert await self.context.readinto(buffer, self.fd, self.number * BLOCK) == BLOCK

        completed = await self.within_scopes(call)
        self.ended.append((buffer, bytes(buffer)))
        if completed:
            self.check(bytes(buffer))

    def check(self, data: bytes) -> None:
        seen = {version for version in self.possible if self.pattern(version) == data}
        assert seen, f"block {self.number} has none of {self.possible}: {data[:16]!r}"
        if not self.unsettled:
            self.possible = seen

    def check_at_the_end(self, data: bytes) -> None:
        self.unsettled = False
        self.check(data)
        for buffer, contents in self.ended:
            assert bytes(buffer) == contents, "a read wrote to memory after its call had ended"


async def disturb(loop: AnyLoop, fs: HoldingFS, is_over: list[bool], seed: int) -> None:
    """Hold what comes to the file system, for some milliseconds at a time."""
    dice = random.Random(seed)
    while not is_over:
        await loop.in_thread(fs.hold)
        await loop.sleep(dice.random() * 0.02)
        if held := await loop.in_thread(fs.held):
            await loop.in_thread(fs.release, dice.randrange(1, held + 1))
            await loop.sleep(dice.random() * 0.005)
        await loop.in_thread(fs.unhold)
        await loop.sleep(dice.random() * 0.01)


@pytest.mark.long
@pytest.mark.needs_root
@pytest.mark.parametrize("seed", range(5))
def test_each_byte_is_accounted_for(seed: int, any_loop: AnyLoop, fs: HoldingFS, fd: int) -> None:
    owners: list[Owner] = []

    async def main() -> None:
        is_over: list[bool] = []
        async with AIOContext(PLACES) as context:
            owners.extend(Owner(any_loop, context, fd, at, seed) for at in range(TASKS))
            async with any_loop.group() as group:
                group.start(disturb, any_loop, fs, is_over, seed)
                async with any_loop.group() as working:
                    for owner in owners:
                        working.start(owner.live)
                is_over.append(True)
            await any_loop.in_thread(fs.unhold)
            await any_loop.until(lambda: context.in_flight == 0)
            for owner in owners:
                data = await context.read(BLOCK, fd, owner.number * BLOCK)
                owner.check_at_the_end(data)
            statistics = context.statistics()
            assert statistics["submitted"] == statistics["completed"]

    any_loop.run(main)
    assert sum(owner.completed for owner in owners) > 0
    assert sum(owner.cancelled for owner in owners) > 0
    assert sum(owner.completed + owner.cancelled for owner in owners) == TASKS * STEPS
