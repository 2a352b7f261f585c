# SPDX-License-Identifier: Apache-2.0
"""Threads of ours: there when there is work, gone when there is none, and nobody's hindrance."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import os
import pty
import select
import signal
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from linux_aio import AIOContext, AIOOperation, EventFD
from support.engines import ENGINE
from support.files import Gate, is_readable
from support.forked import in_child
from support.fusefs import HoldingFS
from support.mount_calls import MS_BIND, MS_PRIVATE, MS_REC, mount
from support.operations import perform, wait_done
from support.programs import end_of, run_program, start_program
from support.workers import PATIENCE, finish, start, stays_blocked

pytest_plugins = ["support.fixtures"]

pytestmark = pytest.mark.engine("threads", "uring", "auto")

CLONE_NEWNS = 0x20000
PAGE = 4096
SIZE = 1 << 20  # more than a terminal takes


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    number = os.open(tmp_path / "data", os.O_RDWR | os.O_CREAT)
    os.pwrite(number, bytes(64 * PAGE), 0)
    yield number
    os.close(number)


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def threads_of_ours() -> list[str]:
    names = []
    for name in Path("/proc/self/task").glob("*/comm"):
        with contextlib.suppress(OSError):  # it has ended
            names.append(name.read_text().strip())
    return [name for name in names if name.startswith(("aio-", "iou-"))]


@pytest.fixture(autouse=True)
def alone() -> None:
    """What other tests have left behind, and its threads, is gone."""
    gc.collect()
    deadline = time.monotonic() + PATIENCE
    while threads_of_ours():
        assert time.monotonic() < deadline, f"threads of an earlier test: {threads_of_ours()}"
        time.sleep(0.005)
    earlier, since = threads(), time.monotonic()
    while time.monotonic() - since < 0.2:
        time.sleep(0.01)
        if threads() != earlier:
            earlier, since = threads(), time.monotonic()


def wait_for_threads(count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while threads() > count:
        assert time.monotonic() < deadline, f"{threads()} threads, not {count}"
        time.sleep(0.005)


def test_an_idle_context_costs_no_thread(fd: int) -> None:
    before = threads()
    with AIOContext() as context:
        assert threads() == before
        for _ in range(3):
            perform(context, AIOOperation.write(b"data", fd))
            assert threads() > before
            wait_for_threads(before)
    assert threads() == before


def test_closing_ends_them(fd: int) -> None:
    before = threads()
    for _ in range(20):
        with AIOContext() as context:
            context.submit(*(AIOOperation.write(b"data", fd) for _ in range(20)))
        wait_for_threads(before)


@pytest.mark.timeout(120)
def test_ten_thousand_idle_polls_delay_nobody(fd: int) -> None:
    count = 10_000
    with Gate() as gate, AIOContext(count + 1) as context:
        polls = [AIOOperation.poll(gate, select.POLLIN) for _ in range(count)]
        before = threads()
        assert context.submit(*polls) == count
        for _ in range(10):
            read = AIOOperation.read(PAGE, fd)
            read.submit(context)
            wait_done(read)
            assert read.get_result() == bytes(PAGE)
        assert context.in_flight == count
        assert threads() <= before + 40  # they don't wait one by one
        gate.open()
        assert len(context.getevents(count)) == count


def test_reads_of_empty_pipes_delay_nobody(fd: int) -> None:
    pipes = [Gate() for _ in range(100)]
    try:
        with AIOContext(len(pipes) + 1) as context:
            waiting = [AIOOperation.read(1, pipe) for pipe in pipes]
            assert context.submit(*waiting) == len(pipes)
            assert perform(context, AIOOperation.read(PAGE, fd)) == bytes(PAGE)
            for pipe in pipes:
                pipe.open()
            wait_done(*waiting)
            assert {op.get_result() for op in waiting} == {b"!"}
    finally:
        for pipe in pipes:
            pipe.close()


# The end


@pytest.mark.needs_root
def test_closing_waits_for_what_is_queued_and_running(fs: HoldingFS) -> None:
    count = 100  # more than there are workers
    path = fs.create("data", bytes(range(count)) * PAGE)
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    fs.hold()
    context = AIOContext(count)
    operations = [AIOOperation.read(PAGE, fd, number * PAGE) for number in range(count)]
    assert context.submit(*operations) == count
    fs.wait_held(1)
    closing = start(context.close)
    assert stays_blocked(closing)
    fs.unhold()
    finish(closing)
    data = bytes(range(count)) * PAGE
    for number, operation in enumerate(operations):
        assert bool(operation.get_result() == data[number * PAGE :][:PAGE])
    os.close(fd)


AT_EXIT = """
import os, sys, threading
from linux_aio import AIOContext, AIOOperation, EventFD

fd = os.open(sys.argv[1], os.O_RDWR)
context = AIOContext(1000)
operations = [AIOOperation.write(b"w" * 1000, fd, number * 1000) for number in range(500)]
assert context.submit(*operations) == 500
"""


@pytest.mark.parametrize("kept", ["", "del context, operations\n", "sys.kept = context\n"])
def test_the_interpreter_ends_while_they_are_at_work(kept: str, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"")
    source = "import warnings\nwarnings.simplefilter('ignore', ResourceWarning)\n" + AT_EXIT
    assert run_program(source + kept, path) == ""


# Children


def test_a_child_does_not_keep_pipes_open() -> None:
    """What our threads hold of a file is not inherited."""
    reading, writing = os.pipe()
    child = -1
    context = AIOContext(4)
    try:
        poll = AIOOperation.poll(writing, select.POLLPRI)
        poll.submit(context)
        if ENGINE != "auto":  # where kernel AIO holds it, no table has it
            time.sleep(0.05)
        os.close(writing)
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
        assert not is_readable(reading)
        assert context.cancel(poll)
        wait_done(poll)
        context.close()
        assert is_readable(reading, PATIENCE)
        assert os.read(reading, 1) == b""
    finally:
        context.close()
        if child > 0:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        os.close(reading)


OUTLIVES = """
import os, sys, time, warnings
from linux_aio import AIOContext, AIOOperation, EventFD

fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
done, context = os.memfd_create("data"), AIOContext(8)
held = AIOOperation.read(4096, fd)
held.submit(context)
while not os.path.exists(sys.argv[2]):
    time.sleep(0.001)
parent = os.getpid()
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads, which is meant
if os.fork() == 0:
    # the parent, with its threads, has gone meanwhile
    while os.getppid() == parent:
        time.sleep(0.001)
    context.close()
    with AIOContext(8) as own:
        write = AIOOperation.write(b"data", done)
        write.submit(own)
        while not write.done:
            own.getevents()
        assert write.get_result() == 4
    print("child", flush=True)
    os._exit(0)
os._exit(0)
"""


@pytest.mark.needs_root
def test_a_child_that_outlives_its_parent(fs: HoldingFS) -> None:
    path = fs.create("data", bytes(PAGE))
    fs.path("go-on").unlink(missing_ok=True)
    fs.hold()
    program = start_program(OUTLIVES, path, fs.path("go-on"))
    fs.wait_held(1)
    fs.create("go-on", b"")
    fs.unhold()  # or the parent could not end
    assert end_of(program) == "child\n"


def is_locked_for_others(path: Path) -> bool:
    def try_to_lock() -> bool:
        with path.open("r+b") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                return True
        return False

    return in_child(try_to_lock)


class Terminal:
    """Of whose reads each is given a byte."""

    def __init__(self) -> None:
        self.far, self.fd = pty.openpty()
        tty.setraw(self.fd)

    def put(self) -> None:
        os.write(self.far, b"x")

    def drain(self, size: int) -> None:
        while size > 0:
            size -= len(os.read(self.far, size))

    def close(self) -> None:
        os.close(self.far)
        os.close(self.fd)


class Watch:
    """An inotify(7), of whose reads each is given an event."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_CLOEXEC)
        in_create = 0x100
        assert libc.inotify_add_watch(self.fd, os.fsencode(folder), in_create) > 0

    def put(self) -> None:
        (self._folder / str(time.monotonic_ns())).touch()

    def close(self) -> None:
        os.close(self.fd)


def wait_until_left(count: int, reads: list[AIOOperation]) -> list[AIOOperation]:
    """Those that are not done, when there are no more than so many."""
    deadline = time.monotonic() + PATIENCE
    while True:
        left = [read for read in reads if not read.done]
        if len(left) <= count:
            return left
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("together", [True, False], ids=["together", "apart"])
@pytest.mark.parametrize("kind", ["terminal", "inotify"])
def test_two_reads_of_what_can_not_be_tried(kind: str, together: bool, tmp_path: Path) -> None:
    """The one that finds nothing can still be cancelled, at any time, or ended by closing."""
    size = 1 if kind == "terminal" else 32
    with (
        contextlib.closing(Terminal() if kind == "terminal" else Watch(tmp_path)) as file,
        AIOContext(8) as context,
    ):
        for _ in range(20):
            reads = [AIOOperation.read(size, file.fd) for _ in range(3)]
            if together:
                context.submit(*reads)
            else:
                for read in reads:
                    context.submit(read)
            for count in (2, 1):
                file.put()
                left = wait_until_left(count, reads)
                assert len(left) == count
            (last,) = left
            context.cancel(last)  # at once, or when the worker that looks at it finds nothing
            wait_done(last)
            with pytest.raises(OSError, match="canceled"):
                last.get_result()
            context.getevents(0)
        context.submit(AIOOperation.read(size, file.fd))


@pytest.mark.engine("threads")  # whose workers can all be stuck
def test_cancelling_while_all_workers_are_stuck(gate: Gate) -> None:
    """Nothing that was not begun waits for them, nor does what comes after that."""
    with (
        AIOContext(100) as context,
        contextlib.closing(Terminal()) as file,
        contextlib.ExitStack() as stack,
    ):
        reads = [AIOOperation.read(1, file.fd) for _ in range(3)]
        context.submit(*reads)
        full = [stack.enter_context(contextlib.closing(Terminal())) for _ in range(32)]
        stuck = [AIOOperation.write(bytes(SIZE), terminal.fd) for terminal in full]
        context.submit(*stuck)
        for terminal in full:
            assert is_readable(terminal.far, PATIENCE)
        file.put()
        assert is_readable(file.fd, PATIENCE)
        # when this is over, the reactor has come to what was readable before
        gate.open()
        perform(context, AIOOperation.poll(gate, select.POLLIN))
        for operation in reads:
            assert context.cancel(operation)
        for operation in reads:
            wait_done(operation)
            with pytest.raises(OSError, match="canceled"):
                operation.get_result()
        os.read(file.fd, 1)
        for terminal in full:
            terminal.drain(SIZE)
        for write in stuck:
            wait_done(write)
        reads = [AIOOperation.read(1, file.fd) for _ in range(3)]
        context.submit(*reads)
        for _ in reads:
            file.put()
        for read in reads:
            wait_done(read)
            assert read.get_result() == b"x"


def test_record_locks_survive(fd: int, tmp_path: Path) -> None:
    """The process loses its locks on a file with any descriptor of the file that it closes."""
    path = tmp_path / "data"
    fcntl.lockf(fd, fcntl.LOCK_EX)
    assert is_locked_for_others(path)
    before = threads()
    with AIOContext() as context:
        perform(context, AIOOperation.write(b"data", fd))
        perform(context, AIOOperation.read(4, fd))
        perform(context, AIOOperation.fsync(fd))
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        perform(context, AIOOperation.read(PAGE, fd, PAGE))
        assert is_locked_for_others(path)
        wait_for_threads(before)
        assert is_locked_for_others(path)
    assert is_locked_for_others(path)


@pytest.mark.needs_root
def test_record_locks_survive_beside_a_file_outside_the_root(tmp_path: Path) -> None:
    """As in a chroot whose standard output is a file of the host: its mount is not listed."""
    root = tmp_path / "root"
    (root / "proc").mkdir(parents=True)
    outside = os.open(tmp_path / "outside", os.O_RDWR | os.O_CREAT)

    def use() -> bool | None:
        if ctypes.CDLL(None).unshare(CLONE_NEWNS) != 0:
            return None
        mount("none", Path("/"), "none", MS_REC | MS_PRIVATE)
        mount(os.fspath(root), root, "none", MS_BIND)
        mount("proc", root / "proc", "proc")
        os.chroot(root)
        os.chdir("/")
        assert "outside" not in Path("/proc/self/mountinfo").read_text()
        os.dup2(outside, 1)
        fd = os.open("data", os.O_RDWR | os.O_CREAT)
        fcntl.lockf(fd, fcntl.LOCK_EX)
        before = threads()
        with AIOContext() as context:
            perform(context, AIOOperation.write(b"data", fd))
            perform(context, AIOOperation.fsync(fd))
            wait_for_threads(before)
            return is_locked_for_others(Path("data"))

    survives = in_child(use)
    os.close(outside)
    if survives is None:
        pytest.skip("mounting needs root")
    assert survives


@pytest.mark.needs_root
def test_a_signal_does_not_wait_for_the_next_request(fd: int, fs: HoldingFS) -> None:
    """A worker goes from one write to the next, which may take for ever."""
    slow = os.open(fs.create("data", bytes(PAGE)), os.O_RDWR)
    fs.hold()
    with EventFD() as eventfd, AIOContext(8) as context:
        quick = AIOOperation.write(b"data", fd)
        quick.prepare(eventfd)
        held = AIOOperation.write(b"data", slow)
        assert context.submit(quick, held) == 2
        fs.wait_held(1)
        assert is_readable(eventfd.fileno, PATIENCE)
        assert quick.done
        assert not held.done
        fs.unhold()
        wait_done(held)
    os.close(slow)
