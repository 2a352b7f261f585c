# SPDX-License-Identifier: Apache-2.0
"""Files that change, or fail, in the middle of a transfer."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from linux_aio.bulk import (
    ShortFileError,
    Transfer,
    acopy,
    checksum,
    copy,
    load_into,
    read_many,
)
from support.fusefs import HoldingFS, fs_available, mounted
from support.loops import run
from support.workers import finish, start

MIB = 1 << 20
SIZE = 4 * MIB + 77
DATA = random.Random(11).randbytes(SIZE)

needs_fuse = pytest.mark.skipif(
    fs_available() is not None, reason=fs_available() or "there is FUSE"
)


def beginning_with(
    change: Callable[[], object], fs: HoldingFS, task: Callable[[], object]
) -> object:
    """Run the task in another thread; make the change when its first reads are there."""
    fs.hold(writes=False, fsyncs=False)
    worker = start(task)
    fs.wait_held(1)
    fs.release(1)
    change()
    fs.unhold()
    return finish(worker)[0]


@needs_fuse
def test_a_file_that_shrinks(tmp_path: Path) -> None:
    with mounted(tmp_path) as fs:
        path = fs.create("data", DATA)
        buffer = bytearray(SIZE)
        target = tmp_path / "target"
        target.write_bytes(b"old")

        def load() -> Transfer:
            with pytest.raises(ShortFileError) as short:
                load_into(path, [(0, buffer)], direct=True, chunk=65536, depth=2)
            return short.value.transfer

        transfer = beginning_with(lambda: os.truncate(path, MIB), fs, load)
        assert isinstance(transfer, Transfer)
        assert MIB <= transfer.nbytes < SIZE
        assert buffer[:MIB] == DATA[:MIB]

        fs.create("other", DATA)
        other = fs.path("other")

        def copy_it() -> None:
            with pytest.raises(ShortFileError, match="shorter"):
                copy(other, target, direct=True, chunk=65536, depth=2)

        beginning_with(lambda: os.truncate(other, MIB), fs, copy_it)
        assert target.read_bytes() == b"old"


def test_a_cached_file_that_shrinks(tmp_path: Path) -> None:
    path, target = tmp_path / "data", tmp_path / "target"
    dice = random.Random(1)
    for _ in range(20):
        path.write_bytes(DATA)
        size = dice.randrange(SIZE)
        worker = start(os.truncate, path, size)
        buffer = bytearray(SIZE)
        try:
            nbytes = load_into(path, [(0, buffer)], direct=False, chunk=8192).nbytes
            assert nbytes == SIZE
        except ShortFileError as short:
            nbytes = short.transfer.nbytes
        finish(worker)
        assert size <= nbytes <= SIZE
        assert buffer[:size] == DATA[:size]
        path.write_bytes(DATA)
        worker = start(os.truncate, path, size)
        try:
            copy(path, target, durable=False)
        except ShortFileError:
            pass
        else:
            # what lies behind the end may have been read or not, but never anything else
            copied = target.read_bytes()
            assert copied[:size] == DATA[:size]
            assert len(copied) in (size, SIZE)
        finish(worker)


def test_a_file_that_grows(tmp_path: Path) -> None:
    """It is copied and hashed as long as it was at the start, or longer."""
    path, target = tmp_path / "data", tmp_path / "target"
    stop = threading.Event()

    def grow() -> None:
        with path.open("ab", buffering=0) as file:
            while not stop.is_set():
                file.write(b"more")

    path.write_bytes(DATA)
    worker = start(grow)
    try:
        for _ in range(10):
            size = path.stat().st_size
            assert copy(path, target, durable=False).nbytes >= size
            copied = target.read_bytes()
            assert copied[:SIZE] == DATA
            assert set(copied[SIZE:]) <= set(b"more")
            buffer = bytearray(size)
            load_into(path, [(0, buffer)])
            assert buffer[:SIZE] == DATA
            assert len(checksum(path)) == 64
    finally:
        stop.set()
        finish(worker)


@needs_fuse
@pytest.mark.parametrize("direct", [True, False])
def test_an_error_in_the_middle(direct: bool, tmp_path: Path) -> None:
    with mounted(tmp_path) as fs:
        path = fs.create("data", DATA)
        target = tmp_path / "target"

        def expect_eio(task: Callable[[], object]) -> Callable[[], None]:
            def run_it() -> None:
                with pytest.raises(OSError, match="Input/output") as failed:
                    task()
                assert failed.value.errno == errno.EIO

            return run_it

        buffer = bytearray(SIZE)
        tasks: list[Callable[[], object]] = [
            lambda: load_into(path, [(0, buffer)], direct=direct, chunk=65536, depth=2),
            lambda: checksum(path, direct=direct, chunk=65536, depth=2),
            lambda: copy(path, target, direct=direct, chunk=65536, depth=2),
        ]
        for task in tasks:
            fs.reset()
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

            def fail() -> None:
                # a failed read-ahead is asked again
                fs.fail(errno.EIO, count=1 if direct else None, kinds=["read"])

            beginning_with(fail, fs, expect_eio(task))
        assert os.listdir(tmp_path) != []
        assert not target.exists()
        buffer.append(1)


@needs_fuse
def test_short_reads_are_completed(tmp_path: Path) -> None:
    with mounted(tmp_path) as fs:
        path = fs.create("data", DATA)
        fs.short(4096, count=5)
        buffer = bytearray(SIZE)
        transfer = load_into(path, [(0, buffer)], direct=True, chunk=65536)
        assert transfer.nbytes == SIZE
        assert buffer == DATA
        assert checksum(path, direct=True) == hashlib.sha256(DATA).hexdigest()


@needs_fuse
def test_ranges_of_a_file_that_fails(tmp_path: Path) -> None:
    with mounted(tmp_path) as fs:
        path = fs.create("data", DATA)
        fs.fail(errno.EIO, kinds=["read"])

        async def main() -> None:
            with pytest.raises(OSError, match="Input/output"):
                async for _ in read_many(path, [(0, 10), (MIB, 10)]):
                    pass

        run(main())


@needs_fuse
def test_a_cancelled_copy_waits_for_the_disk(tmp_path: Path) -> None:
    with mounted(tmp_path) as fs:
        path = fs.create("data", DATA)
        target = tmp_path / "target"

        async def main() -> None:
            fs.hold(writes=False, fsyncs=False)
            task = asyncio.create_task(acopy(path, target))
            await asyncio.to_thread(fs.wait_held, 1)
            task.cancel()
            await asyncio.sleep(0.1)
            await asyncio.to_thread(fs.unhold)
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not target.exists()

        run(main())
