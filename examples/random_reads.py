# SPDX-License-Identifier: Apache-2.0
"""Read a file in random order, many reads at a time, with operations that are used again.

It writes a file of known bytes, has the kernel read it back with 32 reads in flight, compares every
byte, and does the same reads one by one with os.preadv for comparison. Where the file system has
O_DIRECT, the file is open with that. To await reads is simpler: see examples/asyncio_reads.py. This
one shows the fastest way to run a queue, and what any event loop can do with the context's eventfd.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from linux_aio import AIOContext, AIOOperation, aligned_buffer, direct_alignment

FILE_SIZE = 64 * 1024 * 1024
BLOCK_SIZE = 4096
IN_FLIGHT = 32

BUFFERED = """\
This file system has no O_DIRECT for blocks of this size. So the kernel does each read inside
io_submit(2), one after the other, and many in flight are no faster than one. docs/usage.rst says
when kernel AIO is asynchronous."""
DIRECT = """\
The file is open with O_DIRECT: while a disk works on the reads in flight, Python goes on."""


@dataclass
class Times:
    """Seconds that all the reads took, and how many of them went by in submitting."""

    total: float
    submitting: float


def check(block: bytes | memoryview, offset: int, content: bytes) -> None:
    if block != content[offset : offset + BLOCK_SIZE]:
        sys.exit(f"random_reads: the bytes read at offset {offset} are wrong")


async def read_many_at_a_time(fd: int, offsets: list[int], content: bytes) -> Times:
    """Keep IN_FLIGHT reads with the kernel; the event loop tells when some have completed."""
    loop = asyncio.get_running_loop()
    completed = asyncio.Event()
    submitting = 0.0
    start = time.perf_counter()
    with AIOContext(IN_FLIGHT) as context:
        # The context has an eventfd of its own, readable while completed operations wait there.
        loop.add_reader(context.fileno, completed.set)
        waiting = iter(offsets)
        ready = [
            AIOOperation.read(BLOCK_SIZE, fd, offset)
            for offset in itertools.islice(waiting, IN_FLIGHT)
        ]
        left = len(offsets)
        while left:
            if ready:
                before = time.perf_counter()
                taken = context.submit(*ready)
                submitting += time.perf_counter() - before
                del ready[:taken]
            await completed.wait()
            completed.clear()
            for operation in context.getevents(min_nr=0):
                check(operation.get_result(), operation.offset or 0, content)
                left -= 1
                # An operation that has completed can be used again, for another block.
                if (offset := next(waiting, None)) is not None:
                    operation.offset = offset
                    ready.append(operation)
        loop.remove_reader(context.fileno)
    return Times(time.perf_counter() - start, submitting)


def read_one_by_one(fd: int, offsets: list[int], content: bytes) -> float:
    """Do the same reads with a system call for each; return how many seconds it took."""
    block = aligned_buffer(BLOCK_SIZE)  # as O_DIRECT needs it
    start = time.perf_counter()
    for offset in offsets:
        count = os.preadv(fd, [block], offset)
        check(block[:count], offset, content)
    return time.perf_counter() - start


def forget_cached(fd: int) -> None:
    """Have the kernel drop the file from its cache, where it keeps files on a disk."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def open_to_read(path: Path) -> tuple[int, bool]:
    """Open the file, with O_DIRECT if the file system has that, and say whether it is."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
        if max(direct_alignment(fd)) <= BLOCK_SIZE:
            return fd, True
        os.close(fd)
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # nothing is read before it is asked for
    return fd, False


def write_to_disk(fd: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest) :]
    os.fsync(fd)


def is_file_of(path: Path, content: bytes) -> bool:
    return path.is_file() and path.stat().st_size == FILE_SIZE and path.read_bytes() == content


@contextlib.contextmanager
def file_with(content: bytes, path: Path | None) -> Iterator[Path]:
    """A file of these bytes: at `path`, where it stays, or a temporary one in this directory."""
    if path is None:
        with tempfile.NamedTemporaryFile(prefix="linux-aio-reads-", dir=".") as file:
            write_to_disk(file.fileno(), content)
            yield Path(file.name)
    else:
        if not path.exists():
            with path.open("xb") as new_file:
                write_to_disk(new_file.fileno(), content)
        elif not is_file_of(path, content):
            sys.exit(f"random_reads: {path} exists, and is not a file that this program made")
        yield path


def print_row(name: str, in_flight: int, seconds: float) -> None:
    reads = FILE_SIZE // BLOCK_SIZE
    print(f"{name:20}{in_flight:12}{seconds:12.2f}{reads / seconds:12,.0f}")


def demonstrate(path: Path, content: bytes) -> None:
    offsets = list(range(0, FILE_SIZE, BLOCK_SIZE))
    random.shuffle(offsets)
    fd, is_direct = open_to_read(path)
    try:
        print(f"{path}: {FILE_SIZE >> 20} MiB, {'with O_DIRECT' if is_direct else 'buffered'}")
        print(f"Each way {len(offsets)} reads of {BLOCK_SIZE} bytes, in random order, all of them")
        print("compared. Before each, the kernel is told to drop the file from its cache.")
        print()
        print(f"{'':20}{'in flight':>12}{'seconds':>12}{'reads/s':>12}", flush=True)
        forget_cached(fd)
        times = asyncio.run(read_many_at_a_time(fd, offsets, content))
        print_row("linux_aio, asyncio", IN_FLIGHT, times.total)
        forget_cached(fd)
        print_row("os.preadv", 1, read_one_by_one(fd, offsets, content))
    finally:
        os.close(fd)
    print()
    print(f"Of linux_aio's time, {times.submitting / times.total:.0%} went by inside submit().")
    print(DIRECT if is_direct else BUFFERED)


def main() -> None:
    parser = argparse.ArgumentParser(description="Read a file with many reads in flight.")
    parser.add_argument(
        "--file",
        type=Path,
        metavar="PATH",
        help="make the file there, or use it again, and leave it (default: a temporary file here)",
    )
    arguments = parser.parse_args()
    content = random.Random(0).randbytes(FILE_SIZE)
    try:
        with file_with(content, arguments.file) as path:
            demonstrate(path, content)
    except OSError as error:
        sys.exit(f"random_reads: {error}")


if __name__ == "__main__":
    main()
