# SPDX-License-Identifier: Apache-2.0
"""Reads, writes and syncs of real files: exact results, and the right error for each wrong file."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import re
import resource
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from linux_aio import AIOContext, AIOOperation
from support.files import Numbered, contents, file_in_memory, refuse_writes
from support.mounts import tmpfs_mount, tmpfs_mount_reason
from support.operations import perform

GREETING = b"Hello world"

MAKERS: dict[str, Callable[[Any], AIOOperation]] = {
    "read": lambda file: AIOOperation.read(32, file, 7),
    "write": lambda file: AIOOperation.write(b"payload", file, 7),
    "fsync": AIOOperation.fsync,
    "fdsync": AIOOperation.fdsync,
}

each_kind = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def message(operation: AIOOperation, size: int | None = None, offset: int = 7) -> str:
    """A pattern of what its errors must say."""
    names = {0: "read", 1: "write", 2: "fsync", 3: "fdsync"}
    sized = "" if size is None else f" of {size} bytes at offset {offset}"
    return rf"{re.escape(names[operation.opcode] + sized)} of fd {operation.fileno}\b"


@pytest.fixture
def ctx() -> Iterator[AIOContext]:
    with AIOContext(8) as context:
        yield context


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "greeting"
    file.write_bytes(GREETING)
    return file


@contextlib.contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


# Exact results


def test_a_read_of_32_bytes_of_an_11_byte_file_gives_11(ctx: AIOContext, path: Path) -> None:
    with path.open("rb") as file:
        assert perform(ctx, AIOOperation.read(32, file)) == GREETING


@pytest.mark.parametrize(
    ("nbytes", "offset", "expected"),
    [
        (32, 10, b"d"),
        (32, 11, b""),
        (32, 12, b""),
        (1, 11, b""),
        (0, 0, b""),
        (5, 0, b"Hello"),
        (5, 6, b"world"),
        (6, 6, b"world"),
    ],
)
def test_a_read_ends_where_the_file_ends(
    nbytes: int, offset: int, expected: bytes, ctx: AIOContext, path: Path
) -> None:
    with opened(path, os.O_RDONLY) as fd:
        assert perform(ctx, AIOOperation.read(nbytes, fd, offset)) == expected


def test_a_read_of_an_empty_file_gives_no_bytes(ctx: AIOContext, path: Path) -> None:
    os.truncate(path, 0)
    with opened(path, os.O_RDONLY) as fd:
        assert perform(ctx, AIOOperation.read(32, fd)) == b""


def test_what_was_written_can_be_read(ctx: AIOContext, tmp_path: Path) -> None:
    path = tmp_path / "new"
    payload = os.urandom(1 << 20)
    with opened(path, os.O_RDWR | os.O_CREAT) as fd:
        assert perform(ctx, AIOOperation.write(payload, fd)) == len(payload)
        assert perform(ctx, AIOOperation.fdsync(fd)) is None
        assert perform(ctx, AIOOperation.fsync(fd)) is None
        assert perform(ctx, AIOOperation.read(len(payload), fd)) == payload
    assert path.read_bytes() == payload


def test_the_files_own_position_is_left_alone(ctx: AIOContext, path: Path) -> None:
    with opened(path, os.O_RDWR) as fd:
        os.lseek(fd, 3, os.SEEK_SET)
        perform(ctx, AIOOperation.read(5, fd))
        perform(ctx, AIOOperation.write(b"J", fd))
        assert os.lseek(fd, 0, os.SEEK_CUR) == 3


def test_reading_and_writing_beyond_four_gigabytes(ctx: AIOContext, tmp_path: Path) -> None:
    far = (5 << 30) + 3
    with opened(tmp_path / "sparse", os.O_RDWR | os.O_CREAT) as fd:
        assert perform(ctx, AIOOperation.write(b"far", fd, far)) == 3
        assert os.fstat(fd).st_size == far + 3
        assert perform(ctx, AIOOperation.read(8, fd, far - 1)) == b"\0far"


def test_a_pipe_is_read_and_written_without_an_offset(ctx: AIOContext) -> None:
    read_end, write_end = os.pipe()
    assert perform(ctx, AIOOperation.write(b"through", write_end)) == 7
    assert perform(ctx, AIOOperation.read(32, read_end)) == b"through"
    os.close(write_end)
    assert perform(ctx, AIOOperation.read(32, read_end)) == b""
    os.close(read_end)


# A full file system


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A folder in which there is room for 64 KiB."""
    if reason := tmpfs_mount_reason():
        pytest.skip(reason)
    with tmpfs_mount(tmp_path / "full", 64) as folder:
        yield folder


@pytest.mark.needs_root
def test_a_write_that_fits_in_part_gives_what_was_written(ctx: AIOContext, full: Path) -> None:
    with opened(full / "file", os.O_RDWR | os.O_CREAT) as fd:
        payload = os.urandom(100 << 10)
        written = perform(ctx, AIOOperation.write(payload, fd))
        assert 0 < written < len(payload)
        assert contents(fd) == payload[:written]


@pytest.mark.needs_root
def test_a_write_to_a_full_file_system_is_enospc(ctx: AIOContext, full: Path) -> None:
    with opened(full / "file", os.O_RDWR | os.O_CREAT) as fd:
        offset = perform(ctx, AIOOperation.write(bytes(100 << 10), fd))
        op = AIOOperation.write(b"payload", fd, offset)
        with pytest.raises(OSError, match=message(op, 7, offset)) as raised:
            perform(ctx, op)
        assert raised.value.errno == errno.ENOSPC
        os.truncate(fd, 0)
        assert perform(ctx, op) == 7


# The same without root: a limit of the process's


@pytest.fixture
def largest_file() -> Iterator[int]:
    """Files can't become larger than this. (Python ignores the signal that goes with it.)"""
    limit = 1 << 20
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_across_the_limit_gives_what_was_written(
    ctx: AIOContext, path: Path, largest_file: int
) -> None:
    with opened(path, os.O_RDWR) as fd:
        assert perform(ctx, AIOOperation.write(b"payload", fd, largest_file - 3)) == 3
        assert os.fstat(fd).st_size == largest_file


def test_a_write_beyond_the_limit_is_efbig(ctx: AIOContext, path: Path, largest_file: int) -> None:
    with opened(path, os.O_RDWR) as fd:
        op = AIOOperation.write(b"payload", fd, largest_file)
        with pytest.raises(OSError, match=message(op, 7, largest_file)) as raised:
            perform(ctx, op)
        assert raised.value.errno == errno.EFBIG


def test_an_error_met_at_completion_names_the_operation_too(ctx: AIOContext) -> None:
    with file_in_memory(GREETING) as fd:
        refuse_writes(fd)
        op = AIOOperation.write(b"payload", fd, 7)
        with pytest.raises(PermissionError, match=message(op, 7)):
            perform(ctx, op)
        assert contents(fd) == GREETING


# Wrong files


@each_kind
@pytest.mark.parametrize("fd", [-1, -100, -(2**31), 2**31 - 1])
def test_a_number_that_is_no_fd_is_ebadf(
    fd: int, make: Callable[[Any], AIOOperation], ctx: AIOContext
) -> None:
    with pytest.raises(OSError, match=rf"of fd {fd}\b") as raised:
        perform(ctx, make(fd))
    assert raised.value.errno == errno.EBADF


@each_kind
def test_an_fd_closed_since_is_ebadf(
    make: Callable[[Any], AIOOperation], ctx: AIOContext, path: Path
) -> None:
    with opened(path, os.O_RDWR) as fd:
        op = make(fd)
    with pytest.raises(OSError, match=rf"of fd {fd}\b") as raised:
        perform(ctx, op)
    assert raised.value.errno == errno.EBADF
    assert ctx.in_flight == 0


def test_reading_a_file_opened_for_writing_is_ebadf(ctx: AIOContext, path: Path) -> None:
    with opened(path, os.O_WRONLY) as fd:
        op = MAKERS["read"](fd)
        with pytest.raises(OSError, match=message(op, 32)) as raised:
            perform(ctx, op)
    assert raised.value.errno == errno.EBADF


def test_writing_a_file_opened_for_reading_is_ebadf(ctx: AIOContext, path: Path) -> None:
    with opened(path, os.O_RDONLY) as fd:
        op = MAKERS["write"](fd)
        with pytest.raises(OSError, match=message(op, 7)) as raised:
            perform(ctx, op)
    assert raised.value.errno == errno.EBADF
    assert path.read_bytes() == GREETING


def test_a_file_opened_as_a_mere_place_is_ebadf(ctx: AIOContext, path: Path) -> None:
    with opened(path, os.O_PATH) as fd, pytest.raises(OSError, match="read of 32") as raised:
        perform(ctx, MAKERS["read"](fd))
    assert raised.value.errno == errno.EBADF


def test_reading_a_directory_is_an_error(ctx: AIOContext, tmp_path: Path) -> None:
    with opened(tmp_path, os.O_RDONLY | os.O_DIRECTORY) as fd:
        op = MAKERS["read"](fd)
        with pytest.raises(OSError, match=message(op, 32)) as raised:
            perform(ctx, op)
    assert raised.value.errno in (errno.EINVAL, errno.EISDIR)


def test_syncing_a_directory_works(ctx: AIOContext, tmp_path: Path) -> None:
    with opened(tmp_path, os.O_RDONLY | os.O_DIRECTORY) as fd:
        assert perform(ctx, AIOOperation.fsync(fd)) is None


@pytest.mark.parametrize("name", ["fsync", "fdsync"])
def test_syncing_a_pipe_is_an_error(name: str, ctx: AIOContext) -> None:
    read_end, write_end = os.pipe()
    op = MAKERS[name](write_end)
    with pytest.raises(OSError, match=message(op)) as raised:
        perform(ctx, op)
    assert raised.value.errno == errno.EINVAL
    os.close(read_end)
    os.close(write_end)


# File objects


def test_a_file_object_is_asked_for_its_number(ctx: AIOContext, path: Path) -> None:
    with path.open("rb") as file:
        op = AIOOperation.read(32, file)
        assert op.fileno == file.fileno()
        assert perform(ctx, op) == GREETING


def test_a_file_object_is_asked_again_at_each_submission(ctx: AIOContext) -> None:
    with file_in_memory(b"first") as first, file_in_memory(b"second") as second:
        file = Numbered(first)
        op = AIOOperation.read(32, file)
        file.number = second
        assert perform(ctx, op) == b"second"
        assert op.fileno == second
        file.number = first
        assert perform(ctx, op) == b"first"


def test_a_file_object_gives_ebadf_like_a_number(ctx: AIOContext) -> None:
    op = AIOOperation.read(32, Numbered(-1))
    with pytest.raises(OSError, match=r"read of 32 bytes at offset 0 of fd -1\b") as raised:
        perform(ctx, op)
    assert raised.value.errno == errno.EBADF


@each_kind
def test_a_closed_file_object_is_its_own_value_error(
    make: Callable[[Any], AIOOperation], path: Path
) -> None:
    file = path.open("rb")
    file.close()
    with pytest.raises(ValueError, match="closed file"):
        make(file)


@each_kind
def test_a_file_object_closed_since_is_noticed_at_submission(
    make: Callable[[Any], AIOOperation], ctx: AIOContext, path: Path
) -> None:
    with opened(path, os.O_RDWR) as other:
        with path.open("rb+") as file:
            op = make(file)
        taken = os.dup2(other, op.fileno)  # the number is somebody else's now
        with pytest.raises(ValueError, match="closed file"):
            op.submit(ctx)
        os.close(taken)
    assert ctx.in_flight == 0
    assert op.context is None
    assert path.read_bytes() == GREETING


def test_a_closed_file_object_in_a_batch_submits_nothing(ctx: AIOContext, path: Path) -> None:
    with opened(path, os.O_RDONLY) as fd:
        with path.open("rb") as file:
            batch = [AIOOperation.read(5, fd), AIOOperation.read(5, file), AIOOperation.read(5, fd)]
        with pytest.raises(ValueError, match="closed file"):
            ctx.submit(*batch)
        assert ctx.getevents(0) == []
        assert [op.context for op in batch] == [None] * 3
        assert ctx.submit(batch[0], batch[2]) == 2


def test_an_operation_keeps_its_file_object(ctx: AIOContext) -> None:
    with file_in_memory(GREETING) as fd:
        file = Numbered(fd)
        alive = weakref.ref(file)
        op = AIOOperation.read(32, file)
        del file
        gc.collect()
        assert alive() is not None
        assert perform(ctx, op) == GREETING
        del op
        gc.collect()
        assert alive() is None
