# SPDX-License-Identifier: Apache-2.0
"""Bytes that write() gathers: how many are kept, and in which order they reach the file."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import linux_aio
from linux_aio._file import WRITE_LIMIT
from support.any_loop import AnyLoop
from support.direct import direct_reason
from support.loops import run
from support.workers import PATIENCE

pytest_plugins = ["support.fixtures"]

# kernel AIO waits for a pipe inside io_submit(2)
by_more_than_aio = pytest.mark.engine("auto", "uring", "threads")

MIB = 1 << 20
BLOCK = 64 * 1024


def blocks(count: int) -> list[bytes]:
    dice = random.Random(1)
    return [dice.randbytes(BLOCK) for _ in range(count)]


@contextmanager
def piped() -> Iterator[tuple[int, bytearray]]:
    """Give the end of a pipe to write to, and what a thread has read at the other end."""
    read_end, write_end = os.pipe()
    read = bytearray()

    def read_all() -> None:
        with open(read_end, "rb", buffering=0) as pipe:
            while data := pipe.read(BLOCK):
                read.extend(data)

    thread = threading.Thread(target=read_all)
    thread.start()
    try:
        yield write_end, read
    finally:
        thread.join()


async def most_kept(file: Any, payloads: list[bytes]) -> int:
    """Write all, and return the largest number of bytes that the file kept between two writes."""
    [ours] = {sys.getrefcount(each) for each in payloads}
    most = 0
    for number, payload in enumerate(payloads):
        await file.write(payload)
        if number % 16 == 0:
            kept = sum(len(each) for each in payloads if sys.getrefcount(each) > ours)
            most = max(most, kept)
    return most


def test_a_pipe_that_takes_little_at_a_time_holds_up_the_writer() -> None:
    """A request to a pipe takes what there is room for. The rest must not pile up in memory."""
    payloads = blocks(512)

    async def main(write_end: int) -> None:
        async with linux_aio.open(write_end, "wb") as file:
            assert await most_kept(file, payloads) <= 6 * MIB

    with piped() as (write_end, read):
        run(main(write_end))
    assert read == b"".join(payloads)


def test_a_large_buffer_of_a_direct_file_holds_up_the_writer(tmp_path: Path) -> None:
    """A direct request writes at most 1 MiB, however much was gathered."""
    reason = direct_reason(tmp_path)
    if reason is not None:
        pytest.skip(reason)
    path = tmp_path / "file"
    payloads = blocks(512)

    async def main() -> None:
        async with linux_aio.open(path, "wb", buffering=4 * MIB, direct=True) as file:
            assert await most_kept(file, payloads) <= 12 * MIB

    run(main())
    assert path.read_bytes() == b"".join(payloads)


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("buffering", [100, 5000, 3 * MIB, -1])
def test_bytes_of_any_sizes_reach_the_file_in_order(
    tmp_path: Path, buffering: int, direct: bool
) -> None:
    reason = direct_reason(tmp_path) if direct else None
    if reason is not None:
        pytest.skip(reason)
    path = tmp_path / "file"
    dice = random.Random(buffering)
    sizes = [dice.choice([1, 511, 4096, 70_000, 300_001, 1_200_000]) for _ in range(60)]
    payloads = [dice.randbytes(size) for size in sizes]

    async def main() -> None:
        written = 0
        async with linux_aio.open(path, "wb", buffering, direct=direct) as file:
            for number, payload in enumerate(payloads):
                assert await file.write(payload) == len(payload)
                written += len(payload)
                assert await file.tell() == written
                if number % 17 == 16:
                    await file.flush()
                    assert path.stat().st_size == written
                if number % 5 == 4:
                    await asyncio.sleep(0)

    run(main())
    assert path.read_bytes() == b"".join(payloads)


def test_bytes_of_any_sizes_reach_a_pipe_in_order() -> None:
    dice = random.Random(2)
    sizes = [dice.choice([1, 511, 4096, 70_000, 300_001, 1_200_000]) for _ in range(100)]
    payloads = [dice.randbytes(size) for size in sizes]

    async def main(write_end: int) -> None:
        async with linux_aio.open(write_end, "wb") as file:
            for payload in payloads:
                assert await file.write(payload) == len(payload)

    with piped() as (write_end, read):
        run(main(write_end))
    assert read == b"".join(payloads)


@pytest.mark.parametrize("data", [b"", b"ABC"])
def test_a_file_whose_context_is_closed_leaves_the_offset(data: bytes, tmp_path: Path) -> None:
    """close() writes what was gathered, and sets the position of a descriptor that stays open."""
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with path.open("r+b", buffering=0) as outer:

        async def main() -> None:
            context = linux_aio.AIOContext()
            file: Any = await linux_aio.open(outer.fileno(), "r+b", closefd=False, context=context)
            assert await file.read(5) == b"01234"
            await file.write(data)
            context.close()
            await file.close()

        run(main())
        assert outer.tell() == 5 + len(data)
    assert path.read_bytes() == b"01234" + data + b"56789"[len(data) :]


async def open_to_pipe(write_end: int, size: int) -> Any:
    """Return a file with so many bytes to write, whose context is closed."""
    async with linux_aio.AIOContext() as context:
        file: Any = await linux_aio.open(write_end, "wb", context=context)
        for _ in range(size // BLOCK):
            await file.write(b"x" * BLOCK)
    return file


@by_more_than_aio
@pytest.mark.parametrize("is_cancelled", [False, True])
@pytest.mark.parametrize("has_request", [False, True])
def test_a_file_whose_context_is_closed_does_not_block_the_loop(
    any_loop: AnyLoop, has_request: bool, is_cancelled: bool
) -> None:
    """Its close() is carried out by the loop's own context."""
    read_end, write_end = os.pipe()
    size = (40 if has_request else 4) * BLOCK
    assert (size > WRITE_LIMIT) == has_request
    loop_runs = threading.Event()
    read = 0

    def read_all() -> None:
        nonlocal read
        loop_runs.wait(PATIENCE)
        with open(read_end, "rb", buffering=0) as pipe:
            while data := pipe.read(BLOCK):
                read += len(data)

    async def main() -> None:
        file = await open_to_pipe(write_end, size)
        async with any_loop.group() as group:
            group.start(file.close)
            await any_loop.turns(5)
            assert read == 0  # else the loop stood still until the reader lost its patience
            if is_cancelled:
                group.cancel()
            loop_runs.set()
        assert file.closed
        await any_loop.until(lambda: not reader.is_alive())

    reader = threading.Thread(target=read_all)
    reader.start()
    try:
        any_loop.run(main)
    finally:
        loop_runs.set()
        reader.join()
    assert read == size


@by_more_than_aio
def test_a_file_whose_context_is_closed_tells_why_it_is_not_written(any_loop: AnyLoop) -> None:
    async def main() -> None:
        read_end, write_end = os.pipe()
        file = await open_to_pipe(write_end, BLOCK)
        os.close(read_end)
        with pytest.raises(BrokenPipeError):
            await file.close()
        assert file.closed

    any_loop.run(main)


@by_more_than_aio
@pytest.mark.parametrize("mode", ["wb", "ab", "w"])
def test_a_close_in_another_loop_is_refused_and_loses_nothing(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def main() -> None:
        reader, writer = os.pipe()
        async with linux_aio.open(reader, "rb") as pipe:
            reading = asyncio.ensure_future(pipe.read(1))  # the context serves this loop meanwhile
            await asyncio.sleep(0)
            file: Any = await linux_aio.open(path, mode)
            await file.write("x" * 100 if mode == "w" else b"x" * 100)

            def close_there() -> None:
                with pytest.raises(RuntimeError, match="another event loop"):
                    run(file.close())

            await asyncio.to_thread(close_there)
            assert not file.closed
            assert (await file.stat()).st_size == 0
            await file.close()
            assert path.read_bytes() == b"x" * 100
            os.write(writer, b"x")
            assert await reading == b"x"
        os.close(writer)

    run(main())
