# SPDX-License-Identifier: Apache-2.0
"""EINTR of a file system is asked again, as PEP 475 has it of system calls: nobody cancelled."""

from __future__ import annotations

import asyncio
import errno
import os
import select
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import linux_aio
from linux_aio import AIOContext, AIOOperation, EventFD, aligned_buffer
from linux_aio._many_files import replace_file
from support.engines import ENGINE
from support.fusefs import HoldingFS, Kind

pytest_plugins = ["support.fixtures"]

pytestmark = pytest.mark.needs_root

DATA = os.urandom(4096)


def full() -> memoryview:
    buffer = aligned_buffer(4096)
    buffer[:] = DATA
    return buffer


# What is asked for, how the file is open, and the kind of the file system's request.
OPERATIONS: dict[str, tuple[Callable[[int], AIOOperation[Any]], int, Kind]] = {
    "read": (lambda fd: AIOOperation.read(4096, fd), os.O_RDONLY, "read"),
    "direct read": (lambda fd: AIOOperation.read(4096, fd), os.O_RDONLY | os.O_DIRECT, "read"),
    "readinto": (lambda fd: AIOOperation.readinto(bytearray(4096), fd), os.O_RDONLY, "read"),
    "direct readinto": (
        lambda fd: AIOOperation.readinto(aligned_buffer(4096), fd),
        os.O_RDONLY | os.O_DIRECT,
        "read",
    ),
    "readv": (lambda fd: AIOOperation.readv([bytearray(4096)], fd), os.O_RDONLY, "read"),
    "write": (lambda fd: AIOOperation.write(DATA, fd), os.O_RDWR, "write"),
    "direct write": (lambda fd: AIOOperation.write(full(), fd), os.O_RDWR | os.O_DIRECT, "write"),
    "writev": (lambda fd: AIOOperation.writev([DATA], fd), os.O_RDWR, "write"),
    "fsync": (AIOOperation.fsync, os.O_RDWR, "fsync"),
    "fdsync": (AIOOperation.fdsync, os.O_RDWR, "fsync"),
}


@pytest.fixture(params=OPERATIONS)
def operation(request: pytest.FixtureRequest, fs: HoldingFS) -> Iterator[AIOOperation[Any]]:
    """One whose file system answers EINTR three times."""
    make, flags, kind = OPERATIONS[request.param]
    path = fs.create("data", DATA)
    fd = os.open(path, flags)
    if kind == "fsync":
        os.pwrite(fd, DATA, 0)
    fs.fail(errno.EINTR, 3, [kind])
    yield make(fd)
    fs.reset()
    os.close(fd)


def check(result: object) -> None:
    assert result in {DATA, len(DATA), None}


def test_getevents(operation: AIOOperation[Any]) -> None:
    with AIOContext() as ctx:
        assert operation.submit(ctx) == 1
        assert ctx.getevents(timeout=20) == [operation]
        check(operation.get_result())


def test_await(operation: AIOOperation[Any]) -> None:
    async def body() -> object:
        async with AIOContext() as ctx:
            operation.submit(ctx)
            return await asyncio.wait_for(operation, 20)

    check(asyncio.run(body()))


def test_eventfd(operation: AIOOperation[Any]) -> None:
    """Kernel AIO has signalled it when the answer is seen: it is not signalled twice."""
    with AIOContext() as ctx, EventFD() as eventfd:
        assert operation.submit(ctx, eventfd) == 1
        assert eventfd.read() == 1
        if ENGINE == "aio":
            with pytest.raises(InterruptedError):
                operation.get_result()
        else:
            check(operation.get_result())


def test_fileno_of_the_context(operation: AIOOperation[Any]) -> None:
    """The context's own may be signalled once more: who looks then finds nothing, or all."""
    with AIOContext() as ctx:
        number = ctx.fileno
        assert operation.submit(ctx) == 1
        found: list[AIOOperation[Any]] = []
        while not found:
            assert select.select([number], [], [], 20)[0]
            found = ctx.getevents(0)
        assert found == [operation]
        check(operation.get_result())


@pytest.mark.engine("aio")
def test_not_of_another_file(fs: HoldingFS) -> None:
    """A number that is another file's by the time of the answer is left alone."""
    fd = os.open(fs.create("data", DATA), os.O_RDWR)
    other = os.open(fs.create("other", DATA), os.O_RDWR)
    os.pwrite(fd, DATA, 0)
    fs.hold(reads=False, writes=False)
    fs.fail(errno.EINTR, 1, ["fsync"])
    with AIOContext() as ctx:
        operation = AIOOperation.fsync(fd)
        operation.submit(ctx)
        fs.wait_held(1)
        os.dup2(other, fd)
        fs.unhold()
        assert ctx.getevents(timeout=20) == [operation]
        with pytest.raises(InterruptedError):
            operation.get_result()
    os.close(fd)
    os.close(other)


WHOLE_FILES: dict[str, tuple[Callable[[str], Any], Kind]] = {
    "durable": (lambda path: linux_aio.write_bytes(path, DATA, durable=True), "fsync"),
    "atomic": (lambda path: linux_aio.write_bytes(path, DATA, atomic=True), "fsync"),
    "write": (lambda path: linux_aio.write_bytes(path, DATA), "write"),
    "read": (linux_aio.read_bytes, "read"),
    "replaced": (lambda path: replace_file(path, DATA, durable=True), "fsync"),
}


@pytest.mark.parametrize("how", WHOLE_FILES)
def test_whole_files(how: str, fs: HoldingFS) -> None:
    call, kind = WHOLE_FILES[how]
    path = str(fs.create("data", DATA))
    fs.fail(errno.EINTR, 3, [kind])

    async def body() -> object:
        return await asyncio.wait_for(call(path), 20)

    check(asyncio.run(body()))
    fs.reset()
