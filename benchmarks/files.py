# SPDX-License-Identifier: Apache-2.0
"""The files that are read, and the state of the page cache."""

from __future__ import annotations

import mmap
import os
import random
import time
from array import array
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .model import Access, Case, Content, Ground, Storage

MIB = 1 << 20
SIZES = {
    Storage.MEMORY: 256 * MIB,
    Storage.CACHED: 256 * MIB,
    Storage.UNCACHED: 512 * MIB,
    Storage.DIRECT: 512 * MIB,
    Storage.DROPPED: 512 * MIB,
}


def size_of(case: Case) -> int:
    return case.size * MIB if case.size else SIZES[case.storage]


def make(path: Path, size: int, content: Content = Content.BLOCKS) -> None:
    """Write the file with bytes that no file system can compress or leave out."""
    if content is Content.NUMPY:
        make_numpy(path, size)
        return
    if content is Content.SAFETENSORS:
        make_safetensors(path, size)
        return
    block = random.Random(1).randbytes(MIB)
    with path.open("wb", buffering=0) as file:
        for number in range(size // MIB):
            file.write(number.to_bytes(8, "little") + block[8:])
        os.fsync(file)


def make_numpy(path: Path, size: int) -> None:
    import numpy as np

    with path.open("wb") as file:
        np.save(file, np.random.default_rng(1).integers(0, 2**63, size // 8))
        os.fsync(file)


def make_safetensors(path: Path, size: int, count: int = 300) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    dice = np.random.default_rng(1)
    numbers = dice.integers(0, 2**63, size // 8).view("f4")
    cuts = sorted(dice.integers(0, len(numbers), count - 1).tolist())
    starts, ends = [0, *cuts], [*cuts, len(numbers)]
    pieces = enumerate(zip(starts, ends, strict=True))
    save_file({f"{i}": numbers[start:end] for i, (start, end) in pieces}, path)
    with path.open("rb") as file:
        os.fsync(file)


def open_for(case: Case, path: str) -> int:
    """Open the file as the case needs, with the same access advice for all contenders."""
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
    """Write dirty pages back, and bring the page cache to the state that the case needs."""
    if case.storage is Storage.MEMORY:
        return
    fd = os.open(path, os.O_RDWR)
    try:
        os.fsync(fd)
        if case.storage is not Storage.CACHED:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        has_metadata = case.ground in (Ground.FRAGMENTED, Ground.JOURNALED, Ground.COMPRESSED)
        if case.storage is Storage.DROPPED or (has_metadata and case.storage is Storage.DIRECT):
            free_memory()
    finally:
        os.close(fd)
    if case.storage is Storage.CACHED and case.ground is Ground.FUSE:
        warm(path)  # to open a file of FUSE empties its cache


def free_memory() -> None:
    """Empty the page cache. Needs root. Else contenders that get new memory would wait while the
    kernel frees pages, some longer than others."""
    Path("/proc/sys/vm/drop_caches").write_text("3")


def touch_memory(size: int) -> None:
    """Use so much memory, and free it. The host of a virtual machine may have taken free memory:
    the first contender would wait for it, several times as long as for all the rest."""
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        for offset in range(0, size, mmap.PAGESIZE):
            memory[offset] = 1


def use_up_bursts(path: str, seconds: float = 0.5) -> None:
    """Read with O_DIRECT for a while. Disks of virtual machines are faster for a while after a
    pause, which would favour the first contender."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        blocks = max(os.path.getsize(path) // (4 * MIB), 1)
        until = time.monotonic() + seconds
        with ThreadPoolExecutor(4) as pool:
            buffers = [mmap.mmap(-1, 4 * MIB) for _ in range(4)]

            def read(slot: int) -> None:
                block = slot
                while time.monotonic() < until:
                    os.preadv(fd, [buffers[slot]], block % blocks * 4 * MIB)
                    block += 4

            list(pool.map(read, range(4)))
    finally:
        os.close(fd)


def use_memory(size: int) -> None:
    """Use so much memory for a moment. Memory that a virtual machine's host has to provide takes
    long, which would disadvantage the first contender."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    mmap.mmap(-1, size, flags=flags).close()


def touch(buffer: memoryview) -> None:
    """Have the kernel allocate the buffer's pages now, so that its time is not counted."""
    for offset in range(0, len(buffer), mmap.PAGESIZE):
        buffer[offset] = 1


def compare(path: str, data: memoryview | mmap.mmap) -> None:
    """Raise if `data` differs from the file, in samples from all over the file."""
    size = os.path.getsize(path)
    fd = os.open(path, os.O_RDONLY)
    try:
        for i in range(65):
            offset = (size - 4096) * i // 64
            if len(data) != size or os.pread(fd, 4096, offset) != data[offset : offset + 4096]:
                raise RuntimeError(f"wrong bytes at {offset}")
    finally:
        os.close(fd)


def warm(path: str) -> None:
    """Read the whole file into the page cache."""
    with open(path, "rb", buffering=0) as file:
        while file.read(MIB):
            pass


def one_pass(case: Case, path: str, seed: int) -> list[int]:
    """Return the offsets to read at: every block once."""
    offsets = array("q", range(0, os.path.getsize(path), case.block))
    if not case.sequential:
        random.Random(seed).shuffle(offsets)
    # int objects made in the order of their use: else each would be a cache miss
    return offsets.tolist()
