# SPDX-License-Identifier: Apache-2.0
"""The engine `auto`: which way operations go, and that none of them makes the caller wait."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import mmap
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from linux_aio import AIOContext, AIOOperation
from support import seccomp
from support.files import file_in_memory
from support.forked import in_child
from support.fusefs import HoldingFS
from support.loops import run
from support.measure import soon
from support.operations import perform, wait_done
from support.page_cache import cached_pages
from support.workers import PATIENCE

pytest_plugins = ["support.fixtures"]

pytestmark = pytest.mark.engine("auto")

PAGE = mmap.PAGESIZE
SIZE = 32 * PAGE  # not so large that it is left to others for that
DATA = bytes(number % 251 for number in range(SIZE))


def nowait_reason(folder: Path) -> str | None:
    """Why the folder is on no file system whose page cache can be asked not to wait, or None."""
    path = folder / "probe"
    path.write_bytes(b"x")
    with path.open("rb") as file:
        try:
            os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT)
        except BlockingIOError:
            pass
        except OSError as error:
            return f"no RWF_NOWAIT in {folder}: {error.strerror}"
    return None


@pytest.fixture
def ctx() -> Iterator[AIOContext]:
    with AIOContext(64) as context:
        yield context


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    """A file on disk whose pages are in the page cache."""
    reason = nowait_reason(tmp_path)
    if reason is not None:
        pytest.skip(reason)
    number = make_file(tmp_path / "data")
    yield number
    os.close(number)


def make_file(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, DATA, 0)
    os.fsync(fd)
    return fd


def evict(fd: int) -> None:
    """Out of the page cache with it; nothing is read ahead from now on.

    A page that the kernel itself looks at just then, to reclaim memory, stays: it is told again.

    A read of an evicted page may succeed with RWF_NOWAIT all the same: it starts the disk, which
    may be done before the kernel looks at the page. On virtual machines beside load this happens
    many times in a row. So tests that need a miss try again: `soon`.
    """
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    give_up = time.monotonic() + PATIENCE
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    while cached_pages(fd):
        assert time.monotonic() < give_up
        time.sleep(0.001)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


class Ways:
    """Which ways operations went since it was made."""

    NAMES = ("inline", "aio", "uring", "threads")

    def __init__(self, context: AIOContext) -> None:
        self._context = context
        self._before = context.statistics()

    def changes(self) -> dict[str, int]:
        now = self._context.statistics()
        names = [*self.NAMES, *(name for name in now if name.startswith("rerouted"))]
        changes = {name: now[name] - self._before[name] for name in names}
        return {name: change for name, change in changes.items() if change}

    def reasons(self) -> dict[str, int]:
        """Of what was rerouted, which is also to be what went far."""
        changes = self.changes()
        rerouted = changes.pop("rerouted", 0)
        reasons = {
            name.removeprefix("rerouted_"): count
            for name, count in changes.items()
            if name.startswith("rerouted_")
        }
        assert sum(reasons.values()) == rerouted
        assert changes.get("uring", 0) + changes.get("threads", 0) == rerouted
        return reasons


# Reads through the page cache


def test_what_is_cached_is_read_at_once(ctx: AIOContext, fd: int) -> None:
    ways = Ways(ctx)
    op = AIOOperation.read(PAGE, fd, 100)
    op.submit(ctx)
    assert op.get_result() == DATA[100:][:PAGE]
    assert ways.changes() == {"inline": 1}


def misses(ctx: AIOContext, fd: int, offset: int) -> bool:
    """Read an evicted page, and tell whether that went elsewhere."""
    evict(fd)
    ways = Ways(ctx)
    assert perform(ctx, AIOOperation.read(PAGE, fd, offset)) == DATA[offset:][:PAGE]
    return ways.reasons() == {"uncached": 1}


def test_what_is_not_cached_goes_elsewhere(ctx: AIOContext, fd: int) -> None:
    assert soon(lambda: misses(ctx, fd, PAGE))


@pytest.mark.parametrize("kind", ["read", "readinto", "readv"])
def test_what_is_partly_cached_comes_whole(kind: str, ctx: AIOContext, fd: int) -> None:
    buffer = bytearray(SIZE)
    make: dict[str, Callable[[], AIOOperation]] = {
        "read": lambda: AIOOperation.read(SIZE, fd),
        "readinto": lambda: AIOOperation.readinto(buffer, fd),
        "readv": lambda: AIOOperation.readv([memoryview(buffer)[:5], memoryview(buffer)[5:]], fd),
    }

    def goes_elsewhere() -> bool:
        evict(fd)
        os.pread(fd, 4 * PAGE, 0)
        ways = Ways(ctx)
        buffer[:] = bytes(SIZE)
        result = perform(ctx, make[kind]())
        assert result == (DATA if kind == "read" else SIZE)
        assert kind == "read" or buffer == DATA
        return ways.reasons() == {"uncached": 1}

    assert soon(goes_elsewhere)


def test_the_end_of_the_file_is_not_asked_for_again(ctx: AIOContext, fd: int) -> None:
    ways = Ways(ctx)
    assert perform(ctx, AIOOperation.read(SIZE, fd, SIZE - 100)) == DATA[-100:]
    assert perform(ctx, AIOOperation.read(SIZE, fd, SIZE)) == b""
    assert ways.changes() == {"inline": 2}


def reads_of_this_thread() -> int:
    """How many system calls of this thread have read, this function's own among them."""
    try:
        fd = os.open("/proc/thread-self/io", os.O_RDONLY)
    except OSError as error:
        pytest.skip(f"the kernel does not count a thread's reads: {error}")
    try:
        text = os.read(fd, 1000)
    finally:
        os.close(fd)
    (line,) = [line for line in text.splitlines() if line.startswith(b"syscr:")]
    return int(line.split()[1])


@pytest.mark.parametrize("size", [100, PAGE - 1, PAGE, 3 * PAGE + 512, 3 * PAGE + 513])
def test_what_ends_inside_a_sector_is_the_end(ctx: AIOContext, fd: int, size: int) -> None:
    """What is not cached begins with a sector, so no second read looks for it."""
    os.ftruncate(fd, size)
    ways = Ways(ctx)
    own = -reads_of_this_thread() + reads_of_this_thread()
    before = reads_of_this_thread()
    op = AIOOperation.read(size + 1, fd)
    op.submit(ctx)
    reads = reads_of_this_thread() - before - own
    assert op.get_result() == DATA[:size]
    assert reads == (2 if size % 512 == 0 else 1)
    assert ways.changes() == {"inline": 1}


def test_after_a_miss_the_kernel_is_asked_what_is_there(ctx: AIOContext, fd: int) -> None:
    assert soon(lambda: misses(ctx, fd, 0))
    ways = Ways(ctx)
    for _ in range(1000):
        assert perform(ctx, AIOOperation.read(PAGE, fd, 0)) == DATA[:PAGE]
    assert ways.changes()["inline"] > 0


def test_a_file_that_missed_often_is_asked_about_again_soon(ctx: AIOContext, fd: int) -> None:
    """After many misses in a row the kernel is asked before every ninth read only."""
    for at in range(100):
        evict(fd)
        perform(ctx, AIOOperation.read(PAGE, fd, at % 32 * PAGE))
    assert perform(ctx, AIOOperation.read(SIZE, fd, 0)) == DATA  # all is cached now
    ways = Ways(ctx)
    for _ in range(20):
        assert perform(ctx, AIOOperation.read(PAGE, fd, 0)) == DATA[:PAGE]
    assert ways.changes()["inline"] >= 12


needs_seccomp = pytest.mark.skipif(
    seccomp.reason_unavailable() is not None, reason=str(seccomp.reason_unavailable())
)


@needs_seccomp
def test_without_cachestat_a_file_whose_reads_miss_is_not_tried_each_time(fd: int) -> None:
    """After a miss, reads of the file go to a worker for a while, also those of cached pages.

    On a busy machine that while may pass between two reads: then the test tries again.
    """

    def goes_elsewhere(ctx: AIOContext) -> bool:
        evict(fd)
        perform(ctx, AIOOperation.read(PAGE, fd, 0))
        ways = Ways(ctx)
        assert perform(ctx, AIOOperation.read(PAGE, fd, 0)) == DATA[:PAGE]
        return ways.reasons() == {"uncached": 1}

    def read_often() -> None:
        seccomp.refuse(["cachestat"], errno.ENOSYS)
        with AIOContext(8) as ctx:
            assert soon(lambda: goes_elsewhere(ctx))
            ways = Ways(ctx)
            for _ in range(1000):
                perform(ctx, AIOOperation.read(PAGE, fd, 0))
            assert ways.changes()["inline"] > 0  # it was tried again in the end

    in_child(read_often)


def test_reads_that_miss_in_numbers_are_tried_all_the_same(ctx: AIOContext, fd: int) -> None:
    """Since to try starts the disk. That they were tried shows where they are cached after all.

    Where the machine has other things to do, what comes late in a batch is left to workers.
    """

    def are_tried() -> bool:
        evict(fd)
        return read_pages(ctx, fd, 8) == {"uncached": 8} and read_pages(ctx, fd, 8) == {}

    assert soon(are_tried)


@needs_seccomp
def test_reads_that_miss_in_small_numbers_are_not(fd: int) -> None:
    """After few misses, reads go to a worker, also those of pages that are cached by then."""

    def go_elsewhere_twice(ctx: AIOContext) -> bool:
        evict(fd)
        ways = [read_pages(ctx, fd, 2) for _ in range(2)]
        return ways == [{"uncached": 2}, {"uncached": 2}]

    def read_twice() -> None:
        seccomp.refuse(["cachestat"], errno.ENOSYS)
        with AIOContext(64) as ctx:
            assert soon(lambda: go_elsewhere_twice(ctx))

    in_child(read_twice)


def read_pages(ctx: AIOContext, fd: int, count: int) -> dict[str, int]:
    """Read the first pages at once, and tell how many went elsewhere, and why."""
    ways = Ways(ctx)
    ops = [AIOOperation.read(PAGE, fd, at * PAGE) for at in range(count)]
    assert ctx.submit(*ops) == count
    while ctx.in_flight:
        ctx.getevents()
    assert [op.get_result() for op in ops] == [DATA[at * PAGE :][:PAGE] for at in range(count)]
    return ways.reasons()


@needs_seccomp
@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_nothing_is_done_after_what_is_not_taken(kind: str, fd: int) -> None:
    """In a batch a read that could be done at once stands after a write that nobody can do."""

    def submit_both() -> None:
        source, sink = os.pipe()
        os.write(sink, DATA[:PAGE])
        seccomp.refuse(["clone", "clone3"], errno.EAGAIN)  # no threads from now on
        with AIOContext(8) as ctx:
            write = AIOOperation.write(b"data", fd, SIZE)
            read = AIOOperation.read(PAGE, fd if kind == "file" else source)
            with pytest.raises(OSError, match="write of 4 bytes"):
                ctx.submit(write, read)
            assert ctx.in_flight == 0
            assert not read.done
            assert ctx.submit(read) == 1
            assert read.get_result() == DATA[:PAGE]
            assert ctx.statistics()["completed"] == 1

    in_child(submit_both)


def test_what_is_known_of_a_number_ends_with_its_file(
    ctx: AIOContext, fd: int, tmp_path: Path
) -> None:
    number = os.dup(fd)
    evict(number)
    for at in range(0, SIZE, PAGE):
        perform(ctx, AIOOperation.read(PAGE, number, at))
    evict(number)
    perform(ctx, AIOOperation.read(PAGE, number, 0))  # and the next ones would not be tried
    other = make_file(tmp_path / "other")
    try:
        os.dup2(other, number)
        ways = Ways(ctx)
        assert perform(ctx, AIOOperation.read(PAGE, number, 0)) == DATA[:PAGE]
        assert ways.changes() == {"inline": 1}
    finally:
        os.close(other)
        os.close(number)


def test_large_copies_are_left_to_others(ctx: AIOContext) -> None:
    size = 4 << 20
    with file_in_memory(bytes(size)) as fd:
        ways = Ways(ctx)
        assert perform(ctx, AIOOperation.read(size, fd)) == bytes(size)
        assert ways.reasons() == {"large": 1}


def test_a_file_in_memory_is_not_asked(ctx: AIOContext) -> None:
    """Nor does a write wait for its lock, which another process may have: a worker does."""
    with file_in_memory(b"data") as fd:
        ways = Ways(ctx)
        for _ in range(10):
            AIOOperation.read(4, fd).submit(ctx)
            [op] = ctx.getevents()
            assert op.get_result() == b"data"
            op = AIOOperation.write(b"DATA", fd, 4)
            assert perform(ctx, op) == 4
        ways_of_writes = {"threads": 10, "rerouted": 10, "rerouted_write": 10}
        assert ways.changes() == {"inline": 10, **ways_of_writes}


# Flags of the program's


def test_the_programs_own_nowait_is_never_tried_again(ctx: AIOContext, fd: int) -> None:
    def is_refused() -> bool:
        evict(fd)
        ways = Ways(ctx)
        try:
            perform(ctx, AIOOperation.read(PAGE, fd, 2 * PAGE, flags=os.RWF_NOWAIT))
        except BlockingIOError as error:
            return error.errno == errno.EAGAIN
        finally:
            assert "rerouted" not in ways.changes()
        return False

    assert soon(is_refused)


@pytest.mark.parametrize("how", ["O_APPEND", "RWF_APPEND"])
def test_appends_are_never_split(how: str, ctx: AIOContext, tmp_path: Path) -> None:
    mode = os.O_APPEND if how == "O_APPEND" else 0
    fd = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT | mode)
    flags = os.RWF_APPEND if how == "RWF_APPEND" else 0
    sizes = [1, 5000, 300_000, 7, 100_000]
    operations = [
        AIOOperation.write(bytes([65 + number]) * size, fd, 0, 0, flags)
        for number, size in enumerate(sizes)
    ]
    assert ctx.submit(*operations) == len(sizes)
    wait_done(*operations)
    assert [op.get_result() for op in operations] == sizes
    found = (tmp_path / "log").read_bytes()
    os.close(fd)
    assert len(found) == sum(sizes)
    for number, size in enumerate(sizes):
        assert bytes([65 + number]) * size in found


def test_writes_of_a_disk_go_elsewhere(ctx: AIOContext, fd: int) -> None:
    ways = Ways(ctx)
    assert perform(ctx, AIOOperation.write(b"new", fd, 1)) == 3
    assert ways.reasons() == {"write": 1}
    assert os.pread(fd, 5, 0) == DATA[:1] + b"new" + DATA[4:5]


# Pipes, sockets, terminals


class Stream:
    """Two ends: what is written to one is read from the other."""

    def __init__(self, kind: str) -> None:
        self._sockets: tuple[socket.socket, ...] = ()
        if kind == "pipe":
            self.reading, self.writing = os.pipe()
        elif kind == "socket":
            self._sockets = socket.socketpair()
            self.reading, self.writing = (end.fileno() for end in self._sockets)
        elif kind == "terminal":
            self.writing, self.reading = os.openpty()
        else:
            self.reading = self.writing = os.eventfd(0)

    def close(self) -> None:
        if self._sockets:
            for end in self._sockets:
                end.close()
        else:
            for fd in {self.reading, self.writing}:
                os.close(fd)


STREAMS = ["pipe", "socket", "terminal", "eventfd"]


@pytest.mark.parametrize("kind", STREAMS)
def test_a_read_of_an_empty_stream_does_not_block(kind: str, ctx: AIOContext) -> None:
    with contextlib.closing(Stream(kind)) as stream:
        op = AIOOperation.read(8, stream.reading)
        op.submit(ctx)
        assert ctx.getevents(timeout=0.02) == []
        data = (1).to_bytes(8, "little") if kind == "eventfd" else b"seven!\n"
        os.write(stream.writing, data)
        assert ctx.getevents() == [op]
        assert op.get_result() == data


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_write_to_a_full_stream_does_not_block(kind: str, ctx: AIOContext) -> None:
    with contextlib.closing(Stream(kind)) as stream:
        os.set_blocking(stream.writing, False)
        filled = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                filled += os.write(stream.writing, bytes(PAGE))
        os.set_blocking(stream.writing, True)
        op = AIOOperation.write(b"last", stream.writing)
        op.submit(ctx)
        assert ctx.getevents(timeout=0.02) == []
        seen = b""
        while len(seen) < filled + 4:
            seen += os.read(stream.reading, 1 << 20)
        assert ctx.getevents() == [op]
        assert op.get_result() == 4
        assert seen == bytes(filled) + b"last"


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_stream_that_is_ready_is_read_at_once(kind: str, ctx: AIOContext) -> None:
    with contextlib.closing(Stream(kind)) as stream:
        os.write(stream.writing, b"ready")
        ways = Ways(ctx)
        assert perform(ctx, AIOOperation.read(100, stream.reading)) == b"ready"
        assert ways.changes() == {"inline": 1}


@pytest.mark.parametrize("kind", STREAMS)
def test_closing_ends_what_waits_for_a_stream(kind: str) -> None:
    with contextlib.closing(Stream(kind)) as stream:
        with AIOContext(4) as context:
            op = AIOOperation.read(8, stream.reading)
            op.submit(context)
        with pytest.raises(OSError, match=os.strerror(errno.ECANCELED)):
            op.get_result()


# Beside a slow file system: here it answers only after the loop has gone on beating.


async def beat_beside(task: asyncio.Task[Any], fs: HoldingFS, held: int) -> None:
    for _ in range(50):
        await asyncio.sleep(0.001)
        assert not task.done()
    await asyncio.to_thread(fs.wait_held, held)
    fs.unhold()


@pytest.mark.needs_root
@pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])
@pytest.mark.parametrize("kind", ["read", "write", "fsync"])
def test_the_loop_beats_on(kind: str, direct: bool, ctx: AIOContext, fs: HoldingFS) -> None:
    flags = os.O_RDWR | (os.O_DIRECT if direct else 0)
    fd = os.open(fs.create("data", DATA), flags)
    start: dict[str, Callable[[], Any]] = {
        "read": lambda: ctx.read(PAGE, fd, PAGE),
        "write": lambda: ctx.write(memoryview(mmap.mmap(-1, PAGE)), fd),
        "fsync": lambda: ctx.fsync(fd),
    }
    if kind == "fsync":
        os.pwrite(fd, mmap.mmap(-1, PAGE), 0)
    fs.hold()

    async def main() -> Any:
        task = asyncio.ensure_future(start[kind]())
        await beat_beside(task, fs, 1)
        return await task

    result = run(main())
    fs.unhold()
    os.close(fd)
    assert result == {"read": DATA[PAGE:][:PAGE], "write": PAGE, "fsync": None}[kind]


@pytest.mark.needs_root
def test_the_loop_beats_on_beside_many_slow_reads(ctx: AIOContext, fs: HoldingFS) -> None:
    fd = os.open(fs.create("data", DATA), os.O_RDONLY)
    fs.delay(0.1)
    beats = 0

    async def main() -> list[bytes]:
        nonlocal beats
        reads = asyncio.gather(*(ctx.read(PAGE, fd, at) for at in range(0, SIZE, PAGE)))
        while not reads.done():
            await asyncio.sleep(0)
            beats += 1
        return await reads

    assert b"".join(run(main())) == DATA
    assert beats > len(DATA) // PAGE
    os.close(fd)


@pytest.mark.needs_root
def test_a_server_gets_many_reads_at_a_time(ctx: AIOContext, fs: HoldingFS) -> None:
    """Threads make them, for the kernel's threads of io_uring take longer."""
    fd = os.open(fs.create("data", DATA), os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    ways = Ways(ctx)
    fs.hold()
    reads = [AIOOperation.read(PAGE, fd, page * PAGE) for page in range(4)]
    for op in reads:
        op.submit(ctx)
    fs.wait_held(len(reads))
    fs.unhold()
    wait_done(*reads)
    assert b"".join(op.get_result() for op in reads) == DATA[: 4 * PAGE]
    assert ways.changes() == {"threads": 4, "rerouted": 4, "rerouted_unsupported": 4}
    os.close(fd)


@pytest.mark.needs_root
@pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])
def test_errors_of_a_file_system_arrive(direct: bool, ctx: AIOContext, fs: HoldingFS) -> None:
    fd = os.open(fs.create("data", DATA), os.O_RDONLY | (os.O_DIRECT if direct else 0))
    fs.fail(errno.EIO)

    async def main() -> None:
        for at in (0, PAGE):
            with pytest.raises(OSError, match=f"read of {PAGE} bytes at offset {at} of") as caught:
                await ctx.read(PAGE, fd, at)
            assert caught.value.errno == errno.EIO

    run(main())
    os.close(fd)


@pytest.mark.needs_root
def test_a_sync_that_is_awaited_after_a_write_covers_it(ctx: AIOContext, fs: HoldingFS) -> None:
    fd = os.open(fs.create("data", DATA), os.O_RDWR)
    before = len(fs.log())

    async def main() -> None:
        await ctx.write(b"covered", fd, PAGE)
        await ctx.fsync(fd)

    run(main())
    kinds = [request.kind for request in fs.log()[before:] if request.kind != "read"]
    assert kinds[-1] == "fsync"
    assert "write" in kinds[:-1]
    assert fs.contents("data")[PAGE:][:7] == b"covered"
    os.close(fd)
