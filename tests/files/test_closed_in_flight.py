# SPDX-License-Identifier: Apache-2.0
"""A descriptor closed in flight, and its number open on another file: that file stays untouched."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import select
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from linux_aio import AIOContext, AIOOperation, EventFD, aligned_buffer
from support.files import Gate, file_in_memory
from support.fusefs import HoldingFS
from support.mounts import SMALLEST_MIB, loop_mount, loop_mount_reason
from support.operations import wait_done
from support.workers import finish, start

pytest_plugins = ["support.fixtures"]

SIZE = 4096
OLD = b"o" * SIZE  # what the file of the operation has
NEW = b"n" * SIZE  # what is to be written to it
OTHER = bytes(number % 251 for number in range(SIZE))  # what the file has that gets its number


class Case(NamedTuple):
    """An operation, the memory it uses, and what it is to do."""

    make: Callable[[Any, memoryview], AIOOperation]
    result: Any
    writes: bool = False
    reads_into: bool = False


CASES = {
    "read": Case(lambda fd, _: AIOOperation.read(SIZE, fd), OLD),
    "readinto": Case(lambda fd, memory: AIOOperation.readinto(memory, fd), SIZE, reads_into=True),
    "readv": Case(
        lambda fd, memory: AIOOperation.readv([memory[:1000], memory[1000:]], fd),
        SIZE,
        reads_into=True,
    ),
    "write": Case(lambda fd, memory: AIOOperation.write(memory, fd), SIZE, writes=True),
    "writev": Case(
        lambda fd, memory: AIOOperation.writev([memory[:1000], memory[1000:]], fd),
        SIZE,
        writes=True,
    ),
    "fsync": Case(lambda fd, _: AIOOperation.fsync(fd), None),
    "fdsync": Case(lambda fd, _: AIOOperation.fdsync(fd), None),
}


class Scene:
    """An operation in flight on a file, and another file that takes over its number."""

    def __init__(self, fs: HoldingFS, folder: Path, fd: int, other: int) -> None:
        self.fs = fs
        self.fd = fd
        self._other = other
        self._other_path = folder / "other"
        self._before = os.stat(other)

    def swap(self) -> None:
        """Close the file in flight; its number is the other file's from now on."""
        os.dup2(self._other, self.fd)

    def assert_other_untouched(self) -> None:
        assert os.path.sameopenfile(self.fd, self._other)
        assert self._other_path.read_bytes() == OTHER
        after = os.stat(self._other)
        assert (after.st_size, after.st_mtime_ns) == (
            self._before.st_size,
            self._before.st_mtime_ns,
        )
        assert os.lseek(self._other, 0, os.SEEK_CUR) == 0


@pytest.fixture
def scene(fs: HoldingFS, tmp_path: Path) -> Iterator[Scene]:
    fs.create("data", OLD)
    (tmp_path / "other").write_bytes(OTHER)
    fd = os.open(fs.path("data"), os.O_RDWR | os.O_DIRECT)
    other = os.open(tmp_path / "other", os.O_RDWR)
    fs.hold()
    yield Scene(fs, tmp_path, fd, other)
    fs.unhold()
    os.close(fd)
    os.close(other)


@pytest.mark.parametrize("kind", CASES)
def test_the_number_is_another_files(kind: str, scene: Scene, ctx: AIOContext) -> None:
    case = CASES[kind]
    memory = aligned_buffer(SIZE)
    memory[:] = NEW
    op = case.make(scene.fd, memory)
    op.submit(ctx)
    scene.fs.wait_held(1)
    scene.swap()
    assert not op.done
    scene.fs.unhold()
    assert ctx.getevents() == [op]
    assert op.get_result() == case.result
    assert memory == (OLD if case.reads_into else NEW)
    assert scene.fs.contents("data") == (NEW if case.writes else OLD)
    scene.assert_other_untouched()


@pytest.mark.parametrize("kind", CASES)
def test_the_number_is_nobodys(kind: str, fs: HoldingFS, ctx: AIOContext) -> None:
    case = CASES[kind]
    memory = aligned_buffer(SIZE)
    memory[:] = NEW
    fs.create("data", OLD)
    fs.hold()
    fd = os.open(fs.path("data"), os.O_RDWR | os.O_DIRECT)
    op = case.make(fd, memory)
    op.submit(ctx)
    fs.wait_held(1)
    closing = start(os.close, fd)  # FUSE may wait for writes
    fs.unhold()
    finish(closing)
    assert ctx.getevents() == [op]
    assert op.get_result() == case.result
    assert fs.contents("data") == (NEW if case.writes else OLD)
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)) as caught:
        op.submit(ctx)
    assert caught.value.errno == errno.EBADF
    assert op.get_result() == case.result


@pytest.mark.parametrize("kind", CASES)
def test_the_result_is_asked_for_after_all_that(kind: str, scene: Scene) -> None:
    """The context is closed, too, while the number is already another file's."""
    case = CASES[kind]
    memory = aligned_buffer(SIZE)
    memory[:] = NEW
    ctx = AIOContext(4)
    op = case.make(scene.fd, memory)
    op.submit(ctx)
    scene.fs.wait_held(1)
    scene.swap()
    closing = start(ctx.close)
    scene.fs.unhold()
    finish(closing)
    assert op.get_result() == case.result
    scene.assert_other_untouched()


def test_cancelling_then_does_nothing_to_the_other(scene: Scene, ctx: AIOContext) -> None:
    op = AIOOperation.read(SIZE, scene.fd)
    op.submit(ctx)
    scene.fs.wait_held(1)
    scene.swap()
    assert not ctx.cancel(op)
    scene.fs.unhold()
    assert ctx.getevents() == [op]
    assert op.get_result() == OLD
    scene.assert_other_untouched()


def test_submitted_again_it_acts_on_whose_number_it_is_then(scene: Scene, ctx: AIOContext) -> None:
    op = AIOOperation.read(SIZE, scene.fd)
    op.submit(ctx)
    scene.fs.wait_held(1)
    scene.swap()
    scene.fs.unhold()
    ctx.getevents()
    assert op.get_result() == OLD
    op.submit(ctx)
    ctx.getevents()
    assert op.get_result() == OTHER


def test_a_file_object_that_was_closed(scene: Scene, ctx: AIOContext) -> None:
    """Its number is another file's, which a second submission does not touch either."""
    file = os.fdopen(os.dup(scene.fd), "r+b", buffering=0)
    number = file.fileno()
    op = AIOOperation.write(aligned_buffer(SIZE), file)
    op.submit(ctx)
    scene.fs.wait_held(1)
    closing = start(file.close)
    scene.fs.unhold()
    finish(closing)
    os.dup2(scene._other, number)
    try:
        assert ctx.getevents() == [op]
        with pytest.raises(ValueError, match="closed"):
            op.submit(ctx)
        assert op.get_result() == SIZE
        assert scene.fs.contents("data") == bytes(SIZE)
        scene.swap()
        scene.assert_other_untouched()
    finally:
        os.close(number)


def test_the_number_of_its_eventfd_is_a_files(scene: Scene, ctx: AIOContext) -> None:
    """The signal goes to the eventfd, or to nobody; 8 bytes to the file it must not be."""
    efd = EventFD()
    number = efd.fileno
    op = AIOOperation.read(SIZE, scene.fd)
    op.submit(ctx, efd)
    scene.fs.wait_held(1)
    efd.close()
    os.dup2(scene._other, number)
    try:
        scene.fs.unhold()
        while not op.done:
            ctx.getevents()
        assert op.get_result() == OLD
        scene.swap()
        scene.assert_other_untouched()
    finally:
        os.close(number)


def test_the_number_of_its_eventfd_is_another_eventfds(scene: Scene, ctx: AIOContext) -> None:
    with EventFD(flags=os.EFD_NONBLOCK) as other:
        efd = EventFD()
        kept = os.dup(efd.fileno)
        number = efd.fileno
        op = AIOOperation.read(SIZE, scene.fd)
        op.submit(ctx, efd)
        efd.close()
        os.dup2(other.fileno, number)
        try:
            scene.fs.unhold()
            assert os.eventfd_read(kept) == 1
            assert op.done
            with pytest.raises(BlockingIOError):
                other.read()
        finally:
            os.close(number)
            os.close(kept)


@pytest.mark.engine("threads", "uring", "auto")  # the kernel's own lets go when it has told
def test_its_lock_is_gone_when_it_is_over(tmp_path: Path, ctx: AIOContext) -> None:
    path = tmp_path / "locked"
    path.write_bytes(OLD * 64)
    os.sync()
    for number in range(300):
        fd = os.open(path, os.O_RDWR)
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        operation = AIOOperation.read(SIZE, fd, SIZE * (number % 64))
        operation.submit(ctx)
        ctx.getevents()
        os.close(fd)
        with open(path, "rb") as another:
            fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert operation.get_result() == OLD


@pytest.mark.engine("threads", "uring", "auto")
def test_a_socket_whose_closing_takes_long(ctx: AIOContext, gate: Gate) -> None:
    """Our reference is the last, and what was sent is not read: nobody but its closing waits."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    linger = struct.pack("ii", 1, 600)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    near.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            near.send(bytes(1 << 16))
    near.setblocking(True)
    operation = AIOOperation.read(10, near.fileno())
    poll = AIOOperation.poll(gate, select.POLLIN)
    ctx.submit(operation, poll)
    os.close(near.detach())
    assert ctx.cancel(operation)
    # of another gate: what the read takes is no longer there for the poll
    with Gate() as other:
        reading = AIOOperation.read(10, other)
        reading.submit(ctx)
        gate.open()
        other.open()
        wait_done(poll)
        wait_done(reading)
    assert not operation.done
    far.close()
    wait_done(operation)
    with pytest.raises(OSError, match="read of 10 bytes") as raised:
        operation.get_result()
    assert raised.value.errno == errno.ECANCELED


def test_a_poll(ctx: AIOContext) -> None:
    """The file that was named wakes it, not the one that has its number now."""
    with Gate() as gate, Gate() as other, contextlib.ExitStack() as stack:
        number = os.dup(gate.fileno())
        stack.callback(os.close, number)
        op = AIOOperation.poll(number, select.POLLIN)
        op.submit(ctx)
        os.dup2(other.fileno(), number)
        other.open()
        assert ctx.getevents(timeout=0.02) == []
        assert not op.done
        gate.open()
        assert ctx.getevents() == [op]
        assert op.get_result() == select.POLLIN


def test_what_is_known_of_a_number_is_not_believed_of_the_next_file(
    ctx: AIOContext, scene: Scene
) -> None:
    """A number that was a file in memory is one for direct I/O, and the other way round."""
    scene.fs.unhold()
    with file_in_memory(OTHER) as number, contextlib.ExitStack() as stack:
        memory = os.dup(number)
        stack.callback(os.close, memory)
        op = AIOOperation.read(1000, number, 7)
        for _ in range(5):
            for fd, data in ((memory, OTHER), (scene.fd, OLD)):
                os.dup2(fd, number)
                for _ in range(3):
                    op.submit(ctx)
                    assert ctx.getevents() == [op]
                    assert op.get_result() == data[7:1007]


def write_in_pieces(path: Path, pages: int) -> None:
    """A file of many extents."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        for first in (0, 1):
            for page in range(first, pages, 2):
                os.pwrite(fd, OLD, page * SIZE)
                os.fdatasync(fd)
    finally:
        os.close(fd)


@pytest.mark.long
@pytest.mark.needs_root
@pytest.mark.xdist_group("loop devices")
@pytest.mark.parametrize(("pages", "in_front"), [(1, False), (16, False), (1, True)])
@pytest.mark.parametrize("kind", SMALLEST_MIB)
def test_metadata_that_is_not_in_memory(
    kind: str, pages: int, in_front: bool, tmp_path: Path
) -> None:
    """The kernel refuses a read that would wait for it, if it is told not to wait."""
    reason = loop_mount_reason(kind)
    if reason is not None:
        pytest.skip(reason)
    count = 200
    with loop_mount(tmp_path, kind, max(32, SMALLEST_MIB[kind])) as folder:
        write_in_pieces(folder / "file", count)
        (folder / "other").write_bytes(NEW * count)
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")
        number = os.open(folder / "file", os.O_RDONLY | os.O_DIRECT)
        other = os.open(folder / "other", os.O_RDONLY | os.O_DIRECT)
        try:
            with AIOContext(64) as ctx:
                places = random.Random(pages).sample(range(count - pages), 64)
                ops = [AIOOperation.read(pages * SIZE, number, place * SIZE) for place in places]
                first = [AIOOperation.fsync(other)] if in_front else []
                taken = ctx.submit(*first, *ops)
                os.dup2(other, number)
                for op in ops[: taken - len(first)]:
                    wait_done(op)
                    assert op.get_result() == OLD * pages
        finally:
            os.close(number)
            os.close(other)
