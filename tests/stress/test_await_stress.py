# SPDX-License-Identifier: Apache-2.0
"""Many tasks on few places: every byte right, nothing hangs, nobody starves."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from linux_aio import AIOContext, aligned_buffer
from support.files import file_in_memory
from support.loops import LOOP_FACTORIES, LoopFactory, run

pytest_plugins = ["support.fixtures"]

TASKS = 1000
ROUNDS = 8
PLACES = 16
BLOCK = 4096

every_loop = pytest.mark.parametrize("factory", LOOP_FACTORIES)


# A thousand tasks


@pytest.fixture(params=["memory", "direct"])
def fd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    if request.param == "memory":
        with file_in_memory(bytes(TASKS * BLOCK)) as number:
            yield number
        return
    path = tmp_path / "file"
    path.write_bytes(bytes(TASKS * BLOCK))
    try:
        number = os.open(path, os.O_RDWR | os.O_DIRECT)
    except OSError as error:
        pytest.skip(f"no O_DIRECT here: {error}")
    yield number
    os.close(number)


class Owner:
    """The task of one block: what may be in it, and how that is changed and checked."""

    def __init__(self, context: AIOContext, fd: int, number: int) -> None:
        self.context = context
        self.fd = fd
        self.number = number
        self.random = random.Random(number)
        self.buffer = aligned_buffer(BLOCK)
        # A write that was cancelled, or is not over, may yet take place, or not.
        self.possible = {0}
        self.version = 0
        self.steps = 0

    @property
    def offset(self) -> int:
        return self.number * BLOCK

    def pattern(self, version: int) -> bytes:
        if version == 0:
            return bytes(BLOCK)
        return (self.number * 1000 + version).to_bytes(8, "little") * (BLOCK // 8)

    async def live(self) -> None:
        for _ in range(ROUNDS):
            step = self.random.choice([self.write, self.read, self.readinto, self.sync])
            limit = self.random.choice([None, None, 0, 0.0005, 0.01])
            try:
                async with asyncio.timeout(limit):
                    await step()
            except TimeoutError:
                pass
            self.steps += 1
        await self.read()

    async def write(self) -> None:
        self.version += 1
        self.buffer[:] = self.pattern(self.version)
        self.possible.add(self.version)
        # The buffer can change, so this does not end before the kernel is through.
        assert await self.context.write(self.buffer, self.fd, self.offset) == BLOCK
        self.possible = {self.version}

    async def read(self) -> None:
        data = await self.context.read(BLOCK, self.fd, self.offset)
        self.check(data)

    async def readinto(self) -> None:
        assert await self.context.readinto(self.buffer, self.fd, self.offset) == BLOCK
        self.check(bytes(self.buffer))

    async def sync(self) -> None:
        await self.context.fdsync(self.fd)

    def check(self, data: bytes) -> None:
        # One write is in flight at a time, and no read of ours beside it.
        versions = [version for version in self.possible if self.pattern(version) == data]
        assert versions, f"block {self.number} has none of versions {self.possible}: {data[:16]!r}"
        self.possible = set(versions)


async def disturb(tasks: list[asyncio.Task[None]]) -> int:
    """Cancel some of the tasks, some twice."""
    chance = random.Random(1)
    count = 0
    for task in chance.sample(tasks, len(tasks) // 10):
        await asyncio.sleep(0)
        count += task.cancel()
        if chance.random() < 0.3:
            task.cancel()
    return count


@pytest.mark.long
@every_loop
def test_a_thousand_tasks(factory: LoopFactory, fd: int) -> None:
    async def main() -> None:
        async with AIOContext(PLACES) as context:
            owners = [Owner(context, fd, number) for number in range(TASKS)]
            tasks = [asyncio.create_task(owner.live()) for owner in owners]
            await disturb(tasks)
            results = await asyncio.gather(*tasks, return_exceptions=True)
            for owner, result in zip(owners, results, strict=True):
                if isinstance(result, BaseException):
                    assert isinstance(result, asyncio.CancelledError), result
                else:
                    assert owner.steps == ROUNDS
            assert sum(result is None for result in results) >= TASKS * 9 // 10
            for owner in owners:  # also of those that were cancelled
                await owner.read()
            assert context.in_flight == 0
            statistics = context.statistics()
            assert statistics["submitted"] == statistics["completed"]

    run(main(), factory)


def test_several_contexts_on_one_loop() -> None:
    async def main() -> None:
        with file_in_memory(bytes(TASKS * BLOCK)) as fd:
            contexts = [AIOContext(size) for size in (1, 2, 3, 16)]
            try:
                owners = [Owner(contexts[at % 4], fd, at) for at in range(TASKS)]
                await asyncio.gather(*(owner.live() for owner in owners))
            finally:
                for context in contexts:
                    await context.aclose()

    run(main())


# A heartbeat beside tasks that never have to wait


@every_loop
@pytest.mark.parametrize(
    ("nbytes", "readers", "most_per_beat"),
    [(4096, 1, 3000), (4096, 20, 3000), (1 << 20, 1, 30), (1 << 20, 20, 30)],
    ids=["4 KiB", "4 KiB, many", "1 MiB", "1 MiB, many"],
)
def test_heartbeat(nbytes: int, readers: int, most_per_beat: int, factory: LoopFactory) -> None:
    """The numbers are generous: what a turn's budget of 300 µs is enough for, ten times over."""
    reads = 0
    beats: list[int] = []

    async def read_for_ever(context: AIOContext, fd: int) -> None:
        nonlocal reads
        while True:
            assert len(await context.read(nbytes, fd)) == nbytes
            reads += 1

    async def main() -> None:
        nonlocal reads
        with file_in_memory(bytes(nbytes)) as fd:
            async with AIOContext(PLACES) as context:
                tasks = [asyncio.create_task(read_for_ever(context, fd)) for _ in range(readers)]
                while len(beats) < 100 or sum(beats) < 20:  # the readers get on, too
                    await asyncio.sleep(0)
                    beats.append(reads)
                    reads = 0
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)

    run(main(), factory)
    assert max(beats) <= most_per_beat


def test_readers_of_several_contexts_share_the_budget() -> None:
    reads = [0] * 8
    beats: list[int] = []

    async def read_for_ever(context: AIOContext, fd: int, number: int) -> None:
        while True:
            await context.read(1 << 20, fd)
            reads[number] += 1

    async def main() -> None:
        with file_in_memory(bytes(1 << 20)) as fd:
            contexts = [AIOContext(4) for _ in reads]
            tasks = [
                asyncio.create_task(read_for_ever(context, fd, number))
                for number, context in enumerate(contexts)
            ]
            before = 0
            while len(beats) < 200 or min(reads) == 0:  # nobody starves
                await asyncio.sleep(0)
                beats.append(sum(reads) - before)
                before = sum(reads)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for context in contexts:
                context.close()

    run(main())
    assert max(beats) <= 30


def test_nobody_in_the_queue_starves() -> None:
    async def main() -> None:
        counts = [0] * 50
        with file_in_memory(bytes(BLOCK)) as fd:
            async with AIOContext(2) as context:

                async def read_for_ever(number: int) -> None:
                    while True:
                        await context.read(BLOCK, fd)
                        counts[number] += 1

                tasks = [asyncio.create_task(read_for_ever(at)) for at in range(len(counts))]
                while min(counts) == 0:  # noqa: ASYNC110
                    await asyncio.sleep(0)
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)

    run(main())
