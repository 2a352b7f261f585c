# SPDX-License-Identifier: Apache-2.0
"""Where a File leaves the position of a descriptor that the program goes on to use."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import resource
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import linux_aio
from support import any_loop as loops

pytest_plugins = ["support.fixtures"]

pytestmark = pytest.mark.usefixtures("any_loop")

LINE = b"hello world\n"
# More than the buffer takes, so that some bytes are on their way and some are gathered.
LINES = 300_000


def run(use: Callable[[], Any]) -> Any:
    return loops.current.run(use)


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    number = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.write(number, b"before\n")
    yield number
    os.close(number)


async def close(file: linux_aio.File) -> None:
    await file.close()


async def cancel_close(file: linux_aio.File) -> None:
    async def try_to_close() -> None:
        with contextlib.suppress(OSError):
            await file.close()

    for turns in range(5):
        async with loops.current.group() as group:
            group.start(try_to_close)
            await loops.current.turns(turns)
            group.cancel()
        if file.closed:
            return
    await file.close()


async def drop(file: linux_aio.File) -> None:
    """It is dropped by the caller."""


@pytest.mark.parametrize("buffering", [-1, 0, 4096])
@pytest.mark.parametrize("mode", ["wb", "r+b", "ab"])
@pytest.mark.parametrize("end", [close, cancel_close, drop])
def test_the_next_write_follows(
    tmp_path: Path, fd: int, end: Callable[..., Any], mode: str, buffering: int
) -> None:
    """However the file ends, and whatever of it was on its way."""
    count = LINES if buffering < 0 else 3

    async def use() -> None:
        file = await linux_aio.open(fd, mode, buffering, closefd=False)
        await file.write(LINE * count)
        await end(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del file
            gc.collect()
        size = 7 + count * len(LINE)
        await loops.current.until(lambda: os.fstat(fd).st_size == size)
        await loops.current.until(lambda: os.lseek(fd, 0, os.SEEK_CUR) == size)
        os.write(fd, b"after\n")

    run(use)
    assert (tmp_path / "file").read_bytes() == b"before\n" + LINE * count + b"after\n"


@pytest.mark.parametrize("end", [close, cancel_close])
def test_the_next_read_follows(fd: int, end: Callable[..., Any]) -> None:
    os.write(fd, LINE * 3)
    os.lseek(fd, 7, os.SEEK_SET)

    async def use() -> None:
        file = await linux_aio.open(fd, "rb", closefd=False)
        assert await file.readline() == LINE
        await end(file)
        assert os.lseek(fd, 0, os.SEEK_CUR) == 7 + len(LINE)

    run(use)


@pytest.mark.parametrize("end", [close, cancel_close, drop])
def test_what_others_write_after_a_flush_stays(
    tmp_path: Path, fd: int, end: Callable[..., Any]
) -> None:
    """The file has nothing more to write, and leaves the position where others put it."""

    async def use() -> None:
        file = await linux_aio.open(fd, "wb", closefd=False)
        await file.write(b"ours\n")
        await file.flush()
        os.write(fd, b"others\n")
        await end(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del file
            gc.collect()
        os.write(fd, b"after\n")

    run(use)
    assert (tmp_path / "file").read_bytes() == b"before\nours\nothers\nafter\n"


def test_a_dropped_reader_leaves_the_number_alone(tmp_path: Path) -> None:
    """The program may have closed it, and another file may have it."""
    (tmp_path / "file").write_bytes(LINE * 3)

    async def use() -> None:
        fd = os.open(tmp_path / "file", os.O_RDONLY)
        file = await linux_aio.open(fd, "rb", closefd=False)
        await file.readline()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del file
            gc.collect()
        assert os.lseek(fd, 0, os.SEEK_CUR) == 0
        os.close(fd)

    run(use)


@pytest.fixture
def largest_file() -> Iterator[int]:
    """Sets how large this process may make a file, in bytes."""
    largest = 100_000
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
    yield largest
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("end", [close, cancel_close])
def test_a_failed_close_leaves_it_after_what_was_written(
    tmp_path: Path, fd: int, largest_file: int, end: Callable[..., Any]
) -> None:
    async def use() -> None:
        file = await linux_aio.open(fd, "wb", closefd=False)
        await file.write(LINE * 20_000)
        try:
            await end(file)
        except OSError as error:
            assert error.errno == errno.EFBIG  # noqa: PT017
        await loops.current.until(lambda: os.lseek(fd, 0, os.SEEK_CUR) == largest_file)
        assert file.closed

    run(use)
    assert (tmp_path / "file").read_bytes() == (b"before\n" + LINE * 20_000)[:largest_file]
