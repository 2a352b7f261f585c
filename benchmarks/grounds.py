# SPDX-License-Identifier: Apache-2.0
"""Files on hostile ground: where calls that should not wait would wait, or can't be told not to."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import signal
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from support import fusefs, mounts, slow_disk

from . import files
from .model import Ground

PAGE = 4096
IMAGE_MIB = 512  # sparse
PER_SECOND = 1000  # requests of a slow disk
STANDSTILL = 0.1  # seconds that a server stops, and goes on
FS_IOC_SETFLAGS = 0x40086602
FS_COMPR_FL = 0x4


class UnavailableError(Exception):
    """This ground can't be made here."""


def insist(reason: str | None) -> None:
    if reason is not None:
        raise UnavailableError(reason)


@contextlib.contextmanager
def plain(folder: Path, size: int) -> Iterator[Path]:
    path = folder / "file"
    files.make(path, size)
    yield path


@contextlib.contextmanager
def slow(folder: Path, size: int) -> Iterator[Path]:
    """Made here as any other file: the process of a turn is held back, by held_back()."""
    insist(mounts.loop_mount_reason("ext4"))
    with mounts.loop_mount(folder, "ext4", IMAGE_MIB) as mounted:
        insist(slow_disk.throttling_reason(mounted))
        with plain(mounted, size) as path:
            yield path


@contextlib.contextmanager
def fragmented(folder: Path, size: int) -> Iterator[Path]:
    """Each page is an extent of its own."""
    insist(mounts.loop_mount_reason("ext4"))
    with mounts.loop_mount(folder, "ext4", IMAGE_MIB) as mounted:
        block = random.Random(1).randbytes(PAGE)
        with (
            open(mounted / "file", "wb", buffering=0) as file,
            open(mounted / "between", "wb", buffering=0) as between,
        ):
            for number in range(size // PAGE):
                for each in (file, between):
                    each.write(number.to_bytes(8, "little") + block[8:])
                    os.fdatasync(each)
        yield mounted / "file"


@contextlib.contextmanager
def journaled(folder: Path, size: int) -> Iterator[Path]:
    insist(mounts.loop_mount_reason("ext4"))
    with (
        mounts.loop_mount(folder, "ext4", IMAGE_MIB, "data=journal") as mounted,
        plain(mounted, size) as path,
    ):
        yield path


@contextlib.contextmanager
def compressed(folder: Path, size: int) -> Iterator[Path]:
    insist(mounts.loop_mount_reason("btrfs"))
    with mounts.loop_mount(folder, "btrfs", IMAGE_MIB) as mounted:
        with open(mounted / "file", "wb", buffering=0) as file:
            fcntl.ioctl(file, FS_IOC_SETFLAGS, struct.pack("l", FS_COMPR_FL))
            for number in range(size // 512):
                file.write(number.to_bytes(8, "little") * 64)
            os.fsync(file)
        yield mounted / "file"


@contextlib.contextmanager
def overlay(folder: Path, size: int) -> Iterator[Path]:
    insist(mounts.overlay_mount_reason())
    with mounts.overlay_mount(folder) as (lower, merged):
        files.make(lower / "file", size)
        yield merged / "file"


@contextlib.contextmanager
def fuse(folder: Path, size: int) -> Iterator[Path]:
    insist(fusefs.fs_available())
    with fusefs.mounted(folder) as served:
        yield served.create("file", random.Random(1).randbytes(size))


@contextlib.contextmanager
def stopping(folder: Path, size: int) -> Iterator[Path]:
    """The server stops for a while, and goes on for as long."""
    insist(fusefs.fs_available())
    with fusefs.mounted(folder) as served:
        path = served.create("file", random.Random(1).randbytes(size))
        is_over = threading.Event()

        def stop_and_go() -> None:
            while not is_over.is_set():
                os.kill(served.server_pid, signal.SIGSTOP)
                time.sleep(STANDSTILL)
                os.kill(served.server_pid, signal.SIGCONT)
                time.sleep(STANDSTILL)

        thread = threading.Thread(target=stop_and_go)
        thread.start()
        try:
            yield path
        finally:
            is_over.set()
            thread.join()


GROUNDS: dict[Ground, Callable[[Path, int], contextlib.AbstractContextManager[Path]]] = {
    Ground.SLOW: slow,
    Ground.FRAGMENTED: fragmented,
    Ground.JOURNALED: journaled,
    Ground.COMPRESSED: compressed,
    Ground.OVERLAY: overlay,
    Ground.FUSE: fuse,
    Ground.STOPPING: stopping,
}


@contextlib.contextmanager
def made(ground: Ground, folder: Path, size: int) -> Iterator[Path]:
    """Make the ground below the folder, with a file of the size; give the file's path."""
    with contextlib.ExitStack() as stack:
        own = stack.enter_context(tempfile.TemporaryDirectory(dir=folder.resolve()))
        try:
            path = stack.enter_context(GROUNDS[ground](Path(own), size))
        except OSError as error:
            raise UnavailableError(str(error)) from error
        yield path


@contextlib.contextmanager
def held_back(ground: Ground, path: str) -> Iterator[None]:
    """Hold this process back if the disk is to be slow."""
    if ground is not Ground.SLOW:
        yield
        return
    with slow_disk.throttled(Path(path).parent, PER_SECOND):
        yield
