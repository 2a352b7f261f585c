# SPDX-License-Identifier: Apache-2.0
"""A stream loses nothing to tasks that are cancelled, or time out, while they read it."""

from __future__ import annotations

import asyncio
import os
import pty
import socket
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from linux_aio import AIOContext

pytest_plugins = ["support.fixtures"]

# "aio" is kernel AIO as it is: the submission waits for the stream, and nothing is cancelled.
ENGINES = [
    pytest.param(name, marks=pytest.mark.engine(name)) for name in ("auto", "uring", "threads")
]


@pytest.fixture(params=["pipe", "socket", "fifo", "terminal"])
def stream(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[int, int]]:
    if request.param == "pipe":
        reader, writer = os.pipe()
    elif request.param == "socket":
        reader, writer = (end.detach() for end in socket.socketpair())
    elif request.param == "fifo":
        os.mkfifo(tmp_path / "fifo")
        reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        writer = os.open(tmp_path / "fifo", os.O_WRONLY)
        os.set_blocking(reader, True)
    else:
        writer, reader = pty.openpty()
        tty.setraw(reader)
    yield reader, writer
    os.close(reader)
    os.close(writer)


async def read(ctx: AIOContext, how: str, fd: int) -> bytes:
    if how == "read":
        return await ctx.read(4096, fd)
    if how == "readinto":
        buffer = bytearray(4096)
        return bytes(buffer[: await ctx.readinto(buffer, fd)])
    buffers = [bytearray(2), bytearray(4096)]
    count = await ctx.readv(buffers, fd)
    return b"".join(buffers)[:count]


COUNT = 600


def write_slowly(fd: int) -> None:
    for number in range(COUNT):
        os.write(fd, b"%05d" % number)
        time.sleep(0.0006)


EXPECTED = b"".join(b"%05d" % number for number in range(COUNT))


async def collect(ctx: AIOContext, fd: int, one_try: Any) -> None:
    """Read in tries that mostly end early, until all is there."""
    got = bytearray()
    writer_is_done = time.monotonic() + 20
    while len(got) < len(EXPECTED):
        assert time.monotonic() < writer_is_done, f"{len(EXPECTED) - len(got)} bytes are missing"
        got += await one_try(ctx, fd)
    if ctx.max_requests > 2:
        assert got == EXPECTED
    else:  # several reads at a time, which are not ordered
        assert sorted(got) == sorted(EXPECTED)


def run(engine: str, stream: tuple[int, int], one_try: Any, max_requests: int = 128) -> None:
    reader, writer = stream

    async def body() -> None:
        async with AIOContext(max_requests, engine=engine) as ctx:
            await collect(ctx, reader, one_try)

    thread = threading.Thread(target=write_slowly, args=(writer,))
    thread.start()
    try:
        asyncio.run(body())
    finally:
        thread.join()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("how", ["read", "readinto", "readv"])
def test_time_outs(engine: str, how: str, stream: tuple[int, int]) -> None:
    async def one_try(ctx: AIOContext, fd: int) -> bytes:
        try:
            return await asyncio.wait_for(read(ctx, how, fd), 0.0005)
        except TimeoutError:
            return b""

    run(engine, stream, one_try)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("how", ["read", "readinto"])
def test_cancelled_tasks(engine: str, how: str, stream: tuple[int, int]) -> None:
    """Whenever the cancellation comes: also between the completion and the task's step."""

    async def one_try(ctx: AIOContext, fd: int) -> bytes:
        task = asyncio.create_task(read(ctx, how, fd))
        await asyncio.sleep(0.0003)
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            return b""

    run(engine, stream, one_try)


@pytest.mark.parametrize("engine", ENGINES)
def test_queued_reads(engine: str, stream: tuple[int, int]) -> None:
    """With places for a few only, reads are submitted by the loop and not by their tasks."""

    async def one_try(ctx: AIOContext, fd: int) -> bytes:
        tasks = [asyncio.create_task(ctx.read(4096, fd)) for _ in range(6)]
        await asyncio.sleep(0.0005)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        return b"".join(sorted(data for data in ended if isinstance(data, bytes)))

    run(engine, stream, one_try, 2)


@pytest.mark.parametrize("engine", ENGINES)
def test_two_tasks_read_one_stream(engine: str, stream: tuple[int, int]) -> None:
    reader, writer = stream
    got: list[bytes] = []

    async def read_on(ctx: AIOContext) -> None:
        while True:
            got.append(await ctx.read(5, reader))

    async def body() -> None:
        async with AIOContext(engine=engine) as ctx:
            tasks = [asyncio.create_task(read_on(ctx)) for _ in range(5)]
            for number in range(200):
                os.write(writer, b"%05d" % number)
                await asyncio.sleep(0)
            while sum(map(len, got)) < 1000:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert len(b"".join(got)) == 1000
            if all(len(data) == 5 for data in got):
                assert sorted(got) == [b"%05d" % number for number in range(200)]

    asyncio.run(asyncio.wait_for(body(), 60))


@pytest.mark.parametrize("engine", ENGINES)
def test_trio(engine: str, stream: tuple[int, int]) -> None:
    trio = pytest.importorskip("trio")
    reader, writer = stream

    async def body() -> None:
        got = bytearray()
        async with AIOContext(engine=engine) as ctx:
            with trio.fail_after(60):
                while len(got) < len(EXPECTED):
                    with trio.move_on_after(0.0005):
                        got += await ctx.read(4096, reader)
        assert got == EXPECTED

    thread = threading.Thread(target=write_slowly, args=(writer,))
    thread.start()
    try:
        trio.run(body)
    finally:
        thread.join()
