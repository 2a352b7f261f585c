# SPDX-License-Identifier: Apache-2.0
"""`auto` does not wait inside `submit`, on files that are made to make it wait.

The judge is how often the kernel says that this thread waited (voluntary context switches) inside
the calls of ours. How long these calls take does not count.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from linux_aio import AIOContext, AIOOperation, aligned_buffer, direct_alignment
from support.forked import report_of, start_child
from support.fusefs import HoldingFS, fs_available, mounted
from support.mounts import (
    SMALLEST_MIB,
    loop_mount,
    loop_mount_reason,
    overlay_mount,
    overlay_mount_reason,
    tmpfs_mount,
    tmpfs_mount_reason,
)
from support.odd_extents import make_compressed, make_fragmented
from support.operations import wait_done
from support.slow_disk import throttled, throttling_reason

pytest_plugins = ["support.fixtures"]

pytestmark = [pytest.mark.engine("auto"), pytest.mark.needs_root]

PAGE = mmap.PAGESIZE


@pytest.fixture
def ctx() -> Iterator[AIOContext]:
    with AIOContext(64) as context:
        yield context


@pytest.fixture(autouse=True)
def _before_other_programs() -> Iterator[None]:
    """Threads of this process, and those that they start, run before those of other programs.

    Where others keep our I/O thread from running while it has the lock of the worker pool, `submit`
    waits for it. Beside three busy loops on two processors this happens some fifty times in a row.
    """
    before = os.getpriority(os.PRIO_PROCESS, 0)
    set_niceness(-20)
    yield
    set_niceness(before)


def set_niceness(niceness: int) -> None:
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended, or may not
            os.setpriority(os.PRIO_PROCESS, int(thread.name), niceness)


def skip_for(reason: str | None) -> None:
    if reason is not None:
        pytest.skip(reason)


def waits() -> int:
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


class Judge:
    """Counts how often this thread waited inside the calls that it is given."""

    def __init__(self) -> None:
        self.waits = 0
        self.calls = 0

    def __call__(self, call: Callable[..., Any], *arguments: Any) -> Any:
        before = waits()
        try:
            return call(*arguments)
        finally:
            self.waits += waits() - before
            self.calls += 1

    def assert_fair(self, one_in: int = 200) -> None:
        """Some may be for a lock that a thread of ours has just then, on a busy machine."""
        assert self.waits <= 3 + self.calls // one_in, f"{self.waits} waits in {self.calls} calls"


def read_all(ctx: AIOContext, ops: list[AIOOperation[Any]], at_once: int = 32) -> Judge:
    """Submit reads one by one, up to so many in flight; tell how often that waited."""
    judge = Judge()
    ctx.submit(AIOOperation.fsync(ops[0].fileno))  # a first use starts threads
    ctx.getevents()
    for number, op in enumerate(ops):
        if number >= at_once:
            ctx.getevents(1)
        judge(op.submit, ctx)
    while ctx.in_flight:
        ctx.getevents(1)
    return judge


def drop_caches() -> None:
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def pages_of(fd: int, data: bytes) -> list[AIOOperation[Any]]:
    order = list(range(len(data) // PAGE))
    random.Random(1).shuffle(order)
    return [AIOOperation.read(PAGE, fd, page * PAGE) for page in order]


def assert_exact(ops: list[AIOOperation[Any]], data: bytes) -> None:
    for op in ops:
        assert op.get_result() == data[op.offset :][: op.nbytes]


@pytest.mark.parametrize("flags", [0, os.O_DIRECT], ids=["buffered", "direct"])
def test_a_fragmented_file_whose_extents_are_not_in_memory(
    flags: int, ctx: AIOContext, tmp_path: Path
) -> None:
    skip_for(loop_mount_reason("ext4"))
    with loop_mount(tmp_path, "ext4", 64) as folder:
        data = make_fragmented(folder / "file", 1000)
        fd = os.open(folder / "file", os.O_RDONLY | flags)
        try:
            drop_caches()
            ops = pages_of(fd, data)
            judge = read_all(ctx, ops)
            assert_exact(ops, data)
            judge.assert_fair()
        finally:
            os.close(fd)


@pytest.mark.parametrize("flags", [0, os.O_DIRECT], ids=["buffered", "direct"])
def test_a_disk_that_is_held_back(flags: int, ctx: AIOContext, tmp_path: Path) -> None:
    skip_for(loop_mount_reason("ext4"))
    with loop_mount(tmp_path, "ext4", 64) as folder:
        skip_for(throttling_reason(folder))
        data = os.urandom(1000 * PAGE)
        (folder / "file").write_bytes(data)
        fd = os.open(folder / "file", os.O_RDONLY | flags)
        try:
            drop_caches()
            with throttled(folder, 1000):
                ops = pages_of(fd, data)
                judge = read_all(ctx, ops)
            assert_exact(ops, data)
            judge.assert_fair()
        finally:
            os.close(fd)


def test_direct_reads_of_a_journaled_file(ctx: AIOContext, tmp_path: Path) -> None:
    skip_for(loop_mount_reason("ext4"))
    with loop_mount(tmp_path, "ext4", 32, "data=journal") as folder:
        data = os.urandom(1000 * PAGE)
        (folder / "file").write_bytes(data)
        fd = os.open(folder / "file", os.O_RDONLY | os.O_DIRECT)
        try:
            skip_for(None if direct_alignment(fd) == (1, 1) else "the kernel has no DIOALIGN")
            drop_caches()
            ops = pages_of(fd, data)
            judge = read_all(ctx, ops)
            assert_exact(ops, data)
            judge.assert_fair()
        finally:
            os.close(fd)


def test_direct_reads_of_a_compressed_file(ctx: AIOContext, tmp_path: Path) -> None:
    skip_for(loop_mount_reason("btrfs"))
    with loop_mount(tmp_path, "btrfs", SMALLEST_MIB["btrfs"]) as folder:
        data = make_compressed(folder / "file", 8 * 1000)
        fd = os.open(folder / "file", os.O_RDONLY | os.O_DIRECT)
        try:
            drop_caches()
            ops = pages_of(fd, data)
            judge = read_all(ctx, ops)
            assert_exact(ops, data)
            judge.assert_fair()
        finally:
            os.close(fd)


@pytest.mark.parametrize("kind", ["tmpfs", "unlinked", "memfd"])
def test_writes_behind_the_lock_of_a_file_in_memory(
    ctx: AIOContext, tmp_path: Path, kind: str
) -> None:
    """A file without a name may be shared all the same."""
    skip_for(tmpfs_mount_reason())
    with tmpfs_mount(tmp_path / "tmpfs", 300 << 10) as folder, contextlib.ExitStack() as stack:
        path = folder / "file"
        path.write_bytes(b"x" * PAGE)
        if kind != "tmpfs":
            shared = os.memfd_create("file") if kind == "memfd" else os.open(path, os.O_RDWR)
            stack.callback(os.close, shared)
            path.unlink()
            path = Path(f"/proc/{os.getpid()}/fd/{shared}")
        holder = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import os, sys\n"
                "fd = os.open(sys.argv[1], os.O_RDWR)\n"
                "for _ in range(20):\n"
                "    os.posix_fallocate(fd, 0, 256 << 20)\n"
                "    os.ftruncate(fd, 4096)\n",
                str(path),
            ]
        )
        fd = os.open(path, os.O_RDWR)
        try:
            judge = Judge()
            while holder.poll() is None:
                ops = [AIOOperation.write(b"y" * 100, fd, 100 * i) for i in range(32)]
                for op in ops:
                    judge(op.submit, ctx)
                for op in ops:
                    wait_done(op)
                    assert op.get_result() == 100
            assert os.pread(fd, 3200, 0) == b"y" * 3200
            assert ctx.statistics()["threads"] == judge.calls
            judge.assert_fair(one_in=20)  # to wake a worker takes a lock of the C library's
        finally:
            holder.wait()
            os.close(fd)


@contextlib.contextmanager
def stopped(fs: HoldingFS, seconds: float = 0.4) -> Iterator[None]:
    """The server of the file system stands still for a while, whatever this process does."""
    pid = fs.server_pid
    os.kill(pid, signal.SIGSTOP)
    waker = subprocess.Popen(["sh", "-c", f"sleep {seconds}; kill -CONT {pid}"])
    try:
        yield
    finally:
        waker.wait()
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("kind", ["read", "readinto", "poll", "fsync", "read at once"])
def test_a_server_that_stands_still(kind: str, ctx: AIOContext, fs: HoldingFS) -> None:
    data = os.urandom(4 * PAGE)
    fd = os.open(fs.create("data", data), os.O_RDWR | os.O_DIRECT)
    buffer = aligned_buffer(PAGE)
    make: dict[str, Callable[[], AIOOperation[Any]]] = {
        "read": lambda: AIOOperation.read(PAGE, fd, 1),
        "readinto": lambda: AIOOperation.readinto(buffer, fd),
        "poll": lambda: AIOOperation.poll(fd, select.POLLIN),
        "fsync": lambda: AIOOperation.fsync(fd),
        "read at once": lambda: AIOOperation.read(PAGE, fd),
    }
    try:
        if kind != "read at once":
            first = make[kind]()
            first.submit(ctx)
            wait_done(first)
        op = make[kind]()
        judge = Judge()
        with stopped(fs):
            judge(op.submit, ctx)
        wait_done(op)
        expected = {
            "read": data[1 : PAGE + 1],
            "readinto": PAGE,
            "poll": select.POLLIN,
            "fsync": None,
            "read at once": data[:PAGE],
        }
        assert op.get_result() == expected[kind]
        judge.assert_fair()
    finally:
        os.close(fd)


def test_cached_data_of_a_server_that_stands_still(ctx: AIOContext, tmp_path: Path) -> None:
    """The kernel asks most servers whether the file has changed, and waits for the answer."""
    skip_for(fs_available())
    data = os.urandom(8 * PAGE)
    with mounted(tmp_path, checks_cache=True) as fs:
        fd = os.open(fs.create("data", data), os.O_RDONLY)
        try:
            for _ in range(3):
                ops = pages_of(fd, data)
                read_all(ctx, ops)
                assert_exact(ops, data)
            ops = pages_of(fd, data)
            judge = Judge()
            with stopped(fs):
                judge(ctx.submit, *ops)
            for op in ops:
                wait_done(op)
            assert_exact(ops, data)
            judge.assert_fair()
        finally:
            os.close(fd)


def test_memory_that_is_mapped_from_a_slow_file(
    ctx: AIOContext, fs: HoldingFS, tmp_path: Path
) -> None:
    pages = 16
    data = os.urandom(pages * PAGE)
    fd = os.open(fs.create("mapped", data), os.O_RDWR)
    target = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT)
    os.write(target, bytes(pages * PAGE))
    try:
        with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as mapped:
            fs.delay(0.02)
            judge = Judge()
            for page in range(pages):
                op: AIOOperation[Any] = AIOOperation.write(
                    memoryview(mapped)[page * PAGE :][:PAGE], target, page * PAGE
                )
                judge(op.submit, ctx)
                wait_done(op)
                assert op.get_result() == PAGE
                del op
            assert os.pread(target, len(data), 0) == data
            judge.assert_fair()
    finally:
        fs.reset()
        os.close(fd)
        os.close(target)


@pytest.mark.parametrize("kind", ["anonymous", "shared", "memfd"])
def test_memory_that_is_in_memory_is_read_into_at_once(
    kind: str, ctx: AIOContext, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * PAGE)
    with contextlib.ExitStack() as stack:
        number = -1
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        if kind == "shared":
            flags = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS
        if kind == "memfd":
            number = os.memfd_create("buffer")
            stack.callback(os.close, number)
            os.truncate(number, PAGE)
            flags = mmap.MAP_SHARED
        buffer = stack.enter_context(mmap.mmap(number, PAGE, flags))
        with path.open("rb", buffering=0) as file:
            op = AIOOperation.readinto(buffer, file)
            assert op.submit(ctx) == 1
            wait_done(op)
            assert op.get_result() == PAGE
            del op
        assert buffer[:] == b"x" * PAGE
    assert ctx.statistics()["threads"] == 0


@pytest.fixture
def overlay_fd(tmp_path: Path) -> Iterator[int]:
    """A file on overlayfs, of 64 pages of random data, which is cached."""
    skip_for(overlay_mount_reason())
    with overlay_mount(tmp_path) as (lower, merged):
        (lower / "file").write_bytes(os.urandom(64 * PAGE))
        fd = os.open(merged / "file", os.O_RDONLY)
        try:
            os.pread(fd, 64 * PAGE, 0)
            yield fd
        finally:
            os.close(fd)


def test_cached_reads_of_an_overlay_stay_with_the_caller(ctx: AIOContext, overlay_fd: int) -> None:
    data = os.pread(overlay_fd, 64 * PAGE, 0)
    ops = pages_of(overlay_fd, data)
    judge = read_all(ctx, ops)
    assert_exact(ops, data)
    judge.assert_fair()
    assert ctx.statistics()["inline"] > len(ops) // 2
    drop_caches()
    ops = pages_of(overlay_fd, data)
    judge = read_all(ctx, ops)
    assert_exact(ops, data)
    judge.assert_fair(one_in=10)  # several workers share the lock


def test_many_reads_of_an_overlay_at_a_time_go_to_threads(ctx: AIOContext, overlay_fd: int) -> None:
    data = os.pread(overlay_fd, 64 * PAGE, 0)
    judge = Judge()
    for _ in range(2):
        ops = pages_of(overlay_fd, data)
        assert judge(ctx.submit, *ops) == len(ops)
        for op in ops:
            wait_done(op)
        assert_exact(ops, data)
        drop_caches()
    assert ctx.statistics()["threads"] == 2 * len(ops)
    judge.assert_fair()


def test_no_file_of_an_overlay_is_mapped_when_its_read_is_over(
    ctx: AIOContext, tmp_path: Path
) -> None:
    """Another process, which the eventfd wakes, finds no mapping that keeps the file in use."""
    skip_for(overlay_mount_reason())
    parent = os.getpid()
    rounds = 20
    woken = os.eventfd(0, os.EFD_CLOEXEC)
    looked, tell = os.pipe()

    def look() -> int:
        found = 0
        for _ in range(rounds):
            os.eventfd_read(woken)
            found += b"/looked-for" in Path(f"/proc/{parent}/maps").read_bytes()
            os.write(tell, b".")
        return found

    with overlay_mount(tmp_path) as (lower, merged):
        data = os.urandom(64 * PAGE)
        (lower / "looked-for").write_bytes(data)
        (tmp_path / "other").write_bytes(data)
        child = start_child(look)
        os.close(tell)
        fd = os.open(merged / "looked-for", os.O_RDONLY)
        os.pread(fd, len(data), 0)
        other = os.open(tmp_path / "other", os.O_RDONLY)
        for _ in range(rounds):
            first = AIOOperation.readinto(bytearray(PAGE), fd)
            first.prepare(woken)
            rest = [AIOOperation.readinto(bytearray(16 * PAGE), other) for _ in range(7)]
            assert ctx.submit(first, *rest) == 8
            assert os.read(looked, 1) == b"."
            for op in (first, *rest):
                wait_done(op)
            ctx.getevents(min_nr=0)
        assert ctx.statistics()["inline"] > rounds
        os.close(fd)
        os.close(other)
        assert report_of(child) == 0
    os.close(woken)
    os.close(looked)


def test_many_large_cached_reads_at_once(tmp_path: Path) -> None:
    """What takes longer than a moment is done by threads."""
    size = 256 << 10
    path = tmp_path / "file"
    data = os.urandom(16 * size)
    path.write_bytes(data)
    with path.open("rb", buffering=0) as file, AIOContext(600) as ctx:
        os.pread(file.fileno(), len(data), 0)
        ops = [AIOOperation.read(size, file, i % 16 * size) for i in range(600)]
        assert ctx.submit(*ops) == len(ops)
        for op in ops:
            wait_done(op)
        assert_exact(ops, data)
        assert ctx.statistics()["threads"] > 300


def test_a_direct_read_far_beyond_the_end(ctx: AIOContext, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 11_000)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        for offset, nbytes in ((0, 1 << 30), (4096, 1 << 30), (10_999, 64 << 20), (11_000, 9)):
            op = AIOOperation.read(nbytes, fd, offset)
            op.submit(ctx)
            wait_done(op)
            assert op.get_result() == b"x" * (11_000 - offset)
    finally:
        os.close(fd)
