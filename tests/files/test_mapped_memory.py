# SPDX-License-Identifier: Apache-2.0
"""Memory of the program's that is mapped from a file whose server is slow: nobody waits for it."""

from __future__ import annotations

import asyncio
import mmap
import os
import random
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

import linux_aio
from support.files import few_numbers
from support.fusefs import HoldingFS
from support.loops import run, until
from support.stalls import another_thread_runs, beats
from support.workers import PATIENCE

pytest_plugins = ["support.fixtures"]

# kernel AIO touches the memory inside io_submit(2)
pytestmark = pytest.mark.engine("auto", "uring", "threads")

SIZE = 1 << 16
DATA = random.Random(5).randbytes(4 * SIZE)
DELAY = 1.0  # seconds, of the server

Memory = memoryview
Result = TypeVar("Result")
Call = Callable[[Path, Any, Memory], Awaitable[int]]


@contextmanager
def mapping(fuse: HoldingFS) -> Iterator[mmap.mmap]:
    """Map a file of the slow server. None of its pages is in memory yet."""
    number = os.open(fuse.create("mapped", DATA), os.O_RDWR)
    try:
        with mmap.mmap(number, len(DATA)) as mapped:
            yield mapped
    finally:
        os.close(number)


async def judged(call: Awaitable[Result]) -> Result:
    """Await the call. Neither the loop nor another thread waits for the server meanwhile."""
    with another_thread_runs(DELAY / 2):
        return await beats(call, DELAY / 2)


async def write(_path: Path, file: Any, memory: Memory) -> int:
    count: int = await file.write(memory)
    await file.flush()
    return count


async def pwrite(_path: Path, file: Any, memory: Memory) -> int:
    return await file.pwrite(memory, 0)  # type: ignore[no-any-return]


async def write_bytes(path: Path, _file: Any, memory: Memory) -> int:
    return await linux_aio.write_bytes(path, memory)


async def replace(path: Path, _file: Any, memory: Memory) -> int:
    return await linux_aio.write_bytes(path, memory, atomic=True)


@pytest.mark.parametrize("call", [write, pwrite, write_bytes, replace])
@pytest.mark.parametrize("direct", [False, True])
def test_writing_from_it(fuse: HoldingFS, tmp_path: Path, call: Call, direct: bool) -> None:
    path = tmp_path / "target"
    path.write_bytes(bytes(SIZE))

    async def main() -> None:
        async with linux_aio.open(path, "r+b", direct=direct) as file:
            with mapping(fuse) as mapped, memoryview(mapped)[:SIZE] as memory:
                fuse.delay(DELAY)
                assert await judged(call(path, file, memory)) == SIZE
                fuse.delay(0)

    run(main())
    assert path.read_bytes() == DATA[:SIZE]


@pytest.mark.parametrize("how", ["readinto", "preadinto"])
@pytest.mark.parametrize("direct", [False, True])
def test_reading_into_it(fuse: HoldingFS, tmp_path: Path, how: str, direct: bool) -> None:
    """Also what the buffer of the file has already."""
    path = tmp_path / "source"
    source = random.Random(6).randbytes(2 * SIZE)
    path.write_bytes(source)

    async def main() -> None:
        async with linux_aio.open(path, "rb", direct=direct) as file:
            assert await file.read(100) == source[:100]
            with mapping(fuse) as mapped, memoryview(mapped)[:SIZE] as memory:
                fuse.delay(DELAY)
                reads = file.readinto(memory) if how == "readinto" else file.preadinto(memory, 100)
                assert await judged(reads) == SIZE
                fuse.delay(0)
                assert memory == source[100 : 100 + SIZE]

    run(main())


def test_another_file_that_is_mapped_at_the_same_address(fuse: HoldingFS, tmp_path: Path) -> None:
    """Within the time for which the answer for an address is remembered."""
    path = tmp_path / "source"
    path.write_bytes(DATA[:SIZE])
    shared = os.memfd_create("memory")
    os.truncate(shared, len(DATA))

    async def main() -> None:
        source = os.open(path, os.O_RDONLY)
        async with linux_aio.AIOContext() as context:
            with mmap.mmap(shared, len(DATA)) as mapped:
                assert await context.readinto(mapped, source) == SIZE
            with mapping(fuse) as mapped, memoryview(mapped)[:SIZE] as memory:
                fuse.delay(DELAY)
                assert await judged(context.readinto(memory, source)) == SIZE
                fuse.delay(0)
                assert memory == DATA[:SIZE]
        os.close(source)

    run(main())
    os.close(shared)


# --- streams


@pytest.mark.parametrize("how", ["write", "readinto"])
@pytest.mark.parametrize("nowait", [0, os.RWF_NOWAIT])
def test_streams(fuse: HoldingFS, how: str, nowait: int) -> None:
    """Other streams go on: the I/O thread, which has all of them, does not wait for the memory."""

    async def main() -> None:
        ours, theirs = socket.socketpair()
        read_end, write_end = os.pipe()
        theirs.send(DATA[:1000])
        async with linux_aio.AIOContext() as context:
            with ours, theirs, mapping(fuse) as mapped, memoryview(mapped)[:1000] as memory:
                fuse.hold()
                transfer = context.write if how == "write" else context.readinto
                slow = asyncio.ensure_future(transfer(memory, ours, flags=nowait))
                await until(lambda: fuse.held() > 0)
                other = asyncio.ensure_future(context.read(1, read_end))
                await asyncio.sleep(0.05)
                os.write(write_end, b"!")
                assert await asyncio.wait_for(other, PATIENCE) == b"!"
                assert not slow.done()
                fuse.unhold()
                assert await slow == 1000
                assert (theirs.recv(1000) if how == "write" else memory) == DATA[:1000]
        os.close(read_end)
        os.close(write_end)

    asyncio.run(main())


def test_where_the_mappings_can_not_be_looked_up(fuse: HoldingFS, tmp_path: Path) -> None:
    """For lack of a free descriptor."""
    (tmp_path / "source").write_bytes(DATA[:SIZE])

    async def main() -> None:
        source = os.open(tmp_path / "source", os.O_RDONLY)
        async with linux_aio.AIOContext() as context:
            with mapping(fuse) as mapped, memoryview(mapped)[:SIZE] as memory:
                await context.readinto(bytearray(SIZE), source)
                fuse.delay(DELAY)
                with few_numbers(0):
                    reading = asyncio.ensure_future(context.readinto(memory, source))
                    with another_thread_runs(DELAY / 2):
                        await beats(asyncio.sleep(0.1), DELAY / 2)
                [result] = await asyncio.gather(reading, return_exceptions=True)
                assert result == SIZE or isinstance(result, OSError)
                fuse.delay(0)
        os.close(source)

    asyncio.run(main())
