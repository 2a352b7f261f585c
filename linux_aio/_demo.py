# SPDX-License-Identifier: Apache-2.0
"""`linux-aio demo`: blocking calls, threads and linux_aio on this machine's disk, within a minute.

32 tasks of an asyncio loop read the same file in each of the three ways. A heartbeat on the loop
measures how late other tasks run meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass

from ._core import AIOContext
from ._info import file_system_of, is_in_memory

BLOCK = 4096
TASKS = 32
BEAT = 0.001
SIZE = 256 << 20
LEAST = 4 << 20
MIB = 1 << 20

Read = Callable[[int], Coroutine[None, None, bytes]]


@dataclass
class Place:
    """The file that is read."""

    fd: int
    blocks: int
    name: str  # as it is shown
    file_system: str
    is_new: bool  # made by the demo: each block begins with its number

    @property
    def is_memory(self) -> bool:
        return is_in_memory(self.file_system)


@dataclass
class Result:
    """The figures of one way of reading."""

    name: str
    reads: int
    seconds: float
    late: float  # 99 of 100 heartbeats were at most so late, in seconds

    @property
    def rate(self) -> float:
        return self.reads / self.seconds


def say(text: str) -> None:
    """Show the progress."""
    print(text, file=sys.stderr, flush=True)


# --- the file


@contextlib.contextmanager
def opened(path: str | None, size: int) -> Iterator[Place]:
    """Open the file, or make one in the folder: without a name, so that it can't be left over."""
    folder = path or default_folder()
    status = os.stat(folder)
    if not stat.S_ISDIR(status.st_mode):
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            nbytes = size_of(fd, status)
            if nbytes < LEAST:
                msg = f"{folder!r} is no file of {LEAST // MIB} MiB or more: name a larger one"
                raise ValueError(msg)
            yield Place(fd, nbytes // BLOCK, folder, file_system_of(folder), is_new=False)
        finally:
            os.close(fd)
        return
    free = shutil.disk_usage(folder).free
    size = min(size, free // 4) // MIB * MIB
    if size < LEAST:
        msg = f"there is no room for a file in {folder!r}: name another folder"
        raise ValueError(msg)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        where = os.path.abspath(folder)
        say(f"Writing a file of {size // MIB} MiB in {where}. Nothing of it will stay.")
        write(file.fileno(), size)
        name = f"a new file in {where}"
        yield Place(file.fileno(), size // BLOCK, name, file_system_of(folder), is_new=True)


def size_of(fd: int, status: os.stat_result) -> int:
    """Return the size of a file or a block device; 0 for others."""
    if stat.S_ISREG(status.st_mode):
        return status.st_size
    return os.lseek(fd, 0, os.SEEK_END) if stat.S_ISBLK(status.st_mode) else 0


def default_folder() -> str:
    """Return the working directory; if it is in memory or not usable, one for temporary files."""
    folders = [".", "/var/tmp", tempfile.gettempdir()]
    usable = [folder for folder in folders if os.access(folder, os.W_OK)]
    on_disk = [folder for folder in usable if not is_in_memory(file_system_of(folder))]
    return next(iter(on_disk or usable), ".")


def write(fd: int, size: int) -> None:
    for start in range(0, size // BLOCK, MIB // BLOCK):
        numbers = range(start, start + MIB // BLOCK)
        rest = memoryview(
            b"".join(number.to_bytes(8, "little") * (BLOCK // 8) for number in numbers)
        )
        while rest:
            rest = rest[os.write(fd, rest) :]
    os.fsync(fd)


# --- reading it


async def heartbeat(late: list[float]) -> None:
    """Sleep a millisecond again and again, and note how late it wakes up."""
    while True:
        due = time.perf_counter() + BEAT
        await asyncio.sleep(BEAT)
        late.append(max(0.0, time.perf_counter() - due))


async def measure(name: str, place: Place, seconds: float, read: Read) -> Result:
    """Have the tasks read for `seconds` at most, and each block once at most."""
    os.posix_fadvise(place.fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.posix_fadvise(place.fd, 0, 0, os.POSIX_FADV_RANDOM)
    numbers = list(range(place.blocks))
    random.shuffle(numbers)
    left = iter(numbers)
    reads = 0
    began = time.perf_counter()
    end = began + seconds

    async def work() -> None:
        nonlocal reads
        for number in left:
            block = await read(number * BLOCK)
            if place.is_new and block[:8] != number.to_bytes(8, "little"):
                msg = f"block {number} was read wrongly {name}"
                raise ValueError(msg)
            reads += 1
            if time.perf_counter() > end:
                return

    late: list[float] = []
    beating = asyncio.create_task(heartbeat(late))
    await asyncio.sleep(0)
    try:
        tasks = [asyncio.create_task(work()) for _ in range(TASKS)]
        await asyncio.gather(*tasks)
        took = time.perf_counter() - began
        await asyncio.sleep(2 * BEAT)  # so that a heartbeat that is late now is counted
    finally:
        beating.cancel()
    late.sort()
    return Result(name, reads, took, late[int(0.99 * len(late))])


async def compare(place: Place, seconds: float) -> list[Result]:
    fd = place.fd

    async def block_the_loop(offset: int) -> bytes:
        data = os.pread(fd, BLOCK, offset)
        await asyncio.sleep(0)  # let the other tasks run
        return data

    async def ask_a_thread(offset: int) -> bytes:
        return await asyncio.to_thread(os.pread, fd, BLOCK, offset)

    results = []
    say("Reading it with blocking calls …")
    results.append(await measure("blocking calls", place, seconds, block_the_loop))
    say("Reading it with threads …")
    results.append(await measure("threads", place, seconds, ask_a_thread))
    say("Reading it with linux_aio …")
    async with AIOContext(TASKS) as context:

        async def ask_the_kernel(offset: int) -> bytes:
            return await context.read(BLOCK, fd, offset)

        results.append(await measure("linux_aio", place, seconds, ask_the_kernel))
    return results


# --- telling of it


def can_print(character: str) -> bool:
    try:
        character.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def bars(results: list[Result]) -> list[str]:
    full = "█" if can_print("█") else "#"
    most = max(result.rate for result in results)
    width = max(10, min(40, shutil.get_terminal_size((80, 24)).columns - 45))
    lines = [f"{'':16}{'reads/s':>9}  {'':{width}}  heartbeat late by"]
    for result in results:
        bar = full * max(1, round(width * result.rate / most))
        late = f"{result.late * 1000:.1f} ms"
        lines.append(f"{result.name:16}{result.rate:>9,.0f}  {bar:{width}}  {late:>9}")
    return lines


def times(own: float, other: float) -> str:
    """Return in words how many times `other` the number `own` is."""
    ratio = own / other
    if ratio >= 9.5:
        return f"{ratio:.0f} times as many reads as"
    if ratio >= 1.1:
        return f"{ratio:.1f} times as many reads as"
    if ratio > 0.9:
        return "about as many reads as"
    return f"only {ratio:.1f} times as many reads as"


def conclusion(results: list[Result], place: Place) -> list[str]:
    blocking, threads, own = results
    lines = [
        f"linux_aio did {times(own.rate, blocking.rate)} blocking calls, and "
        f"{times(own.rate, threads.rate)} threads.",
        "The heartbeat is a timer of 1 ms on the same event loop. It stands for the rest of a",
        "program: other requests, connections, time-outs. Of 100 beats, 99 were no later.",
        "Where other programs keep the processors busy, all of them are late.",
    ]
    if place.is_memory:
        kind = place.file_system.split(",")[0]
        lines += [
            "",
            f"This file system, {kind}, is in memory: no disk was read. Name a folder on a disk to",
            "see what the disk does: linux-aio demo FOLDER",
        ]
    return lines


def report(results: list[Result], place: Place) -> str:
    mib = place.blocks * BLOCK // MIB
    lines = [
        f"{TASKS} tasks of an asyncio event loop read {place.name}",
        f"({place.file_system}; {mib} MiB), in blocks of 4 KiB and in random order.",
        "Before each way of reading, the kernel forgets what it has of the file in memory.",
        "",
        *bars(results),
        "",
        *conclusion(results, place),
        "",
        "More: `python -m linux_aio bench FOLDER`, once linux_aio is installed, tries each engine,",
        "from 1 to 256 reads in flight. docs/tutorial.rst says how to begin.",
    ]
    return "\n".join(lines)


def demo(path: str | None = None, seconds: float = 3.0, size: int = SIZE) -> str:
    """Read a file each way for so many seconds at most; return what there is to say.

    path is a file, which is only read, or a folder, in which a file without a name is made. Nothing
    is created at a path that does not exist: OSError.
    """
    with opened(path, size) as place:
        results = asyncio.run(compare(place, seconds))
    return report(results, place)
