# SPDX-License-Identifier: Apache-2.0
"""Files that the program has open and never gave to a context notice nothing of its threads.

To start, our threads need descriptors of their own. A copy of the program's that was closed would
send a FLUSH to the server of a FUSE file, and wait for it, and end a registration of mq_notify(3).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from linux_aio import AIOContext, AIOOperation
from support.forked import in_child
from support.fusefs import HoldingFS, mounted
from support.operations import perform

pytest_plugins = ["support.fixtures"]

LARGE = 1 << 20
LOW, HIGH = 50, 300
SIGEV_NONE = 1


@pytest.fixture(params=[LOW, HIGH], ids=["low number", "high number"])
def number(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def flushing(tmp_path: Path) -> Iterator[HoldingFS]:
    with mounted(tmp_path, flushes=True) as fs:
        yield fs


def use_all_threads(tmp_path: Path) -> None:
    """A context's first use, on each engine, by ways that lead to its threads."""
    path = tmp_path / "ours"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    data = os.urandom(LARGE)
    with AIOContext(8) as context:
        assert perform(context, AIOOperation.write(data, fd)) == LARGE
        assert perform(context, AIOOperation.read(LARGE, fd)) == data
        assert perform(context, AIOOperation.fsync(fd)) is None
    os.close(fd)


@pytest.mark.needs_root
def test_a_server_that_does_not_answer(flushing: HoldingFS, tmp_path: Path, number: int) -> None:
    """Is not asked, so that nobody waits for it."""
    opened = os.open(flushing.create("theirs", b"data"), os.O_RDWR)
    os.dup2(opened, number)
    flushing.hold(flushes=True)
    try:
        use_all_threads(tmp_path)
        assert [entry.kind for entry in flushing.log()] == []
    finally:
        flushing.unhold()
        os.close(number)
        os.close(opened)
    assert [entry.kind for entry in flushing.log()] == ["flush", "flush"]  # that it can be seen


@pytest.mark.needs_root
def test_a_lock_of_a_file_of_a_server(flushing: HoldingFS, tmp_path: Path, number: int) -> None:
    opened = os.open(flushing.create("theirs", b"data"), os.O_RDWR)
    os.dup2(opened, number)
    os.close(opened)
    fcntl.lockf(number, fcntl.LOCK_EX)
    use_all_threads(tmp_path)

    def can_lock() -> bool:
        try:
            fcntl.lockf(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    assert not in_child(can_lock)
    os.close(number)


class SigEvent(ctypes.Structure):
    """What mq_notify(3) is told."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("pad", ctypes.c_char * 48),
    )


class Queue:
    """A message queue, under a number of the test's."""

    def __init__(self, number: int) -> None:
        name = f"/linux_aio_{os.getpid()}".encode()
        self._libc = ctypes.CDLL(None, use_errno=True)
        opened = self._libc.mq_open(name, os.O_RDWR | os.O_CREAT, 0o600, None)
        if opened < 0:
            pytest.skip("no message queues here")
        self._libc.mq_unlink(name)
        os.dup2(opened, number)
        os.close(opened)
        self.number = number

    def ask_for_notification(self) -> int:
        """0 or an errno; `EBUSY` if somebody has asked before."""
        event = SigEvent(notify=SIGEV_NONE)
        failed = self._libc.mq_notify(self.number, ctypes.byref(event))
        return ctypes.get_errno() if failed else 0


def test_a_registration_of_a_message_queue(tmp_path: Path, number: int) -> None:
    queue = Queue(number)
    try:
        assert queue.ask_for_notification() == 0
        use_all_threads(tmp_path)
        assert queue.ask_for_notification() == errno.EBUSY
        use_all_threads(tmp_path)
        assert queue.ask_for_notification() == errno.EBUSY
    finally:
        os.close(number)


def test_beside_many_files(tmp_path: Path) -> None:
    """Of which our threads have none."""
    files = [os.open("/dev/null", os.O_RDONLY) for _ in range(500)]
    try:
        use_all_threads(tmp_path)
    finally:
        for fd in files:
            os.close(fd)
