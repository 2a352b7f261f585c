# SPDX-License-Identifier: Apache-2.0
"""RWF_* flags and I/O priorities: that they reach the kernel, and what it makes of them."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import linux_aio
from linux_aio import (
    RWF_ATOMIC,
    RWF_DONTCACHE,
    RWF_NOAPPEND,
    AIOContext,
    AIOOperation,
    IOPriorityClass,
    ioprio,
)
from support.files import contents, file_in_memory
from support.forked import in_child
from support.fusefs import HoldingFS
from support.operations import perform, wait_idle

pytest_plugins = ["support.fixtures"]

UNKNOWN = 0x4000_0000  # no kernel knows it
NOBODY = 65534

# Each makes an operation of 4 bytes; what is passed besides the fd goes to the kernel.
READS: dict[str, Callable[..., AIOOperation]] = {
    "read": lambda *args, **kwargs: AIOOperation.read(4, *args, **kwargs),
    "readinto": lambda *args, **kwargs: AIOOperation.readinto(bytearray(4), *args, **kwargs),
    "readv": lambda *args, **kwargs: AIOOperation.readv([bytearray(4)], *args, **kwargs),
}
WRITES: dict[str, Callable[..., AIOOperation]] = {
    "write": lambda *args, **kwargs: AIOOperation.write(b"data", *args, **kwargs),
    "writev": lambda *args, **kwargs: AIOOperation.writev([b"da", b"ta"], *args, **kwargs),
}
TRANSFERS = {**READS, **WRITES}

NEWER = {
    "RWF_NOAPPEND": RWF_NOAPPEND,
    "RWF_ATOMIC": RWF_ATOMIC,
    "RWF_DONTCACHE": RWF_DONTCACHE,
    "unknown": UNKNOWN,
}


@pytest.fixture(params=["memory", "disk"])
def fd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    """A file that begins with "0123456789"."""
    with contextlib.ExitStack() as stack:
        if request.param == "memory":
            yield stack.enter_context(file_in_memory(b"0123456789"))
        else:
            file = stack.enter_context(open(tmp_path / "data", "w+b", buffering=0))
            file.write(b"0123456789")
            yield file.fileno()


def outcome(function: Callable[..., Any], *arguments: Any) -> Any:
    """What came of it: the result, or the errno."""
    try:
        return function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def refused(context: AIOContext, operation: AIOOperation, error: int) -> str:
    """The text of the error that the operation must meet, whichever call learns of it."""
    with pytest.raises(OSError, match=os.strerror(error)) as caught:
        perform(context, operation)
    assert caught.value.errno == error
    return str(caught.value)


# --- flags


def test_the_names_of_newer_flags() -> None:
    assert (RWF_NOAPPEND, RWF_ATOMIC, RWF_DONTCACHE) == (0x20, 0x40, 0x80)
    for name in NEWER:
        if hasattr(os, name):
            assert getattr(linux_aio, name) == getattr(os, name)


@pytest.mark.parametrize("flag", ["RWF_DSYNC", "RWF_SYNC", "RWF_HIPRI"])
@pytest.mark.parametrize("kind", WRITES)
def test_writes_with_flags(kind: str, flag: str, ctx: AIOContext, fd: int) -> None:
    op = WRITES[kind](fd, 2, flags=getattr(os, flag))
    assert perform(ctx, op) == 4
    assert contents(fd) == b"01data6789"


@pytest.mark.parametrize("kind", READS)
def test_a_read_with_high_priority(kind: str, ctx: AIOContext, fd: int) -> None:
    op = READS[kind](fd, 2, flags=os.RWF_HIPRI)
    result = perform(ctx, op)
    assert result == (b"2345" if kind == "read" else 4)


@pytest.mark.parametrize("kind", WRITES)
def test_append(kind: str, ctx: AIOContext, fd: int) -> None:
    op = WRITES[kind](fd, 2, flags=os.RWF_APPEND)
    assert perform(ctx, op) == 4
    assert contents(fd) == b"0123456789data"
    assert op.offset == 2
    assert perform(ctx, op) == 4
    assert contents(fd) == b"0123456789datadata"


@pytest.mark.parametrize("kind", READS)
def test_a_read_that_must_not_wait(kind: str, ctx: AIOContext) -> None:
    """Without the flag a read of an empty pipe would block for ever."""
    read_end, write_end = os.pipe()
    try:
        op = READS[kind](read_end, flags=os.RWF_NOWAIT)
        text = refused(ctx, op, errno.EAGAIN)
        assert f"{kind} of 4 bytes at offset 0 of fd {read_end}" in text
        os.write(write_end, b"data")
        assert perform(ctx, op) == (b"data" if kind == "read" else 4)
    finally:
        os.close(read_end)
        os.close(write_end)


@pytest.mark.parametrize("kind", READS)
def test_nowait_where_the_file_system_has_none(kind: str, ctx: AIOContext) -> None:
    with file_in_memory(b"data") as fd:
        wanted = outcome(os.preadv, fd, [bytearray(4)], 0, os.RWF_NOWAIT)
        got = outcome(perform, ctx, READS[kind](fd, flags=os.RWF_NOWAIT))
        assert got == (b"data" if kind == "read" and wanted == 4 else wanted)


@pytest.mark.parametrize("flag", NEWER)
@pytest.mark.parametrize("kind", WRITES)
def test_writes_with_newer_flags(kind: str, flag: str, ctx: AIOContext, fd: int) -> None:
    """Whatever this kernel makes of them: the same as for pwritev2(2)."""
    wanted = outcome(os.pwritev, fd, [b"da", b"ta"], 2, NEWER[flag])
    after = contents(fd)
    os.pwrite(fd, b"0123456789", 0)
    op = WRITES[kind](fd, 2, flags=NEWER[flag])
    assert op.flags == NEWER[flag]
    if isinstance(wanted, str):
        assert f"{kind} of 4 bytes" in refused(ctx, op, getattr(errno, wanted))
    else:
        assert perform(ctx, op) == wanted
    assert contents(fd) == after


@pytest.mark.parametrize("flag", NEWER)
@pytest.mark.parametrize("kind", READS)
def test_reads_with_newer_flags(kind: str, flag: str, ctx: AIOContext, fd: int) -> None:
    wanted = outcome(os.preadv, fd, [bytearray(4)], 2, NEWER[flag])
    op = READS[kind](fd, 2, flags=NEWER[flag])
    if isinstance(wanted, str):
        assert f"{kind} of 4 bytes" in refused(ctx, op, getattr(errno, wanted))
    else:
        assert perform(ctx, op) == (b"2345" if kind == "read" else wanted)


@pytest.mark.parametrize("kind", TRANSFERS)
def test_a_flag_that_no_kernel_knows(kind: str, ctx: AIOContext, fd: int) -> None:
    refused(ctx, TRANSFERS[kind](fd, flags=UNKNOWN), errno.EOPNOTSUPP)
    assert contents(fd) == b"0123456789"


@pytest.mark.parametrize("flags", [0, RWF_NOAPPEND])
@pytest.mark.parametrize("kind", WRITES)
def test_not_at_the_end_of_a_file_open_for_appending(
    kind: str, flags: int, ctx: AIOContext, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"0123456789")
    with open(path, "ab", buffering=0) as file:
        got = outcome(perform, ctx, WRITES[kind](file, 2, flags=flags))
        if flags and got == "EOPNOTSUPP":  # before Linux 6.9
            assert outcome(os.pwritev, file.fileno(), [b"data"], 2, flags) == "EOPNOTSUPP"
            return
    assert got == 4
    assert path.read_bytes() == (b"01data6789" if flags else b"0123456789data")


@pytest.mark.parametrize("flag", [0, os.RWF_DSYNC, os.RWF_SYNC])
def test_a_synchronous_write_reaches_the_disk(flag: int, fs: HoldingFS, ctx: AIOContext) -> None:
    """The file system is told to put it there, by an fsync of the kernel's, just as by pwritev2."""
    fs.create("data", bytes(4096))
    with open(fs.path("data"), "r+b", buffering=0) as file:

        def fsyncs(write: Callable[[], object]) -> int:
            before = len(fs.log())
            write()
            return sum(request.kind == "fsync" for request in fs.log()[before:])

        wanted = fsyncs(lambda: os.pwritev(file.fileno(), [b"data"], 0, flag))
        assert wanted == (1 if flag else 0)
        for make in WRITES.values():
            assert fsyncs(partial(perform, ctx, make(file, flags=flag))) == wanted


def test_one_refused_flag_in_a_batch(ctx: AIOContext, fd: int) -> None:
    good = AIOOperation.read(4, fd)
    bad = AIOOperation.read(4, fd, flags=UNKNOWN)
    late = AIOOperation.read(4, fd, 4)
    submitted = [*[good, bad, late][: ctx.submit(good, bad, late)]]
    for op in (bad, late):
        if op not in submitted:
            with contextlib.suppress(OSError):
                op.submit(ctx)
    wait_idle(ctx)
    assert good.get_result() == b"0123"
    assert late.get_result() == b"4567"
    refused(ctx, bad, errno.EOPNOTSUPP)


# --- priorities


def test_the_classes_are_those_of_the_kernel() -> None:
    assert [(entry.name, entry.value) for entry in IOPriorityClass] == [
        ("NONE", 0),
        ("REALTIME", 1),
        ("BEST_EFFORT", 2),
        ("IDLE", 3),
    ]


def test_the_values_of_priorities() -> None:
    assert ioprio(IOPriorityClass.NONE) == 0
    assert ioprio(IOPriorityClass.REALTIME) == 0x2000
    assert ioprio(IOPriorityClass.REALTIME, 7) == 0x2007
    assert ioprio(IOPriorityClass.BEST_EFFORT, level=4) == 0x4004
    assert ioprio(IOPriorityClass.IDLE) == 0x6000
    assert type(ioprio(IOPriorityClass.IDLE, 1)) is int


@pytest.mark.parametrize("level", [-1, 8, 100, 1.5])
def test_levels_that_there_are_not(level: Any) -> None:
    with pytest.raises(ValueError, match=rf"level must be .*{level}"):
        ioprio(IOPriorityClass.BEST_EFFORT, level)


@pytest.mark.parametrize("priority_class", [-1, 4, 7, 0x2000])
def test_classes_that_there_are_not(priority_class: Any) -> None:
    with pytest.raises(ValueError, match="IOPriorityClass"):
        ioprio(priority_class)


@pytest.mark.parametrize(
    "priority",
    [
        ioprio(IOPriorityClass.NONE),
        *(ioprio(IOPriorityClass.BEST_EFFORT, level) for level in range(8)),
        ioprio(IOPriorityClass.IDLE),
    ],
)
@pytest.mark.parametrize("kind", TRANSFERS)
def test_priorities_for_everybody(kind: str, priority: int, ctx: AIOContext, fd: int) -> None:
    op = TRANSFERS[kind](fd, 4, priority=priority)
    assert op.priority == priority
    assert perform(ctx, op) == (b"4567" if kind == "read" else 4)


@pytest.mark.parametrize("priority", [4 << 13, 7 << 13, 0xFFFF])
@pytest.mark.parametrize("kind", TRANSFERS)
def test_a_priority_that_the_kernel_does_not_know(
    kind: str, priority: int, ctx: AIOContext, fd: int
) -> None:
    """The kernel sees it: or the request would succeed."""
    text = refused(ctx, TRANSFERS[kind](fd, 4, priority=priority), errno.EINVAL)
    assert f"{kind} of 4 bytes at offset 4 of fd {fd}" in text
    assert contents(fd) == b"0123456789"


def test_no_class_but_a_level(ctx: AIOContext, fd: int) -> None:
    """The kernel takes a level for no class of its own; 0 alone says nothing at all."""
    refused(ctx, AIOOperation.read(4, fd, priority=ioprio(IOPriorityClass.NONE, 1)), errno.EINVAL)


@pytest.mark.needs_root
@pytest.mark.parametrize("kind", TRANSFERS)
def test_the_realtime_class(kind: str, ctx: AIOContext, fd: int) -> None:
    op = TRANSFERS[kind](fd, 4, priority=ioprio(IOPriorityClass.REALTIME, 3))
    assert perform(ctx, op) == (b"4567" if kind == "read" else 4)


def test_the_realtime_class_is_not_for_everybody() -> None:
    def as_nobody() -> dict[str, Any]:
        if os.geteuid() == 0:
            os.setuid(NOBODY)
        with AIOContext(8) as ctx, file_in_memory(b"data") as fd:
            priority = ioprio(IOPriorityClass.REALTIME)
            return {
                kind: outcome(perform, ctx, make(fd, priority=priority))
                for kind, make in TRANSFERS.items()
            }

    assert in_child(as_nobody) == dict.fromkeys(TRANSFERS, "EPERM")


@pytest.mark.parametrize("priority", [-1, 1 << 16, 1 << 70])
@pytest.mark.parametrize("kind", TRANSFERS)
def test_what_is_no_priority(kind: str, priority: int, fd: int) -> None:
    with pytest.raises(ValueError, match=f"priority must be from 0 to 65535, not {priority}"):
        TRANSFERS[kind](fd, priority=priority)
