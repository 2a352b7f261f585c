# SPDX-License-Identifier: Apache-2.0
"""Streams that nobody reads, or that wait inside a call: others go on, and cancelling ends them."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time
import tty
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from linux_aio import AIOContext, AIOOperation
from support.forked import in_child
from support.fusefs import HoldingFS
from support.mount_calls import MS_PRIVATE, MS_REC, mount
from support.stalls import another_thread_runs, beats
from support.workers import PATIENCE

pytest_plugins = ["support.fixtures"]

# The longest that a loop, or another thread, may stand still, in seconds: far above what a busy
# machine does, far below what a call that waits for somebody does.
STALL = 0.3

# "aio" is kernel AIO as it is: the submission itself waits for a stream.
ENGINES = [
    pytest.param(name, marks=pytest.mark.engine(name)) for name in ("auto", "uring", "threads")
]

CLONE_NEWNS = 0x20000

# More than any of them has room for.
MUCH = b"x" * 300_000


class Streams:
    """Both ends of what `kind` names; nobody reads what is written to `writer`."""

    def __init__(self, kind: str, folder: Path) -> None:
        if kind == "fifo":
            os.mkfifo(folder / "fifo")
            self.reader = os.open(folder / "fifo", os.O_RDONLY | os.O_NONBLOCK)
            self.writer = os.open(folder / "fifo", os.O_WRONLY)
            os.set_blocking(self.reader, True)
        elif kind == "pipe":
            self.reader, self.writer = os.pipe()
        else:
            master, slave = pty.openpty()
            if kind != "terminal":
                tty.setraw(slave)
            both = (master, slave) if kind != "master of a terminal" else (slave, master)
            self.reader, self.writer = both

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


KINDS = ["raw terminal", "terminal", "master of a terminal", "fifo", "pipe"]


@pytest.fixture(params=KINDS)
def streams(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Streams]:
    made = Streams(request.param, tmp_path)
    yield made
    made.close()


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(beats(body(), STALL), 60)

    with another_thread_runs(STALL):
        asyncio.run(bounded())


@pytest.mark.parametrize("engine", ENGINES)
def test_a_write_that_nobody_reads_is_cancelled(engine: str, streams: Streams) -> None:
    async def body() -> None:
        async with AIOContext(engine=engine) as ctx:

            async def write_on() -> None:
                while True:  # a pipe takes a part
                    await ctx.write(MUCH, streams.writer)

            for _ in range(3):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(write_on(), 0.05)

    run(body)


@pytest.mark.parametrize("engine", ENGINES)
def test_closing_ends_a_write_that_nobody_reads(engine: str, streams: Streams) -> None:
    async def body() -> None:
        ended: list[object] = []

        async def write() -> None:
            try:
                while True:
                    await ctx.write(MUCH, streams.writer)
            except (OSError, ValueError) as error:
                ended.append(error)

        async with AIOContext(engine=engine) as ctx:
            task = asyncio.create_task(write())
            await asyncio.sleep(0.05)
        await task
        assert len(ended) == 1

    run(body)


@pytest.mark.parametrize("engine", ENGINES)
def test_cancel_answers_and_what_was_taken_is_told(engine: str, tmp_path: Path) -> None:
    streams = Streams("raw terminal", tmp_path)
    with AIOContext(engine=engine) as ctx:
        write = AIOOperation.write(MUCH, streams.writer)
        write.submit(ctx)
        assert select.select([streams.reader], [], [], 30)[0]  # a part is written
        with another_thread_runs(STALL):
            ctx.cancel(write)
            assert ctx.getevents(timeout=30) == [write]
        written = write.get_result()
        assert 0 < written < len(MUCH)
        assert write.done
    streams.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_others_go_on_beside_it(engine: str, streams: Streams, tmp_path: Path) -> None:
    """What is stuck holds up neither files nor other streams of the context."""
    fd = os.open(tmp_path / "data", os.O_RDWR | os.O_CREAT)
    reader, writer = os.pipe()

    async def body() -> None:
        async with AIOContext(engine=engine) as ctx:
            stuck = [asyncio.create_task(ctx.write(MUCH, streams.writer)) for _ in range(40)]
            await asyncio.sleep(0.02)
            for number in range(20):
                assert await asyncio.wait_for(ctx.write(b"data", fd, 4 * number), 30) == 4
                read = asyncio.create_task(ctx.read(4, reader))
                await asyncio.sleep(0)
                os.write(writer, b"pipe")
                assert await asyncio.wait_for(read, 30) == b"pipe"
            for task in stuck:
                task.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)

    run(body)
    for number in (fd, reader, writer):
        os.close(number)


def wait_for_more(slave: int, least: int, tenths: int) -> None:
    tty.setraw(slave)
    attributes = termios.tcgetattr(slave)
    attributes[6][termios.VMIN] = least
    attributes[6][termios.VTIME] = tenths
    termios.tcsetattr(slave, termios.TCSANOW, attributes)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_terminal_that_waits_for_more(engine: str) -> None:
    """With VMIN and VTIME a read that has begun goes on waiting: others don't wait with it."""
    master, slave = pty.openpty()
    wait_for_more(slave, 10, 30)
    reader, writer = os.pipe()

    async def body() -> None:
        async with AIOContext(engine=engine) as ctx:
            slow = asyncio.create_task(ctx.read(100, slave))
            os.write(master, b"1")
            await asyncio.sleep(0.1)
            other = asyncio.create_task(ctx.read(4, reader))
            await asyncio.sleep(0.01)
            os.write(writer, b"pipe")
            assert await asyncio.wait_for(other, 1) == b"pipe"
            assert not slow.done()
            os.write(master, b"234567890")
            assert await asyncio.wait_for(slow, 1) == b"1234567890"

    run(body)
    for number in (master, slave, reader, writer):
        os.close(number)


@pytest.mark.parametrize("engine", ENGINES)
def test_polls_of_a_terminal(engine: str) -> None:
    """A terminal has two wait queues, and kernel AIO's poll takes files with one."""
    master, slave = pty.openpty()

    async def body() -> None:
        async with AIOContext(engine=engine) as ctx:
            for end in (master, slave):
                mask = await asyncio.wait_for(ctx.poll(end, select.POLLOUT), 10)
                assert mask == select.POLLOUT
            waiting = asyncio.create_task(ctx.poll(slave, select.POLLIN))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            os.write(master, b"a line\n")
            assert await asyncio.wait_for(waiting, 10) == select.POLLIN

    run(body)
    for number in (master, slave):
        os.close(number)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_terminal_that_waits_for_more_is_cancelled(engine: str) -> None:
    master, slave = pty.openpty()
    wait_for_more(slave, 10, 255)

    async def body() -> None:
        async with AIOContext(engine=engine) as ctx:
            for _ in range(3):
                slow = asyncio.create_task(ctx.readinto(bytearray(100), slave))
                os.write(master, b"1")
                await asyncio.sleep(0.05)
                slow.cancel()
                # the buffer is the program's: it ends when the kernel has let go
                done, _ = await asyncio.wait([slow], timeout=1)
                assert done

    run(body)
    for number in (master, slave):
        os.close(number)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["pipe", "fifo", "socket"])
def test_a_cancelled_read_takes_nothing_that_comes_later(
    engine: str, kind: str, tmp_path: Path
) -> None:
    if kind == "socket":
        ends = socket.socketpair()
        reader, writer = (end.detach() for end in ends)
    else:
        streams = Streams(kind, tmp_path)
        reader, writer = streams.reader, streams.writer

    async def body() -> None:
        async with AIOContext(engine=engine) as ctx:
            for _ in range(200):
                read = asyncio.create_task(ctx.read(10, reader))
                await asyncio.sleep(0.001)
                read.cancel()
                await asyncio.wait([read])
                os.write(writer, b"kept")
                assert await asyncio.wait_for(ctx.read(10, reader), 10) == b"kept"

    run(body)
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("engine", ENGINES)
def test_two_readers_of_one_terminal(engine: str, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    tty.setraw(slave)
    fd = os.open(tmp_path / "data", os.O_RDWR | os.O_CREAT)
    other = os.dup(slave)

    async def body() -> None:
        async with AIOContext(engine=engine) as one, AIOContext(engine=engine) as two:
            got = bytearray()
            for number in range(50):
                readers = [
                    asyncio.create_task(ctx.read(10, where))
                    for ctx, where in ((one, slave), (two, other), (one, other))
                ]
                os.write(master, b"x")
                done, pending = await asyncio.wait(
                    readers, timeout=30, return_when=asyncio.FIRST_COMPLETED
                )
                assert done
                got += b"".join(task.result() for task in done)
                assert await asyncio.wait_for(one.write(b"data", fd, number), 1) == 4
                for task in pending:
                    task.cancel()
                await asyncio.gather(*pending, return_exceptions=True)
                # a cancelled one may still take a byte
                while one.in_flight or two.in_flight:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            assert got == b"x" * 50

    run(body)
    for number in (master, slave, other, fd):
        os.close(number)


@pytest.mark.parametrize("engine", ENGINES)
def test_many_cancellations_of_a_slow_file(engine: str, fs: HoldingFS) -> None:
    """They are posted: the loop does not wait for the answers."""
    fs.create("data", bytes(1 << 20))
    fs.hold()
    fd = os.open(fs.path("data"), os.O_RDONLY | os.O_DIRECT)

    async def body() -> None:
        async with AIOContext(engine=engine) as ctx:
            for _ in range(5):
                tasks = [
                    asyncio.create_task(ctx.read(4096, fd, 4096 * number)) for number in range(16)
                ]
                await asyncio.sleep(0.02)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            fs.unhold()

    run(body)
    os.close(fd)


PROGRAM = """
import asyncio, os, pty, sys, tty
from linux_aio import AIOContext, AIOOperation

master, slave = pty.openpty()
tty.setraw(slave)

async def main():
    async with AIOContext(engine=sys.argv[1]) as ctx:
        print("ready", flush=True)
        await ctx.write(bytes(300_000), slave)

def blocking():
    with AIOContext(engine=sys.argv[1]) as ctx:
        AIOOperation.write(bytes(300_000), slave).submit(ctx)
        print("ready", flush=True)
        ctx.getevents()

if sys.argv[2] == "loop":
    asyncio.run(main())
else:
    blocking()
"""


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("how", ["loop", "getevents"])
def test_a_signal_ends_a_program_whose_terminal_nobody_reads(engine: str, how: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-P", "-c", PROGRAM, engine, how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"
        time.sleep(0.1)
        program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=30)
    assert b"KeyboardInterrupt" in errors


def open_when_free(path: Path) -> int:
    """Open it. The kernel lets one open it at a time, and another test run may have it open."""
    give_up = time.monotonic() + PATIENCE / 2
    while True:
        try:
            return os.open(path, os.O_RDONLY)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.05)


@contextlib.contextmanager
def trace_pipe(folder: Path) -> Iterator[int]:
    """tracefs' file of that name, in a namespace of its own: regular, waiting, without offsets."""
    assert ctypes.CDLL(None).unshare(CLONE_NEWNS) == 0
    mount("none", Path("/"), "", MS_REC | MS_PRIVATE)
    mount("none", folder, "tracefs")
    fd = open_when_free(folder / "trace_pipe")
    try:
        yield fd
    finally:
        os.close(fd)


def trace_pipe_reason() -> str | None:
    """Why it can't be opened; None if it can."""
    with tempfile.TemporaryDirectory() as folder:

        def look() -> str | None:
            try:
                with trace_pipe(Path(folder)):
                    return None
            except (OSError, AssertionError):
                return "no tracefs here"

        return in_child(look)


@pytest.mark.xdist_group("trace_pipe")
@pytest.mark.parametrize("offset", [0, None])
@pytest.mark.engine("auto", "uring", "threads")
def test_a_regular_file_that_waits(tmp_path: Path, offset: int | None) -> None:
    if reason := trace_pipe_reason():
        pytest.skip(reason)

    def use() -> None:
        async def read(fd: int) -> None:
            async with AIOContext(8) as context:
                with pytest.raises(asyncio.TimeoutError):
                    async with asyncio.timeout(0.2):
                        await context.read(100, fd, offset)

        with trace_pipe(tmp_path) as fd:
            run(partial(read, fd))

    in_child(use)
