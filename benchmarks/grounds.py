# SPDX-License-Identifier: Apache-2.0
"""Files on hostile ground: where calls that should not wait would wait, or can't be told not to."""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from support import fusefs, mounts, slow_disk
from support.odd_extents import make_compressed, make_fragmented

from . import files
from .model import Ground

IMAGE_MIB = 512  # sparse
PER_SECOND = 1000  # requests of a slow disk
STANDSTILL = 0.1  # seconds that a server stops, and goes on


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
def new_disk(folder: Path, fstype: str, options: str = "") -> Iterator[Path]:
    """Mount a new file system on a loop device; give the mount point."""
    insist(mounts.loop_mount_reason(fstype))
    with mounts.loop_mount(folder, fstype, IMAGE_MIB, options) as mounted:
        yield mounted


@contextlib.contextmanager
def slow(folder: Path, size: int) -> Iterator[Path]:
    """Made here as any other file: the process of a turn is held back, by held_back()."""
    with new_disk(folder, "ext4") as mounted:
        insist(slow_disk.throttling_reason(mounted))
        with plain(mounted, size) as path:
            yield path


@contextlib.contextmanager
def fragmented(folder: Path, size: int) -> Iterator[Path]:
    """Each page is an extent of its own."""
    with new_disk(folder, "ext4") as mounted:
        make_fragmented(mounted / "file", size // mmap.PAGESIZE)
        yield mounted / "file"


@contextlib.contextmanager
def journaled(folder: Path, size: int) -> Iterator[Path]:
    with new_disk(folder, "ext4", "data=journal") as mounted, plain(mounted, size) as path:
        yield path


@contextlib.contextmanager
def compressed(folder: Path, size: int) -> Iterator[Path]:
    with new_disk(folder, "btrfs") as mounted:
        make_compressed(mounted / "file", size // 512)
        yield mounted / "file"


@contextlib.contextmanager
def overlay(folder: Path, size: int) -> Iterator[Path]:
    insist(mounts.overlay_mount_reason())
    with mounts.overlay_mount(folder) as (lower, merged):
        files.make(lower / "file", size)
        yield merged / "file"


@contextlib.contextmanager
def served(folder: Path, size: int) -> Iterator[tuple[fusefs.HoldingFS, Path]]:
    insist(fusefs.fs_available())
    with fusefs.mounted(folder) as server:
        yield server, server.create("file", random.Random(1).randbytes(size))


@contextlib.contextmanager
def fuse(folder: Path, size: int) -> Iterator[Path]:
    with served(folder, size) as (_, path):
        yield path


@contextlib.contextmanager
def stopping(folder: Path, size: int) -> Iterator[Path]:
    """The server stops for a while, and goes on for as long."""
    with served(folder, size) as (server, path):
        is_over = threading.Event()

        def stop_and_go() -> None:
            while not is_over.is_set():
                os.kill(server.server_pid, signal.SIGSTOP)
                time.sleep(STANDSTILL)
                os.kill(server.server_pid, signal.SIGCONT)
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
