# SPDX-License-Identifier: Apache-2.0
"""Hundreds of requests that wait do not hold up what else the files of a loop are to do."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import struct
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import linux_aio
from linux_aio import fs
from support import any_loop as loops
from support.forked import in_child

pytest_plugins = ["support.fixtures"]

pytestmark = pytest.mark.usefixtures("any_loop")

# More than the kernel's queue of a loop's context has room for.
MANY = 300


async def use_files(folder: Path) -> None:
    await linux_aio.write_bytes(folder / "file", b"data")
    assert (await fs.stat(folder / "file")).st_size == 4
    assert await linux_aio.read_bytes(folder / "file") == b"data"
    assert await fs.listdir(folder) == ["file"]


async def read_one(fd: int) -> bytes:
    async with await linux_aio.open(fd, "rb") as file:
        return await file.read(1)


async def open_to_read(path: Path) -> None:
    await (await linux_aio.open(path, "rb")).close()


def with_many_files(use: Callable[[], Coroutine[Any, Any, None]]) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, most), most))
    loops.current.run(use)


@pytest.mark.engine("auto", "uring", "threads")
def test_pipes_that_stay_empty(tmp_path: Path) -> None:
    async def use() -> None:
        pipes = [os.pipe() for _ in range(MANY)]
        async with loops.current.group() as group:
            for reader, _ in pipes:
                group.start(partial(read_one, reader))
            await loops.current.turns(3)
            await use_files(tmp_path)
            for _, writer in pipes:
                os.write(writer, b"!")
        for _, writer in pipes:
            os.close(writer)

    in_child(partial(with_many_files, use))


def test_fifos_that_nobody_opens_to_write(tmp_path: Path) -> None:
    fifos = tmp_path / "fifos"
    files = tmp_path / "files"
    fifos.mkdir()
    files.mkdir()

    async def use() -> None:
        for number in range(MANY):
            os.mkfifo(fifos / str(number))
        async with loops.current.group() as group:
            for number in range(MANY):
                group.start(partial(open_to_read, fifos / str(number)))
            await loops.current.turns(3)
            await use_files(files)
            group.cancel()

    in_child(partial(with_many_files, use))


@pytest.mark.engine("auto", "uring", "threads")
def test_direct_reads_beyond_the_kernels_queue(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"".join(bytes([number % 251]) * 4096 for number in range(2 * MANY)))

    async def use() -> None:
        async with await linux_aio.open(path, "rb", direct=True) as file:
            read: dict[int, bytes] = {}

            async def read_block(number: int) -> None:
                read[number] = await file.pread(4096, number * 4096)

            async with loops.current.group() as group:
                for number in range(2 * MANY):
                    group.start(partial(read_block, number))
        assert read == {number: bytes([number % 251]) * 4096 for number in range(2 * MANY)}

    loops.current.run(use)


def lingering_sockets(count: int) -> tuple[list[int], list[socket.socket]]:
    """Sockets whose close(2) waits for half a minute, unless their peers are closed."""
    fds: list[int] = []
    peers: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        for _ in range(count):
            client = socket.create_connection(server.getsockname())
            peers.append(server.accept()[0])
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 100_000)
            client.setblocking(False)
            try:
                while True:
                    client.send(bytes(65536))
            except BlockingIOError:
                pass
            client.setblocking(True)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 30))
            fds.append(client.detach())
    return fds, peers


def test_closes_that_linger(tmp_path: Path) -> None:
    """They have a part of the threads that close."""

    async def use() -> None:
        fds, peers = lingering_sockets(40)
        files = [await linux_aio.open(fd, "wb", buffering=0) for fd in fds]
        other = await linux_aio.open(tmp_path / "file", "wb")
        async with loops.current.group() as group:
            for file in files:
                group.start(file.close)
            await loops.current.turns(3)
            is_closed = False
            async with loops.current.scope(20):
                await other.close()
                is_closed = True
            assert is_closed
            for peer in peers:
                peer.close()

    loops.current.run(use)


@pytest.mark.needs_root
@pytest.mark.engine("auto", "uring", "threads")
def test_a_close_for_which_no_thread_can_be_had(tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def use() -> None:
        reader, writer = os.pipe()
        file = await linux_aio.open(path, "wb")
        await file.write(b"data")
        await file.flush()
        number = file.fileno()
        async with loops.current.group() as group:
            group.start(partial(read_one, reader))  # our I/O thread runs
            await loops.current.sleep(0.3)
            os.setresuid(54321, 54321, 54321)
            resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
            await file.close()
            assert file.closed
            await loops.current.until(lambda: not is_number_of(number, path))
            os.write(writer, b"!")
        os.close(writer)

    in_child(lambda: loops.current.run(use))
    assert path.read_bytes() == b"data"


def is_number_of(number: int, path: Path) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{number}") == str(path)
    except OSError:
        return False


class Interruption(Exception):  # noqa: N818
    pass


@pytest.mark.engine_independent
def test_a_signal_at_the_beginning_of_the_rest_of_a_read(tmp_path: Path) -> None:
    """The file is not locked for ever."""
    path = tmp_path / "file"
    size = 65536
    caught = 0

    def interrupt(_signal: int, frame: Any) -> None:
        nonlocal caught
        if frame.f_code.co_name == "_read_rest":
            caught += 1
            raise Interruption

    async def read_one_that_shrank(delay: float) -> None:
        path.write_bytes(bytes(size))
        file = await linux_aio.open(path, "rb")
        os.truncate(path, size - 100)  # the request comes short, and the rest follows
        read = file.read()
        signal.setitimer(signal.ITIMER_REAL, delay)
        try:
            await read
        except Interruption:
            pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        async with loops.current.scope(20):
            await file.close()
        assert file.closed

    async def use() -> int:
        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            for attempt in range(5000):
                await read_one_that_shrank(5e-6 * (1 + attempt % 60))
                if caught == 20:
                    break
        finally:
            signal.signal(signal.SIGALRM, before)
        return caught

    assert in_child(lambda: loops.current.run(use)) > 0


@pytest.mark.needs_root
def test_idle_threads_of_other_rights(tmp_path: Path) -> None:
    """Threads that have closed many files do not take the place of one with other rights."""
    (tmp_path / "secret").write_bytes(b"for root")
    (tmp_path / "secret").chmod(0o600)
    setfsuid = ctypes.CDLL(None, use_errno=True).setfsuid

    async def use() -> None:
        for _ in range(5):
            fds, peers = lingering_sockets(40)
            files = [await linux_aio.open(fd, "wb", buffering=0) for fd in fds]
            files += [await linux_aio.open(tmp_path / str(i), "wb") for i in range(40)]
            async with loops.current.group() as group:
                for file in files:
                    group.start(file.close)
                await loops.current.turns(3)
                for peer in peers:
                    peer.close()
            setfsuid(12345)  # of this thread alone
            try:
                with pytest.raises(PermissionError):
                    await linux_aio.open(tmp_path / "secret", "rb")
            finally:
                setfsuid(0)

    loops.current.run(use)
