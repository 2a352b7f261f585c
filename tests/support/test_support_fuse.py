# SPDX-License-Identifier: Apache-2.0
"""The file systems that other tests use do what a test commands, and clean up."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from support.fusefs import HoldingFS, fs_available, mounted
from support.mounts import (
    SMALLEST_MIB,
    loop_mount,
    loop_mount_reason,
    tmpfs_mount,
    tmpfs_mount_reason,
)
from support.paths import TESTS

pytestmark = pytest.mark.engine_independent

needs_fuse = pytest.mark.usefixtures("fuse")

PAGE = 4096


# Kernel AIO by bare system calls: the file system must not be tested by linux_aio, which it tests.

SYSCALLS = {  # io_setup, io_destroy, io_getevents, io_submit
    "x86_64": (206, 207, 208, 209),
    "aarch64": (0, 1, 4, 2),
}

needs_aio = pytest.mark.skipif(
    platform.machine() not in SYSCALLS or sys.maxsize < 2**32,
    reason="the numbers of the AIO system calls are not known here",
)


class Iocb(ctypes.Structure):
    """struct iocb of <linux/aio_abi.h>, on a little-endian machine."""

    _fields_ = [
        ("data", ctypes.c_uint64),
        ("key", ctypes.c_uint32),
        ("rw_flags", ctypes.c_uint32),
        ("opcode", ctypes.c_uint16),
        ("reqprio", ctypes.c_int16),
        ("fildes", ctypes.c_uint32),
        ("buf", ctypes.c_uint64),
        ("nbytes", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("reserved", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("resfd", ctypes.c_uint32),
    ]


class IoEvent(ctypes.Structure):
    """struct io_event."""

    _fields_ = [
        ("data", ctypes.c_uint64),
        ("obj", ctypes.c_uint64),
        ("res", ctypes.c_int64),
        ("res2", ctypes.c_int64),
    ]


class Timespec(ctypes.Structure):
    """struct timespec of 64-bit machines."""

    _fields_ = [("seconds", ctypes.c_int64), ("nanoseconds", ctypes.c_int64)]


class Aio:
    """A context of kernel AIO."""

    PREAD, PWRITE = 0, 1

    def __init__(self, size: int = 128) -> None:
        self._numbers = SYSCALLS[platform.machine()]
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.syscall.restype = ctypes.c_long
        self._context = ctypes.c_ulong(0)
        self._call(0, ctypes.c_long(size), ctypes.byref(self._context))

    def submit(self, opcode: int, fd: int, buffer: mmap.mmap, offset: int = 0) -> None:
        """Submit one transfer of the whole buffer; `offset` is its event's data, too."""
        address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
        iocb = Iocb(
            data=offset, opcode=opcode, fildes=fd, buf=address, nbytes=len(buffer), offset=offset
        )
        array = (ctypes.c_void_p * 1)(ctypes.addressof(iocb))
        assert self._call(3, self._context, ctypes.c_long(1), array) == 1

    def events(self, at_least: int, timeout: float) -> list[tuple[int, int]]:
        """(offset, result) of what has completed, in that order."""
        space = (IoEvent * 128)()
        seconds, rest = divmod(timeout, 1)
        wait = Timespec(int(seconds), int(rest * 1e9))
        count = self._call(
            2,
            self._context,
            ctypes.c_long(at_least),
            ctypes.c_long(128),
            space,
            ctypes.byref(wait),
        )
        return [(event.data, event.res) for event in space[:count]]

    def close(self) -> None:
        self._call(1, self._context)

    def _call(self, which: int, *arguments: object) -> int:
        result = int(self._libc.syscall(ctypes.c_long(self._numbers[which]), *arguments))
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result


def page(byte: bytes, count: int = 1) -> mmap.mmap:
    """Memory that is aligned for direct I/O."""
    memory = mmap.mmap(-1, count * PAGE)
    memory[:] = byte * len(memory)
    return memory


@pytest.fixture
def fuse() -> None:
    if reason := fs_available():
        pytest.skip(reason)


@pytest.fixture
def fs(fuse: None, tmp_path: Path) -> Iterator[HoldingFS]:
    with mounted(tmp_path) as file_system:
        yield file_system


@pytest.fixture
def aio() -> Iterator[Aio]:
    with contextlib.closing(Aio()) as context:
        yield context


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as executor:
        yield executor


@contextlib.contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def direct_pread(path: Path, size: int = PAGE) -> bytes:
    """Read from the start of a file, past the page cache."""
    memory = page(b".", size // PAGE)
    with opened(path, os.O_RDONLY | os.O_DIRECT) as fd:
        count = os.preadv(fd, [memory], 0)
    return memory[:count]


def mount_points() -> list[str]:
    return [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]


def wait_until(condition: Callable[[], bool], timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """Whether a process has ended. A zombie has."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


# The plain file system


@needs_fuse
def test_files_made_by_the_test_are_read_through_the_mount(fs: HoldingFS) -> None:
    data = os.urandom(3 * PAGE + 17)
    path = fs.create("data", data)
    assert path.read_bytes() == data
    assert path.stat().st_size == len(data)
    assert os.listdir(fs.mountpoint) == ["data"]


@needs_fuse
def test_files_written_through_the_mount_are_seen_by_the_test(fs: HoldingFS) -> None:
    data = os.urandom(3 << 20)
    fs.path("new").write_bytes(data)
    with fs.path("new").open("ab") as file:
        file.write(b"tail")
    assert fs.contents("new") == data + b"tail"


@needs_fuse
def test_open_can_truncate_and_truncate_can_extend(fs: HoldingFS) -> None:
    path = fs.create("data", b"abcdef")
    os.truncate(path, 3)
    os.truncate(path, 5)
    assert path.read_bytes() == fs.contents("data") == b"abc\0\0"
    path.open("wb").close()
    assert fs.contents("data") == b""


@needs_fuse
def test_attributes_can_be_set(fs: HoldingFS) -> None:
    path = fs.create("data", b"")
    path.chmod(0o600)
    os.chown(path, 12, 34)
    os.utime(path, ns=(1_000_000_001, 2_000_000_002))
    status = path.stat()
    assert (status.st_mode, status.st_uid, status.st_gid) == (0o100600, 12, 34)
    assert (status.st_atime_ns, status.st_mtime_ns) == (1_000_000_001, 2_000_000_002)


@needs_fuse
def test_a_file_without_a_name_lives_until_it_is_closed(fs: HoldingFS) -> None:
    path = fs.create("data", b"abc")
    with path.open("rb") as file:
        path.unlink()
        assert not path.exists()
        assert file.read() == b"abc"
    assert os.listdir(fs.mountpoint) == []
    with pytest.raises(FileNotFoundError):
        fs.contents("data")


@needs_fuse
def test_a_long_directory_is_listed_whole(fs: HoldingFS) -> None:
    names = {f"a file with quite a long name, the {number}th" for number in range(300)}
    for name in names:
        fs.create(name, b"")
    assert set(os.listdir(fs.mountpoint)) == names


@needs_fuse
def test_a_file_larger_than_the_server_wants_to_keep_is_refused(fs: HoldingFS) -> None:
    path = fs.create("data", b"")
    with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
        os.truncate(path, 1 << 40)
    assert fs.contents("data") == b""


@needs_fuse
def test_the_log_has_the_requests_in_order(fs: HoldingFS) -> None:
    path = fs.create("data", bytes(2 * PAGE))
    memory = page(b"x")
    with opened(path, os.O_RDWR | os.O_DIRECT) as fd:
        os.pwritev(fd, [memory], PAGE)
        os.preadv(fd, [memory], 0)
        os.fsync(fd)
    assert fs.log() == [("write", PAGE, PAGE), ("read", 0, PAGE), ("fsync", 0, 0)]


@needs_fuse
def test_without_the_page_cache_every_read_arrives_as_it_is(tmp_path: Path) -> None:
    with mounted(tmp_path, direct_io=True) as fs:
        path = fs.create("data", b"0123456789")
        with opened(path, os.O_RDONLY) as fd:
            assert os.pread(fd, 3, 4) == b"456"
        assert fs.log() == [("read", 4, 3)]


# In flight


@needs_fuse
@needs_aio
def test_a_direct_read_is_in_flight_until_it_is_released(fs: HoldingFS, aio: Aio) -> None:
    path = fs.create("data", b"a" * PAGE)
    fs.hold()
    memory = page(b".")
    with opened(path, os.O_RDONLY | os.O_DIRECT) as fd:
        aio.submit(Aio.PREAD, fd, memory)  # would never return if it were not asynchronous
        assert fs.held() == 1
        assert aio.events(1, timeout=0.1) == []
        assert memory[:] == b"." * PAGE
        assert fs.release() == 1
        assert aio.events(1, timeout=10) == [(0, PAGE)]
    assert memory[:] == b"a" * PAGE


@needs_fuse
@needs_aio
def test_a_direct_write_is_in_flight_until_it_is_released(fs: HoldingFS, aio: Aio) -> None:
    path = fs.create("data", b"a" * PAGE)
    fs.hold()
    with opened(path, os.O_RDWR | os.O_DIRECT) as fd:
        aio.submit(Aio.PWRITE, fd, page(b"b"))
        assert aio.events(1, timeout=0.1) == []
        assert fs.contents("data") == b"a" * PAGE
        fs.release()
        assert aio.events(1, timeout=10) == [(0, PAGE)]
    assert fs.contents("data") == b"b" * PAGE


@needs_fuse
@needs_aio
def test_a_held_read_gets_the_data_of_the_moment_it_is_released(fs: HoldingFS, aio: Aio) -> None:
    path = fs.create("data", b"a" * PAGE)
    fs.hold()
    memory = page(b".")
    with opened(path, os.O_RDONLY | os.O_DIRECT) as fd:
        aio.submit(Aio.PREAD, fd, memory)
        assert fs.held() == 1
        fs.create("data", b"b" * PAGE)
        fs.release()
        aio.events(1, timeout=10)
        assert memory[:] == b"b" * PAGE

        aio.submit(Aio.PREAD, fd, memory)
        assert fs.held() == 1
        fs.fill_reads(0x7E)
        fs.release()
        aio.events(1, timeout=10)
        assert memory[:] == b"\x7e" * PAGE


@needs_fuse
@needs_aio
def test_held_requests_are_released_in_the_order_asked_for(fs: HoldingFS, aio: Aio) -> None:
    number = 100
    path = fs.create("data", bytes(number * PAGE))
    fs.hold()
    memory = [page(b".") for _ in range(number)]
    with opened(path, os.O_RDONLY | os.O_DIRECT) as fd:
        for index in range(number):
            aio.submit(Aio.PREAD, fd, memory[index], offset=index * PAGE)
        assert fs.held() == number
        offsets = [index * PAGE for index in range(number)]

        assert fs.release(2) == 2
        assert [offset for offset, _ in aio.events(2, timeout=10)] == offsets[:2]
        assert fs.release(3, order="lifo") == 3
        assert [offset for offset, _ in aio.events(3, timeout=10)] == offsets[:-4:-1]
        assert fs.held() == number - 5
        assert fs.unhold() == number - 5
        assert [offset for offset, _ in aio.events(number - 5, timeout=10)] == offsets[2:-3]


@needs_fuse
def test_only_the_kinds_asked_for_are_held(fs: HoldingFS, pool: ThreadPoolExecutor) -> None:
    path = fs.create("data", bytes(PAGE))
    fs.hold(reads=False, writes=False)
    with opened(path, os.O_RDWR) as fd:
        os.pwrite(fd, b"abc", 0)
        synced = pool.submit(os.fsync, fd)
        fs.wait_held(1)
        assert direct_pread(path)[:3] == b"abc"
        assert not synced.done()
        fs.unhold()
        synced.result(timeout=10)


@needs_fuse
def test_waiting_for_requests_that_do_not_come_times_out(fs: HoldingFS) -> None:
    fs.hold()
    with pytest.raises(TimeoutError, match="0 requests held"):
        fs.wait_held(1, timeout=0.05)


@needs_fuse
def test_a_request_held_for_too_long_ends_in_an_error(tmp_path: Path) -> None:
    with mounted(tmp_path, patience=0.1) as fs:
        path = fs.create("data", bytes(PAGE))
        fs.hold()
        with pytest.raises(TimeoutError):
            direct_pread(path)


@needs_fuse
def test_a_signal_ends_an_fsync_that_blocks(fs: HoldingFS) -> None:
    path = fs.create("data", bytes(PAGE))
    fs.hold()

    def give_up(_signum: int, _frame: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, give_up)
    try:
        with opened(path, os.O_RDWR) as fd:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(KeyboardInterrupt):
                os.fsync(fd)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert fs.held() == 0


# Answers that are late, wrong or short


@needs_fuse
@needs_aio
def test_delayed_requests_overlap(fs: HoldingFS, aio: Aio) -> None:
    delay, number = 0.3, 20
    path = fs.create("data", bytes(number * PAGE))
    fs.delay(delay)
    memory = [page(b".") for _ in range(number)]
    with opened(path, os.O_RDONLY | os.O_DIRECT) as fd:
        start = time.monotonic()
        for index in range(number):
            aio.submit(Aio.PREAD, fd, memory[index], offset=index * PAGE)
        assert len(aio.events(number, timeout=10)) == number
        assert delay <= time.monotonic() - start < number * delay / 2


@needs_fuse
def test_failures_are_counted_and_of_the_kind_asked_for(fs: HoldingFS) -> None:
    path = fs.create("data", b"a" * PAGE)
    fs.fail(errno.EIO, count=1, kinds=["read"])
    with opened(path, os.O_RDWR) as fd:
        os.fsync(fd)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            direct_pread(path)
        assert direct_pread(path) == b"a" * PAGE

        fs.fail(errno.ENOSPC)
        for _ in range(2):
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                os.fsync(fd)
        fs.reset()
        os.fsync(fd)


@needs_fuse
def test_an_errno_that_the_kernel_would_not_take_is_refused(fs: HoldingFS) -> None:
    for number in (0, -5, 512):
        with pytest.raises(ValueError, match="no errno"):
            fs.fail(number)


@needs_fuse
@needs_aio
def test_reads_can_be_cut_short(fs: HoldingFS, aio: Aio) -> None:
    path = fs.create("data", b"a" * 2 * PAGE)
    fs.short(PAGE, count=1)
    with opened(path, os.O_RDONLY | os.O_DIRECT) as fd:
        for result in (PAGE, 2 * PAGE):
            memory = page(b".", 2)
            aio.submit(Aio.PREAD, fd, memory)
            assert aio.events(1, timeout=10) == [(0, result)]
            assert memory[:] == (b"a" * result).ljust(2 * PAGE, b".")


@needs_fuse
def test_writes_past_the_page_cache_can_be_cut_short(tmp_path: Path) -> None:
    with mounted(tmp_path, direct_io=True) as fs:
        path = fs.create("data", b"aaaaa")
        fs.short(2)
        with opened(path, os.O_RDWR) as fd:
            assert os.pwrite(fd, b"bbbbb", 0) == 2
            assert os.pread(fd, 5, 1) == b"ba"
        assert fs.contents("data") == b"bbaaa"


# Cleaning up


def fail() -> None:
    raise ZeroDivisionError


@needs_fuse
def test_nothing_is_left_behind(tmp_path: Path) -> None:
    with mounted(tmp_path) as fs:
        assert str(fs.mountpoint) in mount_points()
        assert not is_gone(fs.server_pid)
    assert str(fs.mountpoint) not in mount_points()
    assert is_gone(fs.server_pid)
    assert list(tmp_path.iterdir()) == []
    fs.unmount()  # again does no harm


@needs_fuse
def test_nothing_is_left_behind_by_a_test_that_failed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), mounted(tmp_path) as fs:
        fail()
    assert str(fs.mountpoint) not in mount_points()
    assert is_gone(fs.server_pid)
    assert list(tmp_path.iterdir()) == []


@needs_fuse
def test_what_is_held_at_the_end_is_answered(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with mounted(tmp_path) as fs:
        path = fs.create("data", b"a" * PAGE)
        fs.hold()
        held: Future[bytes] = pool.submit(direct_pread, path)
        fs.wait_held(1)
    assert held.result(timeout=10) == b"a" * PAGE


@needs_fuse
def test_a_file_may_stay_open(tmp_path: Path) -> None:
    with mounted(tmp_path) as fs:
        fd = os.open(fs.create("data", b"abc"), os.O_RDWR)
        os.write(fd, b"ABC")
    with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)):
        os.fsync(fd)
    os.close(fd)


@needs_fuse
def test_two_file_systems_do_not_meet(tmp_path: Path) -> None:
    with mounted(tmp_path) as first, mounted(tmp_path) as second:
        first.create("data", b"first")
        second.create("data", b"second")
        first.hold()
        assert second.path("data").read_bytes() == b"second"


@needs_fuse
def test_who_waits_gets_an_error_when_the_server_is_killed(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    with mounted(tmp_path) as fs:
        path = fs.create("data", bytes(PAGE))
        fs.hold()
        held = pool.submit(direct_pread, path)
        fs.wait_held(1)
        os.kill(fs.server_pid, signal.SIGKILL)
        with pytest.raises(OSError, match="abort"):
            held.result(timeout=10)
    assert str(fs.mountpoint) not in mount_points()


@needs_fuse
def test_a_forked_child_leaves_it_mounted(tmp_path: Path) -> None:
    with mounted(tmp_path) as fs:
        path = fs.create("data", b"abc")
        child = os.fork()
        if child == 0:
            fs.unmount()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert path.read_bytes() == b"abc"


@needs_fuse
def test_the_thread_that_mounted_may_end(tmp_path: Path) -> None:
    mounts: list[HoldingFS] = []
    stack = contextlib.ExitStack()
    thread = threading.Thread(target=lambda: mounts.append(stack.enter_context(mounted(tmp_path))))
    with stack:
        thread.start()
        thread.join()
        assert mounts[0].create("data", b"abc").read_bytes() == b"abc"


KILLED_PROCESS = """
import os, sys, threading, time
from pathlib import Path
from support.fusefs import mounted
from support.test_support_fuse import Aio, direct_pread, page

def report():
    fs.wait_held(1)
    print(fs.server_pid, fs.mountpoint, flush=True)

with mounted(Path(sys.argv[1])) as fs:
    path = fs.create("data", bytes(4096))
    fs.hold()
    threading.Thread(target=report).start()
    if sys.argv[2] == "blocked":
        direct_pread(path)
    else:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
        Aio().submit(Aio.PREAD, fd, page(b"."))
        time.sleep(600)
"""


# A process with requests in flight waits for them while it ends, and nothing reports yet that it
# ends. A process that is blocked can't even begin to end.
@needs_fuse
@needs_aio
@pytest.mark.parametrize("state", ["in flight", "blocked"])
def test_a_killed_process_takes_its_mount_with_it(tmp_path: Path, state: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED_PROCESS, str(tmp_path), state],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        text=True,
    )
    with process:
        assert process.stdout is not None
        server, mountpoint = process.stdout.readline().split()
        assert mountpoint in mount_points()
        process.kill()
        process.wait(timeout=20)
    wait_until(lambda: is_gone(int(server)))
    assert mountpoint not in mount_points()


# The real file systems of support.mounts


def backing_files() -> list[str]:
    """The images of all loop devices."""
    found = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(FileNotFoundError):  # another program's, detached meanwhile
            found.append(path.read_text())
    return found


@pytest.mark.xdist_group("loop devices")
@pytest.mark.parametrize("fstype", sorted(SMALLEST_MIB))
def test_a_loop_mount_is_of_its_kind_and_goes_away(tmp_path: Path, fstype: str) -> None:
    if reason := loop_mount_reason(fstype):
        pytest.skip(reason)
    with loop_mount(tmp_path, fstype, 320) as folder:
        assert f" {folder} {fstype} " in Path("/proc/self/mounts").read_text()
        assert str(tmp_path) in "".join(backing_files())
        path = folder / "data"
        path.write_bytes(b"a" * PAGE)
        assert direct_pread(path) == b"a" * PAGE
    assert str(folder) not in mount_points()
    assert list(tmp_path.iterdir()) == []
    wait_until(lambda: str(tmp_path) not in "".join(backing_files()))


@pytest.mark.xdist_group("loop devices")
def test_a_loop_mount_goes_away_when_a_test_failed(tmp_path: Path) -> None:
    if reason := loop_mount_reason("ext4"):
        pytest.skip(reason)
    with pytest.raises(ZeroDivisionError), loop_mount(tmp_path, "ext4", 16) as folder:
        fail()
    assert str(folder) not in mount_points()
    assert list(tmp_path.iterdir()) == []
    wait_until(lambda: str(tmp_path) not in "".join(backing_files()))


def test_a_file_left_open_does_not_keep_a_mount(tmp_path: Path) -> None:
    if reason := tmpfs_mount_reason():
        pytest.skip(reason)
    with tmpfs_mount(tmp_path / "small", 64) as folder:
        fd = os.open(folder / "data", os.O_CREAT | os.O_RDWR)
    assert str(folder) not in mount_points()
    os.close(fd)


def test_a_small_tmpfs_is_full_soon(tmp_path: Path) -> None:
    if reason := tmpfs_mount_reason():
        pytest.skip(reason)
    with (
        tmpfs_mount(tmp_path / "small", 64) as folder,
        pytest.raises(OSError, match=os.strerror(errno.ENOSPC)),
    ):
        (folder / "data").write_bytes(bytes(65 << 10))
    assert str(folder) not in mount_points()


def test_a_file_system_that_nobody_knows_is_a_reason_to_skip() -> None:
    reason = loop_mount_reason("nosuchfs")
    assert reason is not None
