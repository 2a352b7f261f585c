# SPDX-License-Identifier: Apache-2.0
"""A server that does not answer holds up no more than its share of our threads and the kernel's."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import mmap
import os
import select
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import linux_aio
import linux_aio.fs
from linux_aio import AIOContext, AIOOperation, EventFD
from support.fusefs import HoldingFS, mounted
from support.operations import wait_done
from support.workers import PATIENCE

pytest_plugins = ["support.fixtures"]

pytestmark = [
    pytest.mark.engine("auto", "uring", "threads"),
    pytest.mark.needs_root,
]

HANGING = 500
DATA = os.urandom(1 << 20)


@contextlib.contextmanager
def hanging(fs: HoldingFS, ctx: AIOContext, name: str) -> Iterator[list[AIOOperation[Any]]]:
    """Reads and fsyncs that wait for a stopped server; they complete at the end."""
    path = fs.create(name, DATA)
    fd = os.open(path, os.O_RDWR)
    server = fs.server_pid
    os.kill(server, signal.SIGSTOP)
    try:
        operations: list[AIOOperation[Any]] = []
        for number in range(HANGING // 2):
            operations.append(AIOOperation.read(512, fd, 4096 * (number % 256)))
            operations.append(AIOOperation.fsync(fd))
        assert ctx.submit(*operations) == len(operations)
        time.sleep(0.2)  # until they have taken all the threads that they get
        yield operations
    finally:
        os.kill(server, signal.SIGCONT)
        deadline = time.monotonic() + 60
        while not all(operation.done for operation in operations):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.close(fd)


def work(ctx: AIOContext, path: Path, rounds: int = 20) -> None:
    """Reads, writes and syncs of a healthy file, some at a time, each looked at."""
    fd = os.open(path, os.O_RDWR)
    try:
        for number in range(rounds):
            reads = [AIOOperation.read(4096, fd, 4096 * ((number * 7 + i) % 256)) for i in range(8)]
            writes = [AIOOperation.write(DATA[:4096], fd, len(DATA) + 4096 * i) for i in range(4)]
            syncs = [AIOOperation.fsync(fd), AIOOperation.fdsync(fd)]
            mine: list[AIOOperation[Any]] = [*reads, *writes, *syncs]
            assert ctx.submit(*mine) == len(mine)
            deadline = time.monotonic() + 20
            while not all(operation.done for operation in mine):
                assert time.monotonic() < deadline, "a healthy file waits for a sick one"
                time.sleep(0.0005)
            for i, read in enumerate(reads):
                start = 4096 * ((number * 7 + i) % 256)
                assert read.get_result() == DATA[start : start + 4096]
            assert [write.get_result() for write in writes] == [4096] * 4
    finally:
        os.close(fd)


@pytest.fixture
def healthy(tmp_path: Path) -> Path:
    path = tmp_path / "healthy"
    path.write_bytes(DATA)
    return path


def test_other_files_go_on_beside_a_server_that_hangs(fs: HoldingFS, healthy: Path) -> None:
    with AIOContext(1000) as ctx, AIOContext(64) as other, hanging(fs, ctx, "sick") as stuck:
        work(ctx, healthy)
        work(other, healthy)
        assert any(not operation.done for operation in stuck)


def test_two_servers_that_hang(fs: HoldingFS, healthy: Path, tmp_path: Path) -> None:
    with (
        mounted(tmp_path) as second,
        AIOContext(2000) as ctx,
        AIOContext(64) as other,
        hanging(fs, ctx, "sick"),
        hanging(second, ctx, "sick too"),
    ):
        work(ctx, healthy)
        work(other, healthy)


def test_what_waits_behind_a_server_can_be_cancelled(fs: HoldingFS) -> None:
    with AIOContext(1000) as ctx, hanging(fs, ctx, "sick") as stuck:
        cancelled = [operation for operation in reversed(stuck) if ctx.cancel(operation)]
        assert cancelled, "most have not begun"
        for operation in cancelled[:100]:
            wait_done(operation)
            with pytest.raises(OSError, match=r"of fd") as raised:
                operation.get_result()
            assert raised.value.errno == errno.ECANCELED


def test_idle_polls_hold_up_nothing(healthy: Path) -> None:
    pipes = [os.pipe() for _ in range(100)]
    try:
        with AIOContext(11_000) as ctx, AIOContext(64) as other:
            polls = [AIOOperation.poll(pipes[i % 100][0], 1) for i in range(10_000)]
            assert ctx.submit(*polls) == len(polls)
            work(ctx, healthy, 5)
            work(other, healthy, 5)
            assert not any(poll.done for poll in polls)
    finally:
        for pipe in pipes:
            for end in pipe:
                os.close(end)


def time_of_signal(ctx: AIOContext, eventfd: EventFD, fd: int, second: AIOOperation[Any]) -> float:
    """Submit a write to `fd` and then `second`; return the seconds until the write is signalled."""
    first = AIOOperation.write(b"first", fd)
    first.prepare(eventfd)
    begin = time.monotonic()
    assert ctx.submit(first, second) == 2
    assert select.select([eventfd.fileno], [], [], 20)[0]
    time_taken = time.monotonic() - begin
    assert first.get_result() == 5
    return time_taken


def test_a_signal_does_not_wait_for_another_device(fs: HoldingFS, healthy: Path) -> None:
    """One worker does both writes, one after the other, and the second hangs."""
    good, sick = os.open(healthy, os.O_RDWR), os.open(fs.create("sick", DATA), os.O_RDWR)
    times = []
    with AIOContext(16) as ctx:
        for _ in range(5):
            with EventFD() as eventfd:
                second = AIOOperation.write(b"second", sick)
                fs.hold()
                times.append(time_of_signal(ctx, eventfd, good, second))
                fs.unhold()
                wait_done(second)
    os.close(good)
    os.close(sick)
    assert sorted(times)[2] < 0.05, "it waits until somebody looks whether something hangs"


def test_a_signal_does_not_wait_for_another_file(
    fs: HoldingFS, healthy: Path, tmp_path: Path
) -> None:
    """One worker does both writes of a device. The second waits for a lock of its file, which a
    thread has whose data comes from a server that hangs.
    """
    locked = tmp_path / "locked"
    locked.write_bytes(DATA)
    first_fd, second_fd = os.open(healthy, os.O_RDWR), os.open(locked, os.O_RDWR)
    times = []
    with AIOContext(16) as ctx, ThreadPoolExecutor() as pool:
        for number in range(5):
            with open(fs.create(f"sick {number}", DATA), "rb") as sick, EventFD() as eventfd:
                memory = mmap.mmap(sick.fileno(), 4096, prot=mmap.PROT_READ)
                fs.hold()
                holder = pool.submit(os.pwrite, second_fd, memory, 0)
                fs.wait_held(1)
                second = AIOOperation.write(b"second", second_fd)
                times.append(time_of_signal(ctx, eventfd, first_fd, second))
                fs.unhold()
                assert holder.result() == 4096
                wait_done(second)
                memory.close()
    os.close(first_fd)
    os.close(second_fd)
    assert sorted(times)[2] < 0.05, "it waits until somebody looks whether something hangs"


@pytest.mark.parametrize("hanging_paths", [40, 200])
def test_paths_go_on_beside_a_server_that_hangs(
    fs: HoldingFS, tmp_path: Path, hanging_paths: int
) -> None:
    """Whose paths hang is asked of the kernel's cache, so those of other devices don't wait."""

    async def work_on(number: int) -> None:
        await linux_aio.fs.mkdir(tmp_path / f"folder {number}")
        path = tmp_path / f"folder {number}" / "file"
        async with linux_aio.open(path, "wb") as file:
            await file.write(DATA)
        assert await linux_aio.read_bytes(path) == DATA
        await linux_aio.fs.rename(path, tmp_path / f"file {number}")
        assert await linux_aio.fs.listdir(tmp_path / f"folder {number}") == []

    async def body() -> None:
        os.kill(fs.server_pid, signal.SIGSTOP)
        names = [fs.path(f"name {number}") for number in range(hanging_paths)]
        hanging = [asyncio.create_task(linux_aio.fs.stat(name)) for name in names]
        try:
            await asyncio.sleep(0.2)  # until they have taken all the threads that they get
            for number in range(5):
                await asyncio.wait_for(work_on(number), 20)
            assert not any(task.done() for task in hanging)
        finally:
            os.kill(fs.server_pid, signal.SIGCONT)
        outcomes = await asyncio.gather(*hanging, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {FileNotFoundError}

    asyncio.run(body())


def test_contexts_and_files_of_one_device_take_turns(fs: HoldingFS) -> None:
    """Who asks for one thing does not wait for all that somebody else asked for before."""
    busy, other, third = (os.open(fs.create(name, DATA), os.O_RDWR) for name in "abc")
    fs.delay(0.002)
    try:
        with AIOContext(1000) as ctx, AIOContext(16) as another:
            many = [AIOOperation.fsync(busy) for _ in range(400)]
            assert ctx.submit(*many) == len(many)
            for context, fd in ((another, busy), (another, other), (ctx, third)):
                operation = AIOOperation.fsync(fd)
                context.submit(operation)
                wait_done(operation)
                assert sum(not one.done for one in many) > 100
            fs.delay(0)
            for one in many:
                wait_done(one)
    finally:
        fs.delay(0)
        for fd in (busy, other, third):
            os.close(fd)


@pytest.mark.parametrize("error", [errno.EAGAIN, errno.EOPNOTSUPP])
@pytest.mark.parametrize("kind", ["read", "write"])
def test_a_server_that_refuses_direct_transfers_for_now(
    fuse: HoldingFS, ctx: AIOContext, error: int, kind: str
) -> None:
    """It is not asked again and again."""
    fd = os.open(fuse.create("file", bytes(8192)), os.O_RDWR | os.O_DIRECT)
    memory = mmap.mmap(-1, 4096)
    try:
        fuse.fail(error)
        operation = (
            AIOOperation.readinto(memory, fd) if kind == "read" else AIOOperation.write(memory, fd)
        )
        operation.submit(ctx)
        assert ctx.getevents(1, timeout=PATIENCE) == [operation]
        with pytest.raises(OSError, match=os.strerror(error)):
            operation.get_result()
    finally:
        fuse.reset()
        os.close(fd)
