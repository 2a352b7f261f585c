# SPDX-License-Identifier: Apache-2.0
"""Calls that wait for a file whose server holds a read: in order, and its lock is released."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import functools
import gc
import operator
import random
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import linux_aio
from support.fusefs import HoldingFS
from support.loops import run, until
from support.workers import PATIENCE

pytest_plugins = ["support.fixtures"]

# kernel AIO carries out reads of these files inside io_submit(2), where they would be held
pytestmark = pytest.mark.engine("auto", "uring", "threads")

DATA = random.Random(1).randbytes(10_000)


def with_held_read(
    fuse: HoldingFS, then: Callable[[Any, asyncio.Task[bytes]], Awaitable[None]], size: int = -1
) -> None:
    """Call `then` with a file, and with the task of a read that is held."""
    path = fuse.create("file", DATA)

    async def main() -> None:
        async with linux_aio.open(path, "r+b", buffering=1000) as file:
            fuse.hold()
            reading: asyncio.Task[bytes] = asyncio.ensure_future(file.read(size))
            await asyncio.to_thread(fuse.wait_held, 1)
            try:
                await then(file, reading)
            finally:
                fuse.unhold()

    run(main())


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


async def soon(call: Awaitable[Any]) -> asyncio.Task[Any]:
    """Begin a call in a task of its own."""
    task = asyncio.ensure_future(call)
    await asyncio.sleep(0)
    return task


def test_the_calls_after_a_read_wait_for_it(fuse: HoldingFS) -> None:
    async def then(file: Any, reading: asyncio.Task[bytes]) -> None:
        second = await soon(file.read(2000))
        position = await soon(file.tell())
        rest = await soon(file.read())
        fuse.unhold()
        assert await reading == DATA[:100]
        assert await second == DATA[100:2100]
        assert await position == 2100
        assert await rest == DATA[2100:]

    with_held_read(fuse, then, 100)


@pytest.mark.parametrize("size", [-1, 0, 10, 1000, 5000, 20_000])
def test_a_cancelled_read_moves_nothing_and_releases_the_lock(fuse: HoldingFS, size: int) -> None:
    async def then(file: Any, reading: asyncio.Task[bytes]) -> None:
        following = await soon(file.read(size))
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        fuse.unhold()
        assert await following == (DATA if size < 0 else DATA[:size])

    with_held_read(fuse, then)


def test_a_failed_read_moves_nothing_and_releases_the_lock(fuse: HoldingFS) -> None:
    async def then(file: Any, reading: asyncio.Task[bytes]) -> None:
        fuse.fail(errno.EIO, kinds=["read"])
        fuse.unhold()
        with pytest.raises(OSError, match="Input/output"):
            await reading
        fuse.reset()
        assert await file.read() == DATA

    with_held_read(fuse, then)


def test_a_coroutine_that_is_given_up_releases_the_lock(fuse: HoldingFS) -> None:
    async def then(file: Any, reading: asyncio.Task[bytes]) -> None:
        reading.cancel()
        for end in ("close", "drop"):
            call: Any = file.read()
            call.send(None)  # it waits for the lock, or for the file
            if end == "close":
                call.close()
            del call
            gc.collect()
        fuse.unhold()
        assert await file.read() == DATA

    with_held_read(fuse, then)


def test_a_close_that_is_cancelled_lets_the_read_end(fuse: HoldingFS) -> None:
    async def then(file: Any, reading: asyncio.Task[bytes]) -> None:
        closing = await soon(file.close())
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        fuse.unhold()
        assert await reading == DATA
        assert file.closed

    with_held_read(fuse, then)


def test_what_is_written_beside_a_read_is_read_again(fuse: HoldingFS) -> None:
    new = DATA[::-1]

    async def then(file: Any, reading: asyncio.Task[bytes]) -> None:
        writing = await soon(file.pwrite(new, 0))
        fuse.unhold()
        await writing
        assert await reading in {DATA[:10], new[:10]}
        assert await file.read() == new[10:]

    with_held_read(fuse, then, 10)


def test_what_a_cancelled_pwrite_writes_is_read(fuse: HoldingFS) -> None:
    """If it writes: io_uring may withdraw it."""
    new = DATA[::-1]
    path = fuse.create("file", DATA)

    async def main() -> None:
        async with linux_aio.open(path, "r+b") as file:
            assert await file.read(10) == DATA[:10]
            fuse.hold()
            writing = await soon(file.pwrite(new, 0))
            await asyncio.to_thread(fuse.wait_held, 1)
            writing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writing
            fuse.unhold()
            await until(lambda: file.context.in_flight == 0)
            assert await file.read() == path.read_bytes()[10:]

    run(main())


def test_short_reads_go_on(fuse: HoldingFS) -> None:
    async def then(file: Any, reading: asyncio.Task[bytes]) -> None:
        fuse.unhold()
        assert await reading == DATA
        append(fuse.path("file"), b"more")
        assert await file.read() == b"more"
        assert await file.read() == b""

    with_held_read(fuse, then)


class InterruptionError(Exception):
    """Raised by a signal handler."""


@pytest.mark.parametrize("end", ["throw", "close"])
def test_a_signal_when_a_call_ends_reaches_the_program_and_the_lock_is_released(
    fuse: HoldingFS, end: str
) -> None:
    def interrupt(*_: object) -> None:
        raise InterruptionError

    # as if the signal came while C code runs, which then ends the call
    signal_comes = functools.partial(ctypes.pythonapi.PyErr_SetInterruptEx, int(signal.SIGUSR1))

    async def then(file: Any, reading: asyncio.Task[bytes]) -> None:
        reading.cancel()
        await asyncio.wait([reading])
        call: Any = file.read(5)
        call.send(None)
        following = await soon(file.read(5))
        ended = functools.partial(call.throw, KeyError()) if end == "throw" else call.close
        with pytest.raises(InterruptionError):
            list(map(operator.call, [signal_comes, ended]))
        fuse.unhold()
        assert await asyncio.wait_for(following, PATIENCE) == DATA[:5]
        assert await file.tell() == 5

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with_held_read(fuse, then)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_what_peek_has_read_of_an_unbuffered_file_is_not_skipped(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)

    async def main() -> None:
        async with linux_aio.open(tmp_path / "file", "rb", buffering=0) as file:
            assert DATA.startswith(await file.peek(10))
            assert await file.tell() == 0
            assert await file.read(0) == b""
            read = b""
            while data := await file.read(3):
                assert len(data) <= 3
                read += data
            assert read == DATA

    run(main())
