# SPDX-License-Identifier: Apache-2.0
"""The files that are read, and the state of the page cache."""

from __future__ import annotations

import os
import random
from array import array
from pathlib import Path

from .model import Access, Case, Storage

MIB = 1 << 20
SIZES = {
    Storage.MEMORY: 256 * MIB,
    Storage.CACHED: 256 * MIB,
    Storage.UNCACHED: 512 * MIB,
    Storage.DIRECT: 512 * MIB,
    Storage.DROPPED: 512 * MIB,
}


def make(path: Path, size: int) -> None:
    """Write it with bytes that no file system can leave out."""
    block = random.Random(1).randbytes(MIB)
    with path.open("wb", buffering=0) as file:
        for number in range(size // MIB):
            file.write(number.to_bytes(8, "little") + block[8:])
        os.fsync(file)


def open_for(case: Case, path: str) -> int:
    """Open it as the case wants; for random access the same advice for everyone."""
    flags = os.O_RDWR if case.access is Access.WRITE else os.O_RDONLY
    if case.storage is Storage.DIRECT:
        flags |= os.O_DIRECT
    fd = os.open(path, flags | os.O_CLOEXEC)
    advise(case, fd)
    return fd


def advise(case: Case, fd: int) -> None:
    if not case.sequential:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)


def prepare(case: Case, path: str) -> None:
    """Write back what is dirty, and forget what the case doesn't want in the page cache."""
    if case.storage is Storage.MEMORY:
        return
    fd = os.open(path, os.O_RDWR)
    try:
        os.fsync(fd)
        if case.storage is not Storage.CACHED:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        if case.storage is Storage.DROPPED:
            Path("/proc/sys/vm/drop_caches").write_text("3")
    finally:
        os.close(fd)


def warm(path: str) -> None:
    """Bring all of it into the page cache."""
    with open(path, "rb", buffering=0) as file:
        while file.read(MIB):
            pass


def one_pass(case: Case, path: str, seed: int) -> list[int]:
    """Where to read: every block once."""
    offsets = array("q", range(0, os.path.getsize(path), case.block))
    if not case.sequential:
        random.Random(seed).shuffle(offsets)
    # numbers made in the order of their use: else it is a cache miss to look at each
    return offsets.tolist()
