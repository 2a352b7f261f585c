# SPDX-License-Identifier: Apache-2.0
"""Reads of what is in memory end in the step that submits them; tasks that make many take turns."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from linux_aio import AIOContext
from support.files import file_in_memory
from support.loops import LOOP_FACTORIES, LoopFactory, run

pytest_plugins = ["support.fixtures"]
# kernel AIO waits inside a submission for pipes and for what left memory
pytestmark = pytest.mark.engine("auto", "uring", "threads")

DATA = os.urandom(64 * 1024)
BLOCK = 4096

every_loop = pytest.mark.parametrize("loop_factory", LOOP_FACTORIES)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def fd(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


async def heat(ctx: AIOContext, fd: int) -> None:
    """As many reads as it takes for the file to be known as one that is in memory."""
    for number in range(40):
        offset = number * BLOCK % len(DATA)
        assert await ctx.read(BLOCK, fd, offset) == DATA[offset : offset + BLOCK]


def replace(fd: int, by: int) -> None:
    """The number is another file from now on."""
    os.dup2(by, fd)
    os.close(by)


@every_loop
@pytest.mark.parametrize("where", ["disk", "memory"])
def test_tasks_take_turns(where: str, loop_factory: LoopFactory, fd: int) -> None:
    """No task reads for long while others wait: nobody's read waits for hundreds of theirs."""
    tasks = 64
    order: list[int] = []

    async def reader(ctx: AIOContext, fd: int, name: int) -> None:
        while len(order) < tasks * 100:
            await ctx.read(BLOCK, fd, name * BLOCK % len(DATA))
            order.append(name)

    async def main() -> None:
        with file_in_memory(DATA) as in_memory:
            async with AIOContext(128) as ctx:
                used = in_memory if where == "memory" else fd
                await heat(ctx, used)
                await asyncio.gather(*(reader(ctx, used, name) for name in range(tasks)))

    run(main(), loop_factory)
    # The first begins alone; at the end the last may be.
    runs = [len(list(group)) for _, group in itertools.groupby(order)]
    middle = sorted(runs[1:-tasks])
    assert middle[-1] <= 100
    assert middle[len(middle) // 2] <= 30


def test_counts(fd: int) -> None:
    async def main() -> None:
        async with AIOContext(4) as ctx:
            await heat(ctx, fd)
            before = ctx.statistics()
            for size in (0, 1, BLOCK):
                assert await ctx.read(size, fd) == DATA[:size]
            buffer = bytearray(BLOCK)
            assert await ctx.readinto(buffer, fd, BLOCK) == BLOCK
            assert buffer == DATA[BLOCK : 2 * BLOCK]
            buffer.append(1)  # it was given back
            parts = [bytearray(3), bytearray(5)]
            assert await ctx.readv(parts, fd, 1) == 8
            assert b"".join(parts) == DATA[1:9]
            after = ctx.statistics()
            for name in ("submitted", "completed"):
                assert after[name] - before[name] == 5, name
            assert after["failed"] == before["failed"]
            assert ctx.in_flight == 0
            assert ctx.getevents(0, timeout=0) == []

    asyncio.run(main())


def test_the_end_of_the_file(fd: int) -> None:
    async def main() -> None:
        async with AIOContext(4) as ctx:
            await heat(ctx, fd)
            size = len(DATA)
            assert await ctx.read(BLOCK, fd, size - 10) == DATA[-10:]
            assert await ctx.read(BLOCK, fd, size) == b""
            assert await ctx.read(BLOCK, fd, size + 12345) == b""
            os.ftruncate(fd, 100)
            assert await ctx.read(BLOCK, fd, 50) == DATA[50:100]
            assert await ctx.read(BLOCK, fd) == DATA[:100]

    asyncio.run(main())


def test_data_that_left_memory(fd: int) -> None:
    async def main() -> None:
        async with AIOContext(4) as ctx:
            for _ in range(5):
                await heat(ctx, fd)
                os.fsync(fd)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                whole = await ctx.read(len(DATA), fd)
                assert whole  # a short read is right, too
                assert DATA.startswith(whole)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                await heat(ctx, fd)

    asyncio.run(main())


async def read_pipe(ctx: AIOContext, fd: int, end: int) -> None:
    waits = asyncio.ensure_future(ctx.read(BLOCK, fd))
    await asyncio.sleep(0.01)
    assert not waits.done()
    os.write(end, b"late")
    assert await waits == b"late"


@pytest.mark.parametrize("what", ["direct", "memory", "disk", "pipe", "closed", "write-only"])
@pytest.mark.parametrize("first", ["disk", "memory"])
def test_the_number_is_another_file(what: str, first: str, path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    text = bytes(reversed(DATA))
    other.write_bytes(text)

    async def main() -> None:
        with file_in_memory(DATA) as in_memory, file_in_memory(text) as other_memory:
            fd = os.dup(in_memory) if first == "memory" else os.open(path, os.O_RDONLY)
            async with AIOContext(4) as ctx:
                await heat(ctx, fd)
                if what == "closed":
                    os.close(fd)
                    with pytest.raises(OSError, match="Bad file descriptor"):
                        await ctx.read(BLOCK, fd)
                    return
                if what == "pipe":
                    readable, writable = os.pipe()
                    replace(fd, readable)
                    await read_pipe(ctx, fd, writable)
                    os.close(writable)
                elif what == "write-only":
                    replace(fd, os.open(other, os.O_WRONLY))
                    with pytest.raises(OSError, match="Bad file descriptor"):
                        await ctx.read(BLOCK, fd)
                else:
                    flags = os.O_RDONLY | (os.O_DIRECT if what == "direct" else 0)
                    by = os.dup(other_memory) if what == "memory" else os.open(other, flags)
                    replace(fd, by)
                    for offset in (0, BLOCK, len(text) - BLOCK):
                        expected = text[offset : offset + BLOCK]
                        assert await ctx.read(BLOCK, fd, offset) == expected
                os.close(fd)

    asyncio.run(main())


def test_a_task_that_never_suspends_queues_behind_others(fd: int) -> None:
    """A full queue is respected, and those in it are not overtaken for ever."""

    async def main() -> Any:
        readable, writable = os.pipe()
        async with AIOContext(1) as ctx:
            await heat(ctx, fd)
            waits = asyncio.ensure_future(ctx.read(BLOCK, readable))
            await asyncio.sleep(0)
            read = asyncio.ensure_future(ctx.read(BLOCK, fd))
            await asyncio.sleep(0.01)
            assert not read.done()  # the only place is taken
            os.write(writable, b"x")
            assert await waits == b"x"
            assert await read == DATA[:BLOCK]
        os.close(readable)
        os.close(writable)

    asyncio.run(main())
