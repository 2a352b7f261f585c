# SPDX-License-Identifier: Apache-2.0
"""What a thread of ours read for a task that is gone is the next read's of that stream, and nobody
else's. Terminals and FIFOs can't be asked not to wait, so threads read them.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import os
import pty
import termios
import threading
import time
import tty
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from linux_aio import AIOContext
from support.forked import in_child

pytest_plugins = ["support.fixtures"]

pytestmark = pytest.mark.engine("auto", "uring", "threads")

PATIENCE = 20


class Stream(NamedTuple):
    reader: int
    again: int  # the same, opened once more
    writer: int

    @property
    def unread(self) -> int:
        """How many bytes the kernel has for a reader."""
        count = array.array("i", [0])
        fcntl.ioctl(self.again, termios.FIONREAD, count)
        return count[0]

    def close(self) -> None:
        for fd in self:
            os.close(fd)


def make_stream(kind: str, folder: Path) -> Stream:
    """A new FIFO, or a new raw terminal."""
    if kind == "fifo":
        path = folder / f"fifo {len(os.listdir(folder))}"
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        writer = os.open(path, os.O_WRONLY)
        os.set_blocking(reader, True)
    else:
        writer, reader = pty.openpty()
        tty.setraw(reader)
        path = Path(os.ttyname(reader))
    return Stream(reader, os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY), writer)


@pytest.fixture(params=["fifo", "terminal"])
def streams(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Stream, Stream]]:
    both = make_stream(request.param, tmp_path), make_stream(request.param, tmp_path)
    yield both
    for stream in both:
        stream.close()


async def begin_read(ctx: AIOContext, stream: Stream, data: bytes) -> asyncio.Task[bytes]:
    """A read that has the data, though its task has not run yet where a thread brings it."""
    deadline = time.monotonic() + PATIENCE
    os.write(stream.writer, data)
    while stream.unread != len(data):  # a terminal's bytes come to its readers a moment later
        assert time.monotonic() < deadline, "it has not come"
        threading.Event().wait(0.01)
    reading = asyncio.create_task(ctx.read(16, stream.reader))
    while stream.unread and not reading.done():
        assert time.monotonic() < deadline, "nobody reads it"
        await asyncio.sleep(0)
        threading.Event().wait(0.01)  # the loop does not hear of it meanwhile
    return reading


async def keep(ctx: AIOContext, stream: Stream, data: bytes) -> None:
    """Have the data kept for the next read."""
    for _ in range(50):
        reading = await begin_read(ctx, stream, data)
        reading.cancel()
        outcome, *_ = await asyncio.gather(reading, return_exceptions=True)
        if isinstance(outcome, asyncio.CancelledError):
            return
        assert outcome == data  # the task was faster
    pytest.fail("the task is always faster")


async def read_soon(ctx: AIOContext, fd: int) -> bytes:
    return await asyncio.wait_for(ctx.read(16, fd), PATIENCE)


def test_the_number_is_another_streams_by_then(streams: tuple[Stream, Stream]) -> None:
    first, second = streams

    async def body() -> None:
        async with AIOContext() as ctx:
            reading = await begin_read(ctx, first, b"first")
            os.dup2(second.reader, first.reader)
            reading.cancel()
            os.write(second.writer, b"second")
            taken, *_ = await asyncio.gather(reading, return_exceptions=True)
            assert await read_soon(ctx, first.reader) == b"second"
            if isinstance(taken, asyncio.CancelledError):
                taken = await read_soon(ctx, first.again)
            assert taken == b"first"

    asyncio.run(body())


def test_a_child_keeps_bytes_of_its_own(streams: tuple[Stream, Stream]) -> None:
    of_parent, of_child = streams

    async def in_the_child() -> list[bytes]:
        async with AIOContext() as ctx:
            await keep(ctx, of_child, b"the child's")
            os.write(of_parent.writer, b" and more")
            return [await read_soon(ctx, stream.reader) for stream in (of_child, of_parent)]

    async def in_the_parent() -> None:
        async with AIOContext() as ctx:
            await keep(ctx, of_parent, b"the parent's")

    asyncio.run(in_the_parent())
    assert in_child(lambda: asyncio.run(in_the_child())) == [b"the child's", b" and more"]

    async def in_the_parent_again() -> bytes:
        async with AIOContext() as ctx:
            return await read_soon(ctx, of_parent.reader)

    assert asyncio.run(in_the_parent_again()) == b"the parent's"


def test_a_read_that_waits_already_gets_them(streams: tuple[Stream, Stream]) -> None:
    stream, _ = streams

    async def wait_elsewhere() -> bytes:
        async with AIOContext() as ctx:
            return await read_soon(ctx, stream.again)

    async def body() -> None:
        async with AIOContext() as ctx:
            for _ in range(50):
                reading = await begin_read(ctx, stream, b"kept")
                with ThreadPoolExecutor() as pool:
                    waiting = pool.submit(asyncio.run, wait_elsewhere())
                    threading.Event().wait(0.2)  # it most likely waits by then; it may come later
                    reading.cancel()
                    taken, *_ = await asyncio.gather(reading, return_exceptions=True)
                    if not isinstance(taken, asyncio.CancelledError):  # the task was faster
                        os.write(stream.writer, b"more")
                        assert waiting.result() == b"more"
                        continue
                    assert waiting.result() == b"kept"
                    return
        pytest.fail("the task is always faster")

    asyncio.run(body())
