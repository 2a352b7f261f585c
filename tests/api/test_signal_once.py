# SPDX-License-Identifier: Apache-2.0
"""Each operation signals its EventFD exactly once, whatever becomes of it, and no other file."""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from linux_aio import AIOContext, AIOOperation, EventFD
from support.files import Gate, file_in_memory, is_readable, refuse_writes
from support.fusefs import HoldingFS
from support.operations import wait_done
from support.workers import PATIENCE

pytest_plugins = ["support.fixtures"]

DATA = b"0123456789"


@pytest.fixture
def efd() -> Iterator[EventFD]:
    with EventFD(flags=os.EFD_NONBLOCK) as eventfd:
        yield eventfd


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    number = os.open(tmp_path / "data", os.O_RDWR | os.O_CREAT)
    os.pwrite(number, DATA, 0)
    yield number
    os.close(number)


@pytest.fixture
def sealed() -> Iterator[int]:
    with file_in_memory(DATA) as number:
        refuse_writes(number)
        yield number


MAKERS: dict[str, Callable[[int, int], AIOOperation]] = {
    "read": lambda fd, sealed: AIOOperation.read(4, fd),
    "short read": lambda fd, sealed: AIOOperation.read(100, fd, 5),
    "empty read": lambda fd, sealed: AIOOperation.read(100, fd, 500),
    "no bytes": lambda fd, sealed: AIOOperation.read(0, fd),
    "large read": lambda fd, sealed: AIOOperation.read(4 << 20, fd),
    "write": lambda fd, sealed: AIOOperation.write(DATA, fd),
    "failed write": lambda fd, sealed: AIOOperation.write(DATA, sealed),
    "fsync": lambda fd, sealed: AIOOperation.fsync(fd),
    "poll": lambda fd, sealed: AIOOperation.poll(fd, select.POLLIN),
    "poll in vain": lambda fd, sealed: AIOOperation.poll(fd, select.POLLPRI),
    "unknown flag": lambda fd, sealed: AIOOperation.read(1, fd, flags=1 << 30),
    "bad priority": lambda fd, sealed: AIOOperation.read(1, fd, priority=7 << 13),
    "bad fd": lambda fd, sealed: AIOOperation.read(1, 1 << 20),
    "nowait": lambda fd, sealed: AIOOperation.read(1, sealed, flags=os.RWF_NOWAIT),
}


def silent(efd: EventFD) -> bool:
    """Whether nothing comes after a while, either."""
    return not is_readable(efd.fileno, 0.02)


def count(efd: EventFD, least: int) -> int:
    """What it says in all once it has said so much."""
    counted = 0
    while counted < least:
        assert is_readable(efd.fileno, PATIENCE)
        counted += efd.read()
    return counted


def submitted(ctx: AIOContext, op: AIOOperation, efd: EventFD) -> int:
    """1, or 0 if it was refused."""
    try:
        return op.submit(ctx, efd)
    except OSError:
        return 0


@pytest.mark.parametrize("name", MAKERS)
def test_once_for_each_that_was_taken(
    name: str, ctx: AIOContext, fd: int, sealed: int, efd: EventFD
) -> None:
    taken = 0
    for _ in range(5):
        op = MAKERS[name](fd, sealed)
        if submitted(ctx, op, efd):
            taken += 1
            assert is_readable(efd.fileno, PATIENCE)
            assert efd.read() == 1
            assert op.done
    assert silent(efd)
    assert ctx.in_flight == 0
    assert ctx.statistics()["completed"] == taken


def test_once_for_each_of_many_of_all_kinds(
    ctx: AIOContext, fd: int, sealed: int, efd: EventFD
) -> None:
    operations = [make(fd, sealed) for _ in range(4) for make in MAKERS.values()]
    taken = sum(submitted(ctx, op, efd) for op in operations)
    assert count(efd, taken) == taken
    assert silent(efd)


def test_once_for_each_that_was_cancelled(ctx: AIOContext, efd: EventFD) -> None:
    with Gate() as gate:
        polls = [AIOOperation.poll(gate, select.POLLIN) for _ in range(10)]
        for poll in polls:
            poll.submit(ctx, efd)
        assert all(ctx.cancel(poll) for poll in polls)
        wait_done(*polls)
    assert count(efd, 10) == 10
    assert silent(efd)


@pytest.mark.needs_root
@pytest.mark.parametrize("answer", ["in full", "EIO"])
def test_a_number_that_was_reused_meanwhile_gets_nothing(
    answer: str, ctx: AIOContext, fs: HoldingFS
) -> None:
    """The eventfd was closed, and its number is that of another file when the signal comes."""
    direct = os.open(fs.create("held", bytes(4096)), os.O_RDONLY | os.O_DIRECT)
    fs.hold()
    eventfd = EventFD()
    number, kept = eventfd.fileno, os.dup(eventfd.fileno)
    op = AIOOperation.read(4096, direct)
    op.submit(ctx, number)
    fs.wait_held(1)
    with file_in_memory(DATA) as other:
        eventfd.close()
        os.dup2(other, number)
        if answer == "EIO":
            fs.fail(errno.EIO)
        fs.release()
        assert is_readable(kept, PATIENCE)
        assert os.eventfd_read(kept) == 1
        assert op.done
        os.close(number)
        assert os.pread(other, 100, 0) == DATA
        assert os.fstat(other).st_size == len(DATA)
        assert os.lseek(other, 0, os.SEEK_CUR) == 0
    os.close(kept)
    os.close(direct)
