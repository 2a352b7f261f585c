# SPDX-License-Identifier: Apache-2.0
"""A file is closed after its task was cancelled, and another file gets the number.

Nothing that the task began reaches the other file, and no bytes of the first come out of it.
"""

from __future__ import annotations

import asyncio
import os
import select
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import linux_aio
from linux_aio import AIOContext, bulk
from support.files import Gate
from support.loops import LOOP_FACTORIES, LoopFactory, run, turns, until

pytest_plugins = ["support.fixtures"]

every_loop = pytest.mark.parametrize("factory", LOOP_FACTORIES)


@pytest.fixture
def folder() -> Iterator[Path]:
    """On a disk, if the temporary files are."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        yield Path(name)


def pipe_with_number(number: int, data: bytes) -> tuple[int, int]:
    """Return a pipe with the data in it. Its reading end gets the number, which is closed."""
    reader, writer = os.pipe()
    if writer == number:
        writer = os.dup(writer)
    if reader != number:
        os.dup2(reader, number)
        os.close(reader)
    os.write(writer, data)
    return number, writer


def everything_in(reader: int) -> bytes:
    os.set_blocking(reader, False)
    try:
        return os.read(reader, 1000)
    except BlockingIOError:
        return b""


@every_loop
def test_a_queued_write(factory: LoopFactory, folder: Path) -> None:
    first, second = folder / "first", folder / "second"

    async def main() -> None:
        async with AIOContext(8) as context:
            for _ in range(50):
                fd = os.open(first, os.O_RDWR | os.O_CREAT)
                await context.write(b"a", fd)
                task = asyncio.ensure_future(context.write(b"cancelled", fd))
                await turns(1)
                is_queued = context.in_flight == 0 and not task.done()
                before = context.statistics()["submitted"]
                task.cancel()
                os.close(fd)
                other = os.open(second, os.O_RDWR | os.O_CREAT)
                await asyncio.wait([task])
                if is_queued:
                    assert task.cancelled()
                    assert context.statistics()["submitted"] == before
                    await context.fsync(other)
                    assert os.fstat(other).st_size == 0
                os.close(other)

    run(main(), factory)


@pytest.mark.parametrize("flags", [0, os.O_DIRECT], ids=["cached", "direct"])
@pytest.mark.parametrize("reaps_before", [False, True])
def test_a_read_in_flight(flags: int, reaps_before: bool, folder: Path) -> None:
    path = folder / "file"
    path.write_bytes(b"file" * 4096)

    async def main() -> None:
        async with AIOContext(8) as context:
            for _ in range(50):
                try:
                    fd = os.open(path, os.O_RDONLY | flags)
                except OSError:
                    pytest.skip("no direct I/O here")
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                task = asyncio.ensure_future(context.read(64, fd))
                await turns(1)
                task.cancel()
                os.close(fd)
                reader, writer = pipe_with_number(fd, b"one,")
                if reaps_before:
                    select.select([], [], [], 0.0005)
                    context.getevents(0)
                first = await context.read(100, reader)
                await until(lambda: context.in_flight == 0)
                os.write(writer, b"two")
                assert first + await context.read(100, reader) == b"one,two"
                os.close(reader)
                os.close(writer)

    run(main())


def test_a_file_that_is_left_with_its_read_queued(folder: Path, gate: Gate) -> None:
    """The exception's traceback keeps the request, which is not submitted all the same."""
    path = folder / "file"
    path.write_bytes(b"f" * (1 << 20))

    async def main() -> None:
        async with AIOContext(1) as context:
            file = await linux_aio.open(path, "rb", context=context)
            number = file.fileno()
            poll = asyncio.ensure_future(context.poll(gate, select.POLLIN))
            await until(lambda: context.in_flight == 1)
            try:
                async with asyncio.timeout(0.05):
                    async with file:
                        await file.read(100)
            except TimeoutError:  # while it is handled, its traceback keeps what was awaited
                await until(lambda: not os.path.lexists(f"/proc/self/fd/{number}"))
                reader, writer = pipe_with_number(number, b"precious")
                gate.open()
                await poll
                await turns(3)
                await until(lambda: context.in_flight == 0)
                assert everything_in(reader) == b"precious"
            os.close(reader)
            os.close(writer)

    run(main())


@every_loop
def test_many_reads_that_are_left(factory: LoopFactory, folder: Path) -> None:
    """After aclose() no thread uses the program's descriptor any more."""
    path = folder / "file"
    path.write_bytes(bytes(32 << 20))

    async def main() -> None:
        for _ in range(20):
            fd = os.open(path, os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            ranges = [(at * 8192, 4096) for at in range(4000)]
            reads = bulk.read_many(fd, ranges, max_gap=0, direct=False, depth=64)
            async for _, _ in reads:
                break
            await reads.aclose()
            os.close(fd)
            reader, writer = pipe_with_number(fd, b"precious")
            await asyncio.sleep(0.005)
            assert everything_in(reader) == b"precious"
            os.close(reader)
            os.close(writer)

    run(main(), factory)
