# SPDX-License-Identifier: Apache-2.0
"""Measures a disk: blocking reads and each engine, direct and buffered, 1 to 256 in flight."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import stat
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from ._core import AIOContext, AIOOperation, aligned_buffer, engines
from ._info import file_system_of, is_in_memory

_BLOCK = 4096
_DEPTHS = (1, 4, 16, 64, 256)
# read before the file is dropped from the page cache again
_MOST_BLOCKS = 1 << 16


def measure(path: str, seconds: float, size: int) -> dict[str, Any]:
    """Return the table as data: reads per second of 4 KiB at random places."""
    rows: list[dict[str, Any]] = []
    with _file(path, size) as (name, nbytes):
        for direct in (True, False):
            try:
                flags = os.O_RDONLY | os.O_CLOEXEC | (os.O_DIRECT if direct else 0)
                fd = os.open(name, flags)
            except OSError:
                continue  # the file system has no direct I/O
            try:
                rows += _measure_ways(fd, nbytes, direct, seconds)
            finally:
                os.close(fd)
    if not rows:
        raise OSError(f"{path!r} can't be read")
    best = max(rows, key=lambda row: row["reads_per_second"])
    good = [row for row in rows if row["reads_per_second"] >= 0.9 * best["reads_per_second"]]
    choice = min(good, key=lambda row: (row["in_flight"], -row["reads_per_second"]))
    file_system = file_system_of(path)
    return {
        "path": path,
        "file_system": file_system,
        "in_memory": is_in_memory(file_system),
        "block": _BLOCK,
        "size": nbytes,
        "rows": rows,
        "choice": choice,
        "most_reads_per_second": best["reads_per_second"],
    }


@contextlib.contextmanager
def _file(path: str, size: int) -> Iterator[tuple[str, int]]:
    """Give the path and size of the file, or of a new one in the folder, removed at the end."""
    status = os.stat(path)
    if not stat.S_ISDIR(status.st_mode):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            nbytes = os.lseek(fd, 0, os.SEEK_END)
        finally:
            os.close(fd)
        if nbytes < _BLOCK:
            raise ValueError(f"{path!r} is smaller than {_BLOCK} bytes")
        yield path, nbytes
        return
    free = os.statvfs(path)
    if free.f_blocks and size > free.f_bavail * free.f_frsize:
        raise OSError(errno.ENOSPC, "there is no room for the file that is to be read", path)
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(
                tempfile.NamedTemporaryFile(dir=path, prefix=".linux-aio-bench-")
            )
        except OSError as error:
            text = f"no file can be made in it: {error.strerror}"
            raise OSError(error.errno, text, path) from None
        block = random.randbytes(1 << 20)
        for offset in range(0, size, len(block)):
            file.write(block[: size - offset])
        file.flush()
        os.fsync(file.fileno())
        yield file.name, size


def _measure_ways(fd: int, nbytes: int, direct: bool, seconds: float) -> list[dict[str, Any]]:
    rows = []

    def add(way: str, depth: int, rate: float) -> None:
        row = {"way": way, "direct": direct, "in_flight": depth, "reads_per_second": round(rate)}
        rows.append(row)

    add("blocking", 1, _blocking(fd, nbytes, seconds))
    for engine, state in engines().items():
        if state != "available":
            continue
        for depth in _DEPTHS:
            try:
                add(engine, depth, _in_flight(fd, nbytes, engine, depth, seconds))
            except BlockingIOError:
                continue  # fs.aio-max-nr is used up
    return rows


def _uncached_blocks(fd: int, nbytes: int) -> list[int]:
    """Return the offsets of different blocks in random order, none of them in the page cache."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    blocks = range(0, nbytes - _BLOCK + 1, _BLOCK)
    return random.sample(blocks, min(len(blocks), _MOST_BLOCKS))


def _blocking(fd: int, nbytes: int, seconds: float) -> float:
    buffer = aligned_buffer(_BLOCK)
    count = 0
    elapsed = 0.0
    while elapsed < seconds:
        offsets = _uncached_blocks(fd, nbytes)
        began = time.perf_counter()
        for offset in offsets:
            os.preadv(fd, [buffer], offset)
            count += 1
            if elapsed + time.perf_counter() - began >= seconds:
                break
        elapsed += time.perf_counter() - began
    return count / elapsed


def _in_flight(fd: int, nbytes: int, engine: str, depth: int, seconds: float) -> float:
    count = 0
    elapsed = 0.0
    with AIOContext(depth, engine=engine) as context:
        operations = [AIOOperation.readinto(aligned_buffer(_BLOCK), fd, 0) for _ in range(depth)]
        while elapsed < seconds:
            offsets = iter(_uncached_blocks(fd, nbytes))
            waiting: list[Any] = []
            done: list[Any] = operations
            began = time.perf_counter()
            while elapsed + time.perf_counter() - began < seconds:
                for operation, offset in zip(done, offsets, strict=False):
                    operation.offset = offset
                    waiting.append(operation)
                taken = context.submit(*waiting) if waiting else 0
                del waiting[:taken]
                done = context.getevents(1)
                if not done:
                    break  # all blocks were read
                for operation in done:
                    operation.get_result()
                count += len(done)
            elapsed += time.perf_counter() - began
            context.getevents(context.in_flight)
    return count / elapsed


def table(report: dict[str, Any]) -> str:
    """Return the measurements as lines of text."""
    depths = sorted({row["in_flight"] for row in report["rows"]})
    head = f"{'4 KiB random reads per second':32}" + "".join(f"{depth:>9}" for depth in depths)
    lines = [head + "  in flight"]
    ways = dict.fromkeys((row["way"], row["direct"]) for row in report["rows"])
    for way, direct in ways:
        rates = {
            row["in_flight"]: row["reads_per_second"]
            for row in report["rows"]
            if (row["way"], row["direct"]) == (way, direct)
        }
        buffered = "buffered" if report["in_memory"] else "buffered, not cached"
        name = f"{way}, {'direct' if direct else buffered}"
        lines.append(f"{name:32}" + "".join(f"{rates.get(depth, '-'):>9}" for depth in depths))
    choice = report["choice"]
    how = "O_DIRECT" if choice["direct"] else "buffered files"
    rate, most = choice["reads_per_second"], report["most_reads_per_second"]
    least = "" if rate == most else f", with the fewest in flight that reach nine tenths of {most}"
    choose = f"Choose {choice['way']} with {choice['in_flight']} in flight and {how}"
    lines.append(f"{choose}: {rate} reads/s{least}.")
    if choice["way"] != "auto":
        lines.append(
            "No event loop was measured. Beside one use auto, which does not make it wait."
        )
    if report["in_memory"]:
        lines.append(f"This file system is in memory: {report['file_system']}. No disk was read.")
    return "\n".join(lines)
