# SPDX-License-Identifier: Apache-2.0
"""Streams and positions: offsets, O_NONBLOCK, signalfd; one answer on every engine."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from linux_aio import AIOContext, AIOOperation, IOPriorityClass, ioprio

pytest_plugins = ["support.fixtures"]

ILLEGAL_SEEK = os.strerror(errno.ESPIPE)

ALL = [
    pytest.param(name, marks=pytest.mark.engine(name))
    for name in ("auto", "aio", "uring", "threads")
]


def make_stream(kind: str) -> tuple[int, int]:
    if kind == "pipe":
        return os.pipe()
    one, two = socket.socketpair()
    return one.detach(), two.detach()


@pytest.mark.parametrize("engine", ALL)
@pytest.mark.parametrize("kind", ["pipe", "socket"])
@pytest.mark.parametrize("is_ready", [False, True])
def test_an_offset_in_a_stream_is_refused_whatever_the_timing(
    engine: str, kind: str, is_ready: bool
) -> None:
    reader, writer = make_stream(kind)
    if is_ready:
        os.write(writer, b"12345678")

    async def body() -> None:
        async with AIOContext(engine=engine) as ctx:
            with pytest.raises(OSError, match=ILLEGAL_SEEK):
                await asyncio.wait_for(ctx.read(5, reader, 5), 30)
            with pytest.raises(OSError, match=ILLEGAL_SEEK):
                await asyncio.wait_for(ctx.readinto(bytearray(5), reader, 5), 30)
            with pytest.raises(OSError, match=ILLEGAL_SEEK):
                await asyncio.wait_for(ctx.write(b"data", writer, 5), 30)

    asyncio.run(body())
    if is_ready:
        assert os.read(reader, 100) == b"12345678"
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("engine", ALL)
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_none_is_where_a_stream_stands(engine: str, kind: str) -> None:
    reader, writer = make_stream(kind)

    async def body() -> None:
        async with AIOContext(engine=engine) as ctx:
            assert await ctx.write(b"12345678", writer, None) == 8
            assert await ctx.read(5, reader, None) == b"12345"
            buffer = bytearray(3)
            assert await ctx.readinto(buffer, reader, None) == 3
            assert buffer == b"678"

    asyncio.run(body())
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("engine", ALL)
def test_none_is_the_position_of_a_file(engine: str, tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)

    async def body() -> None:
        async with AIOContext(engine=engine) as ctx:
            assert await ctx.write(b"one\n", fd, None) == 4
            assert await ctx.writev([b"tw", b"o\n"], fd, offset=None) == 4
            assert os.lseek(fd, 0, os.SEEK_CUR) == 8
            os.lseek(fd, 2, os.SEEK_SET)
            assert await ctx.read(3, fd, None) == b"e\nt"
            buffers = [bytearray(1), bytearray(4)]
            assert await ctx.readv(buffers, fd, None) == 3
            assert buffers == [b"w", b"o\n\0\0"]
            assert await ctx.read(3, fd, None) == b""
            assert await ctx.read(3, fd) == b"one"
            assert os.lseek(fd, 0, os.SEEK_CUR) == 8

    asyncio.run(body())
    os.close(fd)


@pytest.mark.parametrize("engine", ALL)
def test_the_position_by_hand(engine: str, tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    with AIOContext(engine=engine) as ctx:
        write = AIOOperation.write(b"one\n", fd, None)
        assert write.offset is None
        assert "stands" in repr(write)
        for _ in range(2):
            write.submit(ctx)
            assert ctx.getevents(timeout=30) == [write]
            assert write.get_result() == 4
        read = AIOOperation.read(100, fd)
        assert read.offset == 0
        read.submit(ctx)
        ctx.getevents(timeout=30)
        assert read.get_result() == b"one\none\n"
        read.offset = None
        os.lseek(fd, 5, os.SEEK_SET)
        read.submit(ctx)
        ctx.getevents(timeout=30)
        assert read.get_result() == b"ne\n"
        read.offset = 4
        assert read.offset == 4
        with pytest.raises(TypeError, match="offset"):
            AIOOperation.read(1, fd, "0")  # type: ignore[arg-type]
    os.close(fd)


@pytest.mark.parametrize("engine", ALL)
def test_the_position_of_a_direct_file(engine: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 64)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError:
        pytest.skip("no O_DIRECT here")

    async def body() -> None:
        async with AIOContext(engine=engine) as ctx:
            assert await ctx.read(4096, fd, None) == bytes(range(256)) * 16
            assert os.lseek(fd, 0, os.SEEK_CUR) == 4096

    asyncio.run(body())
    os.close(fd)


@pytest.mark.parametrize("engine", ALL)
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_nonblocking_stream_is_waited_for(engine: str, kind: str) -> None:
    reader, writer = make_stream(kind)
    os.set_blocking(reader, False)

    async def body() -> None:
        async with AIOContext(engine=engine) as ctx:
            read = asyncio.create_task(ctx.read(10, reader))
            await asyncio.sleep(0.02)
            assert not read.done()
            os.write(writer, b"data")
            assert await asyncio.wait_for(read, 30) == b"data"
            with pytest.raises(BlockingIOError):
                await ctx.read(10, reader, flags=os.RWF_NOWAIT)

    asyncio.run(body())
    with AIOContext(engine=engine) as ctx:
        read = AIOOperation.read(10, reader)
        read.submit(ctx)
        assert ctx.getevents(timeout=0.02) == []
        os.write(writer, b"more")
        assert ctx.getevents(timeout=30) == [read]
        assert read.get_result() == b"more"
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("engine", ALL)
def test_a_nonblocking_stream_that_is_full(engine: str) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    room = 0
    try:
        while True:
            room += os.write(writer, bytes(4096))
    except BlockingIOError:
        pass

    async def body() -> None:
        async with AIOContext(engine=engine) as ctx:
            write = asyncio.create_task(ctx.write(b"data", writer))
            await asyncio.sleep(0.02)
            assert not write.done()
            left = room
            while left:
                left -= len(os.read(reader, left))
            assert await asyncio.wait_for(write, 30) == 4
        assert os.read(reader, 100) == b"data"

    asyncio.run(body())
    os.close(reader)
    os.close(writer)


SIGNAL_PROGRAM = """
import asyncio, ctypes, os, select, signal, sys
from linux_aio import AIOContext

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
bits = 8 * ctypes.sizeof(ctypes.c_ulong)
signals = (ctypes.c_ulong * 16)()
signals[(signal.SIGUSR1 - 1) // bits] = 1 << ((signal.SIGUSR1 - 1) % bits)
fd = ctypes.CDLL(None).signalfd(-1, signals, os.O_CLOEXEC)

async def main():
    async with AIOContext(engine=sys.argv[1]) as ctx:
        poll = asyncio.create_task(ctx.poll(fd, select.POLLIN))
        await asyncio.sleep(0.02)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert await asyncio.wait_for(poll, 30) == select.POLLIN
        assert len(await ctx.read(128, fd)) == 128
        poll = asyncio.create_task(ctx.poll(fd, select.POLLIN))
        await asyncio.sleep(0.02)
        poll.cancel()
        await asyncio.wait([poll])
        assert poll.cancelled()

asyncio.run(main())
"""


@pytest.mark.parametrize("engine", ALL)
def test_a_signal_of_the_process_ends_the_poll_of_a_signalfd(engine: str) -> None:
    """In a program of its own: no other thread takes the signal."""
    subprocess.run(
        [sys.executable, "-P", "-c", SIGNAL_PROGRAM, engine],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        timeout=60,
    )


@pytest.mark.parametrize("engine", ALL)
def test_a_file_is_no_eventfd_whichever_way_the_operation_ends(engine: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"data that stays")
    reader, writer = make_stream("socket")
    fd = os.open(path, os.O_RDWR)
    try:
        with AIOContext(engine=engine) as ctx:
            refused = AIOOperation.read(5, reader, 5)  # a stream has no offsets
            with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
                refused.submit(ctx, fd)
        assert path.read_bytes() == b"data that stays"
    finally:
        for number in (reader, writer, fd):
            os.close(number)


async def leave_bytes(ctx: AIOContext, reader: int, writer: int, times: int) -> None:
    """A read has brought bytes, and its task is cancelled before they are reaped."""
    task = asyncio.ensure_future(ctx.readinto(bytearray(64), reader))
    await asyncio.sleep(0.01)
    os.write(writer, b"hello")
    await asyncio.sleep(0)
    time.sleep(0.02)  # noqa: ASYNC251  # nothing is reaped meanwhile
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    with contextlib.suppress(asyncio.CancelledError):
        if await task == 5:
            os.write(writer, b"hello")  # it came too late


def make_fifo(path: Path) -> tuple[int, int]:
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY)
    os.set_blocking(reader, True)
    return reader, writer


NO_KERNEL_AIO = [case for case in ALL if case.values != ("aio",)]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("engine", NO_KERNEL_AIO)
def test_bytes_of_a_cancelled_read_come_once(engine: str, times: int, tmp_path: Path) -> None:
    reader, writer = make_fifo(tmp_path / "fifo")

    async def main() -> None:
        async with AIOContext(engine=engine) as ctx:
            for _ in range(5):
                await leave_bytes(ctx, reader, writer, times)
                assert await asyncio.wait_for(ctx.read(64, reader), 30) == b"hello"

    try:
        asyncio.run(main())
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("engine", NO_KERNEL_AIO)
def test_a_new_fifo_has_nothing_of_one_that_is_gone(engine: str, tmp_path: Path) -> None:
    """The file system may give it the number of the other's inode."""

    async def main() -> None:
        for data in (b"first", b"second"):
            reader, writer = make_fifo(tmp_path / "fifo")
            async with AIOContext(engine=engine) as ctx:
                if data == b"first":
                    await leave_bytes(ctx, reader, writer, 1)
                else:
                    os.write(writer, data)
                    assert await ctx.read(64, reader) == data
            os.close(reader)
            os.close(writer)
            (tmp_path / "fifo").unlink()

    asyncio.run(main())


@pytest.mark.needs_root
@pytest.mark.parametrize("engine", NO_KERNEL_AIO)
def test_packets_of_a_tunnel(engine: str) -> None:
    """A read may be told not to wait, and brings one packet, which is no part of anything."""
    name = b"aio-test-tun"
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH14x", name, 0x1001))  # TUNSETIFF
    except OSError:
        pytest.skip("no tunnels here")
    packets = [b"packet %d" % number for number in range(5)]

    async def main() -> list[bytes]:
        found: list[bytes] = []
        async with AIOContext(engine=engine) as ctx:
            while len(found) < len(packets):
                data = await asyncio.wait_for(ctx.read(2000, fd), 30)
                if data[-8:-1] == b"packet ":
                    found.append(data[-8:])
        return found

    def with_address(request: int, address: str) -> None:
        packed = struct.pack("16sHH4s8x", name, socket.AF_INET, 0, socket.inet_aton(address))
        fcntl.ioctl(sender, request, packed)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        try:
            with_address(0x8916, "10.213.99.1")  # SIOCSIFADDR
            with_address(0x891C, "255.255.255.0")  # SIOCSIFNETMASK
            fcntl.ioctl(sender, 0x8914, struct.pack("16sH14x", name, 0x41))  # SIOCSIFFLAGS
            for packet in packets:
                sender.sendto(packet, ("10.213.99.2", 9))
            assert asyncio.run(main()) == packets
        finally:
            os.close(fd)


@pytest.fixture
def kernel_log() -> Iterator[int]:
    """The kernel's log: a read waits when all of it was read. Kernel AIO can't read it at all."""
    try:
        fd = os.open("/proc/kmsg", os.O_RDONLY)
    except OSError:
        pytest.skip("the kernel's log is not to be read here")
    os.set_blocking(fd, False)
    with contextlib.suppress(BlockingIOError):  # all of it was read
        while os.read(fd, 1 << 16):
            pass
    os.set_blocking(fd, True)
    yield fd
    os.close(fd)


@pytest.mark.needs_root
@pytest.mark.parametrize("engine", NO_KERNEL_AIO)
def test_closing_ends_reads_that_wait_for_a_worker(engine: str, kernel_log: int) -> None:
    """More of them than one device may have of our threads."""

    async def main() -> list[int | BaseException]:
        ctx = AIOContext(engine=engine)
        memory = [bytearray(1 << 12) for _ in range(100)]
        tasks = [asyncio.ensure_future(ctx.readinto(some, kernel_log)) for some in memory]
        await asyncio.sleep(0.3)
        await asyncio.wait_for(ctx.aclose(), 30)
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)

    results = asyncio.run(main())
    cancelled = [result for result in results if isinstance(result, OSError)]
    assert {error.errno for error in cancelled} == {errno.ECANCELED}
    assert all(isinstance(result, int | OSError) for result in results)


@pytest.mark.needs_root
@pytest.mark.parametrize("engine", NO_KERNEL_AIO)
def test_a_read_that_waits_of_a_file_that_can_be_sought_in(engine: str, kernel_log: int) -> None:
    fd = kernel_log
    version = Path("/proc/version").open("rb")  # noqa: SIM115  # closed below
    expected = Path("/proc/version").read_bytes()

    async def begin(ctx: AIOContext) -> asyncio.Task[int]:
        while True:  # until nothing is logged for a moment
            task = asyncio.ensure_future(ctx.readinto(bytearray(1 << 16), fd))
            await asyncio.wait([task], timeout=0.1)
            if not task.done():
                return task

    async def main() -> asyncio.Task[int]:
        async with AIOContext(engine=engine) as ctx:
            task = await begin(ctx)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(task, 30)
            task = await begin(ctx)
            with contextlib.closing(version):  # also of procfs, and never waits
                assert await ctx.read(4096, version, 0) == expected
                assert await ctx.read(5, version, 3) == expected[3:8]
        with pytest.raises(OSError, match="Operation canceled"):  # by the end of the context
            await asyncio.wait_for(task, 30)
        return task

    asyncio.run(main())


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_an_empty_datagram(kind: socket.SocketKind) -> None:
    """As write(2) sends it. With SOCK_SEQPACKET it looks like the end to its reader."""
    ours, theirs = socket.socketpair(type=kind)
    with ours, theirs, AIOContext(4) as context:
        theirs.settimeout(10)
        write = AIOOperation.write(b"", ours)
        write.submit(context)
        assert context.getevents(1) == [write]
        assert write.get_result() == 0
        assert theirs.recv(10) == b""


# --- reads that end at once


def wrong_reads(stack: contextlib.ExitStack) -> list[tuple[int, int]]:
    """Descriptors and sizes for which read(2) does not wait, though there is nothing to read."""
    read_end, write_end = os.pipe()
    epoll = select.epoll()
    pidfd = os.pidfd_open(os.getpid())
    event = os.eventfd(0)
    listening = socket.create_server(("127.0.0.1", 0))
    for fd in (read_end, write_end, pidfd, event):
        stack.callback(os.close, fd)
    stack.callback(epoll.close)
    stack.callback(listening.close)
    return [
        (write_end, 4),
        (epoll.fileno(), 4),
        (pidfd, 4),
        (event, 4),
        (listening.fileno(), 4),
        (read_end, 0),
    ]


def outcome_of(result: object) -> object:
    return result.errno if isinstance(result, OSError) else result


@pytest.mark.engine("auto", "uring", "threads")
@pytest.mark.parametrize("offset", [0, None])
def test_reads_that_read_2_does_not_wait_for(offset: int | None) -> None:
    async def main() -> None:
        with contextlib.ExitStack() as stack:
            async with AIOContext(16) as context:
                for fd, size in wrong_reads(stack):
                    expected: object
                    try:
                        expected = os.read(fd, size)
                    except OSError as error:
                        expected = error.errno
                    for priority in (0, ioprio(IOPriorityClass.BEST_EFFORT, 4)):
                        read = context.read(size, fd, offset, priority=priority)
                        [result] = await asyncio.wait_for(
                            asyncio.gather(read, return_exceptions=True), 30
                        )
                        assert outcome_of(result) == expected, (fd, size)

    asyncio.run(main())
