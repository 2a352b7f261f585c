# SPDX-License-Identifier: Apache-2.0
"""Calls to the kernel that fail, are interrupted, or do less than asked: nothing is lost by it."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import random
import re
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

from linux_aio import AIOContext, AIOOperation, EventFD
from support.faults import FOR_EVER, Faults, faults_reason, faulty_libaio
from support.files import Gate, contents, file_in_memory, is_readable, refuse_writes
from support.operations import wait_done
from support.rings import no_queues

pytest_plugins = ["support.fixtures"]

pytestmark = [
    pytest.mark.skipif(faults_reason() is not None, reason=str(faults_reason())),
    pytest.mark.engine("aio"),
]

DATA = bytes(range(256))

# What io_submit can say that is not the fault of one of the requests, and EINVAL, which may be.
SUBMIT_ERRORS = [errno.EAGAIN, errno.ENOMEM, errno.EINVAL]

each_submit_error = pytest.mark.parametrize("error", SUBMIT_ERRORS, ids=errno.errorcode.get)


@pytest.fixture
def faults() -> Iterator[Faults]:
    no_queues()  # those of an earlier test are counted no more
    with faulty_libaio() as some_faults:
        yield some_faults


@pytest.fixture
def ctx() -> Iterator[AIOContext]:
    with AIOContext(8) as context:
        yield context


@pytest.fixture
def fd() -> Iterator[int]:
    with file_in_memory(DATA) as number:
        yield number


@pytest.fixture
def efd() -> Iterator[EventFD]:
    with EventFD() as eventfd:
        yield eventfd


def await_destroyed(faults: Faults, count: int) -> None:
    """A thread of ours destroys what was closed."""
    deadline = time.monotonic() + 10
    while faults.count("destroy") < count and time.monotonic() < deadline:
        time.sleep(0.001)
    assert faults.count("destroy") == count


@contextlib.contextmanager
def on_signal(action: Callable[[], object]) -> Iterator[list[int]]:
    """Inside the block SIGUSR1 does this. The list grows by one each time."""
    calls: list[int] = []

    def handler(number: int, _frame: FrameType | None) -> None:
        calls.append(number)
        action()

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        yield calls
    finally:
        signal.signal(signal.SIGUSR1, before)


def nothing() -> None:
    pass


class HandlerError(Exception):
    pass


def fail() -> None:
    raise HandlerError


class Attributes(NamedTuple):
    """All that shows of an operation, but what `get_result` says, which changes something."""

    context: AIOContext | None
    eventfd: EventFD | int | None
    done: bool
    fileno: int
    nbytes: int
    offset: int | None
    payload: Any
    representation: str


def attributes(op: AIOOperation) -> Attributes:
    return Attributes(
        op.context, op.eventfd, op.done, op.fileno, op.nbytes, op.offset, op.payload, repr(op)
    )


@contextlib.contextmanager
def untouched(*operations: AIOOperation) -> Iterator[None]:
    """Nothing of them changes inside the block."""
    before = [attributes(op) for op in operations]
    yield
    assert [attributes(op) for op in operations] == before


def reads_of(fd: int, count: int) -> list[AIOOperation]:
    """Operations that complete at once, each with another result."""
    return [AIOOperation.read(1, fd, offset) for offset in range(count)]


def polls_of(gate: Gate, count: int) -> list[AIOOperation]:
    """Operations that stay in flight until the gate is opened."""
    return [AIOOperation.poll(gate, select.POLLIN) for _ in range(count)]


def results(operations: list[AIOOperation]) -> list[Any]:
    return [op.get_result() for op in operations]


def counter(eventfd: EventFD) -> int:
    """How often it was signalled since it was last asked."""
    return eventfd.read() if is_readable(eventfd.fileno) else 0


# --- io_setup


def first_line(path: str) -> str:
    return Path(path).read_text(encoding="ascii").strip()


def test_the_limit_of_the_machine_is_named_with_what_is_in_use(faults: Faults) -> None:
    faults.inject("setup", error=errno.EAGAIN)
    with pytest.raises(BlockingIOError) as raised:
        AIOContext(64)
    assert raised.value.errno == errno.EAGAIN
    text = str(raised.value)
    limit = first_line("/proc/sys/fs/aio-max-nr")
    assert "64 requests" in text
    assert re.search(rf"/proc/sys/fs/aio-max-nr, is {limit}\b", text)
    # other programs may come and go meanwhile
    assert re.search(r"\b\d+ are in use", text)


def test_what_is_in_use_is_what_the_kernel_says(faults: Faults) -> None:
    in_use = Path("/proc/sys/fs/aio-nr")
    for _ in range(100):
        faults.inject("setup", error=errno.EAGAIN)
        before = first_line(str(in_use))
        with pytest.raises(BlockingIOError) as raised:
            AIOContext(64)
        if first_line(str(in_use)) == before:
            assert f" {before} are in use" in str(raised.value)
            return
    pytest.skip("other programs use AIO all the time")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (errno.ENOMEM, "Cannot allocate memory.*engine 'aio'"),
        (errno.EINVAL, "io_setup for 16 requests.*more than the kernel can ever queue"),
        (errno.ENOSYS, "engine 'aio'.*kernel, or a sandbox, has no io_setup"),
        (errno.EPERM, "engine 'aio'.*io_setup.*not permitted.*seccomp"),
        (errno.EFAULT, "engine 'aio'.*refused by the kernel"),
    ],
)
def test_a_context_that_is_refused(error: int, text: str, faults: Faults) -> None:
    faults.inject("setup", error=error)
    with pytest.raises(OSError, match=text) as raised:
        AIOContext(16)
    assert raised.value.errno == error
    assert type(raised.value) is type(OSError(error, ""))


def test_a_context_that_is_refused_leaves_nothing_behind(faults: Faults) -> None:
    gc.collect()
    open_fds = set(os.listdir("/proc/self/fd"))
    faults.inject("setup", error=errno.EAGAIN, times=20)
    for _ in range(20):
        with pytest.raises(BlockingIOError):
            AIOContext()
    assert set(os.listdir("/proc/self/fd")) == open_fds
    assert faults.count("destroy") == 0
    AIOContext().close()


# --- io_submit that takes nothing


@each_submit_error
def test_a_refused_submission(error: int, faults: Faults, ctx: AIOContext, fd: int) -> None:
    operations = reads_of(fd, 4)
    faults.inject("submit", error=error)
    with untouched(*operations), pytest.raises(OSError, match="read of 1 bytes") as raised:
        ctx.submit(*operations)
    assert raised.value.errno == error
    assert type(raised.value) is type(OSError(error, ""))
    assert ctx.in_flight == 0
    assert ctx.getevents(0) == []
    with pytest.raises(RuntimeError, match="never submitted"):
        operations[0].get_result()

    assert ctx.submit(*operations) == 4
    assert ctx.getevents(4) == operations
    assert results(operations) == [b"\0", b"\1", b"\2", b"\3"]


def test_descriptors_that_are_underway_are_explained(
    faults: Faults, ctx: AIOContext, fd: int
) -> None:
    faults.inject("submit", error=errno.ETOOMANYREFS)
    with pytest.raises(OSError, match=r"read of 4 bytes .*\(.* ulimit -n"):
        AIOOperation.read(4, fd).submit(ctx)


def test_a_kernel_that_has_no_room_is_told_from_a_full_queue(
    faults: Faults, ctx: AIOContext, fd: int
) -> None:
    (op,) = reads_of(fd, 1)
    faults.inject("submit", error=errno.EAGAIN)
    with pytest.raises(BlockingIOError) as raised:
        op.submit(ctx)
    assert "the queue is full" not in str(raised.value)
    assert faults.count("submit") == 1


@each_submit_error
def test_a_refused_submission_with_an_eventfd(
    error: int, faults: Faults, ctx: AIOContext, fd: int, efd: EventFD
) -> None:
    (op,) = reads_of(fd, 1)
    faults.inject("submit", error=error)
    with untouched(op), pytest.raises(OSError, match="read of 1 bytes"):
        op.submit(ctx, efd)
    assert op.eventfd is None
    assert counter(efd) == 0
    assert op.submit(ctx, efd) == 1
    assert op.eventfd is efd
    assert counter(efd) == 1
    assert op.get_result() == b"\0"


@each_submit_error
def test_a_refused_submission_leaves_another_context_and_eventfd_in_place(
    error: int, faults: Faults, ctx: AIOContext, fd: int, efd: EventFD
) -> None:
    (op,) = reads_of(fd, 1)
    with AIOContext(1) as old_ctx, EventFD() as old_efd:
        op.submit(old_ctx, old_efd)
        assert op.get_result() == b"\0"
        faults.inject("submit", error=error)
        with untouched(op), pytest.raises(OSError, match="read of 1 bytes"):
            op.submit(ctx, efd)
        assert op.context is old_ctx
        assert op.eventfd is old_efd
        assert op.get_result() == b"\0"
        assert counter(efd) == 0
        assert op.submit(ctx, efd) == 1
        assert (counter(old_efd), counter(efd)) == (1, 1)


@each_submit_error
def test_an_old_result_is_kept(error: int, faults: Faults, ctx: AIOContext, fd: int) -> None:
    op = AIOOperation.read(2, fd, 7)
    op.submit(ctx)
    assert op.get_result() == b"\7\x08"
    os.pwrite(fd, b"changed meanwhile", 0)
    faults.inject("submit", error=error)
    with untouched(op), pytest.raises(OSError, match="read of 2 bytes"):
        op.submit(ctx)
    assert op.get_result() == b"\7\x08"
    op.submit(ctx)
    assert op.get_result() == b" m"


@each_submit_error
def test_an_old_result_that_nobody_saw_is_kept(
    error: int, faults: Faults, ctx: AIOContext, fd: int
) -> None:
    op = AIOOperation.read(2, fd, 7)
    op.submit(ctx)
    faults.inject("submit", error=error)
    with pytest.raises(OSError, match="read of 2 bytes"):
        op.submit(ctx)
    assert op.get_result() == b"\7\x08"


@each_submit_error
def test_an_old_failure_is_kept(error: int, faults: Faults, ctx: AIOContext, fd: int) -> None:
    op = AIOOperation.write(b"x", fd)
    refuse_writes(fd)
    op.submit(ctx)
    faults.inject("submit", error=error)
    with untouched(op), pytest.raises(OSError, match=os.strerror(error)):
        op.submit(ctx)
    for _ in range(2):
        with pytest.raises(PermissionError, match="write of 1 bytes"):
            op.get_result()


@each_submit_error
def test_what_was_not_collected_yet_still_is_and_once(
    error: int, faults: Faults, ctx: AIOContext, fd: int, efd: EventFD
) -> None:
    kept, noted, new = reads_of(fd, 3)
    noted.prepare(efd)
    assert ctx.submit(kept, noted) == 2
    wait_done(kept)
    assert noted.done
    faults.inject("submit", error=error)
    with untouched(kept, noted, new), pytest.raises(OSError, match="read of 1 bytes"):
        ctx.submit(kept, noted, new)
    assert ctx.in_flight == 0
    assert ctx.getevents(0) == [kept, noted]
    assert ctx.getevents(0) == []
    assert results([kept, noted]) == [b"\0", b"\1"]


@each_submit_error
def test_what_was_not_collected_yet_is_told_of_again(
    error: int, faults: Faults, ctx: AIOContext, fd: int
) -> None:
    (op,) = reads_of(fd, 1)
    op.submit(ctx)
    assert is_readable(ctx.fileno)
    faults.inject("submit", error=error)
    with pytest.raises(OSError, match="read of 1 bytes"):
        op.submit(ctx)
    assert is_readable(ctx.fileno)
    assert ctx.getevents(0) == [op]
    assert not is_readable(ctx.fileno)


def test_what_was_not_collected_yet_holds_its_place_again(
    faults: Faults, ctx: AIOContext, fd: int
) -> None:
    operations = reads_of(fd, 9)
    assert ctx.submit(*operations) == 8
    faults.inject("submit", error=errno.ENOMEM)
    with pytest.raises(OSError, match="Cannot allocate memory"):
        ctx.submit(*operations[:4])
    with pytest.raises(BlockingIOError, match="the queue is full"):
        ctx.submit(operations[8])
    assert len(ctx.getevents(8)) == 8
    assert ctx.submit(operations[8]) == 1


@each_submit_error
def test_a_buffer_is_let_go_again(error: int, faults: Faults, ctx: AIOContext, fd: int) -> None:
    payload = bytearray(b"payload")
    op = AIOOperation.write(payload, fd)
    op.submit(ctx)
    assert op.get_result() == 7
    faults.inject("submit", error=error)
    with pytest.raises(OSError, match="write of 7 bytes"):
        op.submit(ctx)
    payload += b" that grows"
    assert contents(fd)[:7] == b"payload"


def test_operations_that_nobody_else_holds_are_let_go(
    faults: Faults, ctx: AIOContext, fd: int
) -> None:
    for _ in range(100):
        faults.inject("submit", error=errno.ENOMEM)
        with pytest.raises(OSError, match="Cannot allocate memory"):
            ctx.submit(*reads_of(fd, 8))
    assert ctx.in_flight == 0
    gc.collect()
    assert not [obj for obj in gc.get_objects() if isinstance(obj, AIOOperation)]


# --- io_submit that takes some


@pytest.mark.parametrize("taken", [1, 2, 6, 7])
def test_a_short_submission(taken: int, faults: Faults, ctx: AIOContext, fd: int) -> None:
    operations = reads_of(fd, 8)
    faults.inject("submit", at_most=taken)
    with untouched(*operations[taken:]):
        assert ctx.submit(*operations) == taken
    assert ctx.in_flight == 0
    assert all(op.done for op in operations[:taken])
    assert ctx.getevents(0) == operations[:taken]

    assert ctx.submit(*operations[taken:]) == 8 - taken
    assert ctx.getevents(8 - taken) == operations[taken:]
    assert results(operations) == [bytes([i]) for i in range(8)]


@pytest.mark.parametrize("taken", [1, 3, 7])
def test_a_short_submission_of_what_stays_in_flight(
    taken: int, faults: Faults, ctx: AIOContext, gate: Gate
) -> None:
    polls = polls_of(gate, 8)
    faults.inject("submit", at_most=taken)
    with untouched(*polls[taken:]):
        assert ctx.submit(*polls) == taken
    assert ctx.in_flight == taken
    assert ctx.submit(*polls[taken:]) == 8 - taken
    assert ctx.in_flight == 8
    with pytest.raises(BlockingIOError, match="the queue is full"):
        ctx.submit(*polls_of(gate, 1))
    gate.open()
    assert set(ctx.getevents(8)) == set(polls)
    assert ctx.in_flight == 0
    assert results(polls) == [select.POLLIN] * 8


@pytest.mark.parametrize("taken", [1, 2, 4])
def test_a_short_submission_with_eventfds(
    taken: int, faults: Faults, ctx: AIOContext, fd: int
) -> None:
    operations = reads_of(fd, 5)
    with contextlib.ExitStack() as stack:
        eventfds = [stack.enter_context(EventFD()) for _ in operations]
        for op, eventfd in zip(operations, eventfds, strict=True):
            op.prepare(eventfd)
        faults.inject("submit", at_most=taken)
        with untouched(*operations[taken:]):
            assert ctx.submit(*operations) == taken
        assert [counter(eventfd) for eventfd in eventfds] == [1] * taken + [0] * (5 - taken)
        assert ctx.submit(*operations[taken:]) == 5 - taken
        assert [counter(eventfd) for eventfd in eventfds] == [0] * taken + [1] * (5 - taken)
        assert results(operations) == [bytes([i]) for i in range(5)]


def test_a_short_submission_of_some_with_results(
    faults: Faults, ctx: AIOContext, fd: int, efd: EventFD
) -> None:
    operations = reads_of(fd, 4)
    operations[3].prepare(efd)
    assert ctx.submit(*operations) == 4
    os.pwrite(fd, b"abcd", 0)
    faults.inject("submit", at_most=2)
    with untouched(*operations[2:]):
        assert ctx.submit(*operations) == 2
    # the two that were left over are where they were: completed, and not collected
    assert set(ctx.getevents(0)) == set(operations)
    assert ctx.getevents(0) == []
    assert results(operations) == [b"a", b"b", b"\2", b"\3"]


def test_short_submissions_in_a_row(faults: Faults, ctx: AIOContext, fd: int) -> None:
    operations = reads_of(fd, 200)
    faults.inject("submit", at_most=1, times=5)
    faults.inject("submit", at_most=3, times=FOR_EVER)
    taken = 0
    while taken < 200:
        taken += ctx.submit(*operations[taken:])
        ctx.getevents(0)
    assert faults.count("submit") == 5 + 65
    assert results(operations) == [bytes([i]) for i in range(200)]


# More than 128 go to the kernel in several calls.


@pytest.mark.parametrize("error", [*SUBMIT_ERRORS, errno.EINTR], ids=errno.errorcode.get)
def test_a_large_batch_refused_in_the_middle(error: int, faults: Faults, gate: Gate) -> None:
    polls = polls_of(gate, 300)
    with AIOContext(300) as ctx:
        faults.inject("submit", error=error, after=1)
        with untouched(*polls[128:]):
            assert ctx.submit(*polls) == 128
        assert ctx.in_flight == 128
        assert ctx.submit(*polls[128:]) == 172
        assert ctx.in_flight == 300
        gate.open()
        assert set(ctx.getevents(300)) == set(polls)


@pytest.mark.parametrize(("after", "taken"), [(0, 5), (1, 133), (2, 261)])
def test_a_large_batch_cut_short(after: int, taken: int, faults: Faults, gate: Gate) -> None:
    polls = polls_of(gate, 300)
    with AIOContext(300) as ctx:
        faults.inject("submit", at_most=5, after=after)
        with untouched(*polls[taken:]):
            assert ctx.submit(*polls) == taken
        assert faults.count("submit") == after + 1
        assert ctx.in_flight == taken
        assert ctx.submit(*polls[taken:]) == 300 - taken
        gate.open()
        assert set(ctx.getevents(300)) == set(polls)


# --- io_submit that is interrupted


def test_an_interrupted_submission_is_made_again(faults: Faults, ctx: AIOContext, fd: int) -> None:
    operations = reads_of(fd, 4)
    faults.inject("submit", error=errno.EINTR, times=5)
    assert ctx.submit(*operations) == 4
    assert faults.count("submit") == 6
    assert results(operations) == [b"\0", b"\1", b"\2", b"\3"]


def test_handlers_run_before_it_is_made_again(faults: Faults, ctx: AIOContext, fd: int) -> None:
    (op,) = reads_of(fd, 1)
    submissions = []

    def look() -> None:
        submissions.append(faults.count("submit"))

    faults.inject("submit", error=errno.EINTR, signal=signal.SIGUSR1, times=3)
    with on_signal(look):
        assert op.submit(ctx) == 1
    assert submissions == [1, 2, 3]
    assert op.get_result() == b"\0"


@pytest.mark.parametrize("batch", [1, 8])
def test_a_handler_that_raises_ends_the_submission(
    batch: int, faults: Faults, ctx: AIOContext, fd: int
) -> None:
    operations = reads_of(fd, batch)
    faults.inject("submit", error=errno.EINTR, signal=signal.SIGUSR1)
    with on_signal(fail), untouched(*operations), pytest.raises(HandlerError):
        ctx.submit(*operations)
    assert ctx.in_flight == 0
    assert ctx.submit(*operations) == batch
    assert ctx.getevents(batch) == operations


def test_a_handler_that_closes_the_context(faults: Faults, fd: int) -> None:
    operations = reads_of(fd, 3)
    ctx = AIOContext(8)
    faults.inject("submit", error=errno.EINTR, signal=signal.SIGUSR1)
    with (
        on_signal(ctx.close),
        untouched(*operations),
        pytest.raises(ValueError, match="closed AIOContext"),
    ):
        ctx.submit(*operations)
    assert ctx.closed
    with AIOContext(8) as another:
        assert another.submit(*operations) == 3


def test_a_handler_that_submits_the_same_operation(
    faults: Faults, ctx: AIOContext, fd: int
) -> None:
    (op,) = reads_of(fd, 1)
    faults.inject("submit", error=errno.EINTR, signal=signal.SIGUSR1)

    def submit_too() -> None:
        with pytest.raises(ValueError, match="in flight"):
            op.submit(ctx)

    with on_signal(submit_too) as calls:
        assert op.submit(ctx) == 1
    assert len(calls) == 1
    assert ctx.getevents() == [op]


def test_a_handler_that_fills_the_queue(faults: Faults, ctx: AIOContext, gate: Gate) -> None:
    mine, handlers = polls_of(gate, 4), polls_of(gate, 6)
    faults.inject("submit", error=errno.EINTR, signal=signal.SIGUSR1)
    with on_signal(lambda: ctx.submit(*handlers)):
        with untouched(*mine[2:]):
            assert ctx.submit(*mine) == 2
        assert ctx.in_flight == 8
        faults.inject("submit", error=errno.EINTR)
        with untouched(*mine[2:]), pytest.raises(BlockingIOError, match="the queue is full"):
            ctx.submit(*mine[2:])
    gate.open()
    assert set(ctx.getevents(8)) == {*mine[:2], *handlers}


def test_an_interrupted_submission_in_another_thread(
    faults: Faults, ctx: AIOContext, fd: int
) -> None:
    (op,) = reads_of(fd, 1)
    faults.inject("submit", error=errno.EINTR, times=3)
    thread = threading.Thread(target=op.submit, args=(ctx,))
    thread.start()
    thread.join()
    assert faults.count("submit") == 4
    assert op.get_result() == b"\0"


# --- io_getevents


def test_interrupted_waiting_goes_on(faults: Faults, ctx: AIOContext, gate: Gate) -> None:
    (poll,) = polls_of(gate, 1)
    poll.submit(ctx)

    def open_at_last() -> None:
        if len(calls) == 3:
            gate.open()

    faults.inject("getevents", error=errno.EINTR, signal=signal.SIGUSR1, times=3)
    with on_signal(open_at_last) as calls:
        assert ctx.getevents() == [poll]
    assert len(calls) == 3


def test_interrupted_waiting_ends_in_time(faults: Faults, ctx: AIOContext, gate: Gate) -> None:
    (poll,) = polls_of(gate, 1)
    poll.submit(ctx)
    faults.inject("getevents", error=errno.EINTR, times=FOR_EVER)
    start = time.monotonic()
    assert ctx.getevents(timeout=0.05) == []
    assert 0.05 <= time.monotonic() - start < 5
    gate.open()
    assert ctx.getevents() == [poll]


def test_a_handler_that_raises_ends_waiting(faults: Faults, ctx: AIOContext, gate: Gate) -> None:
    (poll,) = polls_of(gate, 1)
    poll.submit(ctx)
    faults.inject("getevents", error=errno.EINTR, signal=signal.SIGUSR1)
    with on_signal(fail), pytest.raises(HandlerError):
        ctx.getevents()
    assert ctx.in_flight == 1
    gate.open()
    assert ctx.getevents() == [poll]


def test_a_handler_that_raises_loses_nothing_of_what_has_completed(
    faults: Faults, ctx: AIOContext, gate: Gate, fd: int
) -> None:
    (poll,), reads = polls_of(gate, 1), reads_of(fd, 3)
    assert ctx.submit(poll, *reads) == 4
    faults.inject("getevents", error=errno.EINTR, signal=signal.SIGUSR1)
    with on_signal(fail), pytest.raises(HandlerError):
        ctx.getevents(4)
    assert ctx.getevents(3) == reads
    gate.open()
    assert ctx.getevents() == [poll]


def test_a_handler_that_takes_the_events(faults: Faults, ctx: AIOContext, gate: Gate) -> None:
    (poll,) = polls_of(gate, 1)
    poll.submit(ctx)
    taken: list[AIOOperation] = []

    def take() -> None:
        gate.open()
        taken.extend(ctx.getevents())

    faults.inject("getevents", error=errno.EINTR, signal=signal.SIGUSR1)
    with on_signal(take):
        assert ctx.getevents() == []  # nothing is in flight any more
    assert taken == [poll]


def test_a_handler_that_closes_the_context_ends_waiting(faults: Faults, gate: Gate) -> None:
    ctx = AIOContext(1)
    (poll,) = polls_of(gate, 1)
    poll.submit(ctx)
    faults.inject("getevents", error=errno.EINTR, signal=signal.SIGUSR1)
    with on_signal(ctx.close), pytest.raises(ValueError, match="closed AIOContext"):
        ctx.getevents()
    with pytest.raises(OSError, match="poll") as raised:
        poll.get_result()
    assert raised.value.errno == errno.ECANCELED


@pytest.mark.parametrize("error", [errno.EINVAL, errno.ENOMEM])
def test_waiting_that_fails(error: int, faults: Faults, ctx: AIOContext, gate: Gate) -> None:
    (poll,) = polls_of(gate, 1)
    poll.submit(ctx)
    faults.inject("getevents", error=error)
    with pytest.raises(OSError, match="waiting for completions") as raised:
        ctx.getevents()
    assert raised.value.errno == error
    assert ctx.in_flight == 1
    gate.open()
    assert ctx.getevents() == [poll]
    assert poll.get_result() == select.POLLIN


def test_what_has_completed_needs_no_waiting(faults: Faults, ctx: AIOContext, fd: int) -> None:
    operations = reads_of(fd, 4)
    ctx.submit(*operations)
    faults.inject("getevents", error=errno.EINVAL, times=FOR_EVER)
    assert ctx.getevents(4) == operations
    assert ctx.getevents(1) == []
    assert faults.count("getevents") == 0


def test_events_that_are_taken_by_system_calls(
    faults: Faults, fd: int, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINUX_AIO_USER_RING", "0")
    with AIOContext(8) as ctx:
        operations = [*reads_of(fd, 6), *polls_of(gate, 1)]
        assert ctx.submit(*operations) == 7
        faults.inject("getevents", error=errno.EINTR, times=2)
        faults.inject("getevents", at_most=1, times=3)
        collected = ctx.getevents(6)
        assert set(collected) == set(operations[:6])
        faults.inject("getevents", error=errno.EINTR, times=5)
        gate.open()
        assert ctx.getevents() == operations[6:]
        assert results(operations) == [*(bytes([i]) for i in range(6)), select.POLLIN]


# --- close, with what can't be cancelled


def test_close_that_is_interrupted_goes_on(faults: Faults, gate: Gate) -> None:
    ctx = AIOContext(2)
    (poll,) = polls_of(gate, 1)
    poll.submit(ctx)

    def open_at_last() -> None:
        if len(calls) == 3:
            gate.open()

    faults.inject("cancel", error=errno.EINVAL)
    faults.inject("getevents", error=errno.EINTR, signal=signal.SIGUSR1, times=3)
    with on_signal(open_at_last) as calls:
        ctx.close()
    assert len(calls) == 3
    assert ctx.closed
    await_destroyed(faults, 1)
    assert poll.get_result() == select.POLLIN


def test_close_can_go_on_after_a_handler_raised(faults: Faults, gate: Gate, fd: int) -> None:
    ctx = AIOContext(2)
    (poll,), (read,) = polls_of(gate, 1), reads_of(fd, 1)
    ctx.submit(poll, read)
    faults.inject("cancel", error=errno.EINVAL, times=FOR_EVER)
    faults.inject("getevents", error=errno.EINTR, signal=signal.SIGUSR1)
    with on_signal(fail), pytest.raises(HandlerError):
        ctx.close()
    assert ctx.closed
    assert faults.count("destroy") == 0
    assert read.get_result() == b"\0"
    assert not poll.done
    with pytest.raises(ValueError, match="closed AIOContext"):
        ctx.submit(*reads_of(fd, 1))

    gate.open()
    ctx.close()
    await_destroyed(faults, 1)
    assert poll.get_result() == select.POLLIN


def test_close_can_go_on_after_waiting_failed(faults: Faults, gate: Gate) -> None:
    ctx = AIOContext(1)
    (poll,) = polls_of(gate, 1)
    poll.submit(ctx)
    faults.inject("cancel", error=errno.EINVAL)
    faults.inject("getevents", error=errno.ENOMEM)
    with pytest.raises(OSError, match="waiting for completions"):
        ctx.close()
    ctx.close()  # which cancels again
    await_destroyed(faults, 1)
    with pytest.raises(OSError, match="poll") as raised:
        poll.get_result()
    assert raised.value.errno == errno.ECANCELED


def test_the_end_of_with_that_is_interrupted(faults: Faults, gate: Gate) -> None:
    (poll,) = polls_of(gate, 1)
    with on_signal(gate.open) as calls, AIOContext(1) as ctx:
        poll.submit(ctx)
        faults.inject("cancel", error=errno.EINVAL)
        faults.inject("getevents", error=errno.EINTR, signal=signal.SIGUSR1)
    assert len(calls) == 1
    assert poll.get_result() == select.POLLIN


def test_a_context_that_is_dropped_outlives_what_cannot_be_cancelled(
    faults: Faults, gate: Gate
) -> None:
    ctx = AIOContext(1)
    (poll,) = polls_of(gate, 1)
    poll.submit(ctx)
    faults.inject("cancel", error=errno.EINVAL)
    del ctx, poll
    with pytest.warns(ResourceWarning, match="unclosed"):
        gc.collect()
    assert faults.count("destroy") == 0
    gate.open()
    AIOContext(2).close()  # making another one sweeps
    await_destroyed(faults, 2)


# --- all of it, at random


@contextlib.contextmanager
def perhaps_refused() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in SUBMIT_ERRORS:
            raise


REGION = 256  # bytes of the file for each operation to write to


class Piece:
    """One operation of a random run, and what is known of it."""

    def __init__(self, run: RandomRun, number: int) -> None:
        self.run = run
        self.write_offset = len(run.data) + number * REGION
        self.gate = Gate()
        self.in_flight = False
        self.collectable = False
        self.renew()

    def renew(self) -> None:
        """Another operation, of another kind, offset, size; with an EventFD or without."""
        choose = self.run.random
        self.is_signalled = choose.random() < 0.5
        kind = choose.choice(["read", "read", "write", "fsync", "poll"])
        self.op: AIOOperation
        self.expected: Any = None
        if kind == "read":
            offset, size = choose.randrange(len(self.run.data) - 2000), choose.randrange(2000)
            self.op = AIOOperation.read(size, self.run.fd, offset)
            self.expected = self.run.data[offset : offset + size]
        elif kind == "write":
            self.written = choose.randbytes(choose.randrange(1, REGION))
            self.op = AIOOperation.write(self.written, self.run.fd, self.write_offset)
            self.expected = len(self.written)
        elif kind == "fsync":
            self.op = AIOOperation.fsync(self.run.fd)
        else:
            self.op = AIOOperation.poll(self.gate, select.POLLIN)
            self.expected = select.POLLIN
        self.is_poll = kind == "poll"
        self.is_write = kind == "write"
        if self.is_signalled:
            self.op.prepare(self.run.eventfd)

    def check(self) -> None:
        """It has completed: is all as it should be?"""
        assert self.op.done
        assert self.op.get_result() == self.expected
        if self.is_poll:
            self.gate.shut()
        if self.is_write:
            written = os.pread(self.run.fd, len(self.written), self.write_offset)
            assert written == self.written


class RandomRun:
    """Submits, waits and asks for results, with faults, as a random number generator says.

    What it knows after every step must be what the context and its operations say.
    """

    def __init__(self, seed: int, faults: Faults, ctx: AIOContext, fd: int) -> None:
        self.random = random.Random(seed)
        self.faults = faults
        self.ctx = ctx
        self.fd = fd
        self.data = contents(fd)
        self.eventfd = EventFD()
        self.submitted = 0
        self.completed = 0
        self.signals_due = 0
        self.signals_seen = 0
        self.pieces = [Piece(self, number) for number in range(ctx.max_requests * 3 // 2)]

    def end(self) -> None:
        self.eventfd.close()
        for piece in self.pieces:
            piece.gate.close()

    def some(self, pieces: list[Piece]) -> list[Piece]:
        return self.random.sample(pieces, self.random.randint(0, len(pieces)))

    def inject(self) -> None:
        """Up to three faults for the next submission, and as many for the next waits."""
        for _ in range(self.random.randrange(4)):
            after = self.random.randrange(2)
            if self.random.random() < 0.4:
                at_most = self.random.randint(1, 4)
                self.faults.inject("submit", at_most=at_most, after=after)
            else:
                error = self.random.choice([*SUBMIT_ERRORS, errno.EINTR, errno.EINTR])
                interrupted = signal.SIGUSR1 if error == errno.EINTR else 0
                self.faults.inject("submit", error=error, after=after, signal=interrupted)
        for _ in range(self.random.randrange(4)):
            self.faults.inject("getevents", error=errno.EINTR, signal=signal.SIGUSR1)

    def submit(self) -> None:
        idle = [piece for piece in self.pieces if not piece.in_flight]
        batch = self.some(idle)
        for piece in batch:
            if not piece.collectable and self.random.random() < 0.7:
                piece.renew()
        operations = [piece.op for piece in batch]
        before = [attributes(op) for op in operations]
        taken = 0
        with perhaps_refused():
            taken = self.ctx.submit(*operations)
        assert [attributes(op) for op in operations[taken:]] == before[taken:]
        for piece in batch[:taken]:
            piece.in_flight, piece.collectable = True, False
            self.submitted += 1

    def open_gates(self) -> None:
        for piece in self.pieces:
            if piece.is_poll and piece.in_flight and self.random.random() < 0.5:
                piece.gate.open()

    def note_completions(self) -> None:
        """What is done now, and was not before."""
        for piece in self.pieces:
            if piece.in_flight and piece.op.done:
                piece.in_flight, piece.collectable = False, True
                self.completed += 1
                self.signals_due += piece.is_signalled

    def collect(self) -> None:
        min_nr = self.random.choice([0, 0, 1, 3])
        # what is in flight may be polls of gates that stay shut
        events = self.ctx.getevents(min_nr, timeout=self.random.choice([0, 0.0005]))
        self.note_completions()
        by_operation = {piece.op: piece for piece in self.pieces}
        for op in events:
            self.take(by_operation[op])

    def ask_for_results(self) -> None:
        self.note_completions()
        for piece in self.some([piece for piece in self.pieces if piece.collectable]):
            self.take(piece)

    def take(self, piece: Piece) -> None:
        assert piece.collectable, "it came out twice"
        piece.collectable = False
        piece.check()

    def compare(self) -> None:
        """A sync may complete, and be signalled, at any time."""
        self.signals_seen += counter(self.eventfd)
        at_most = self.ctx.in_flight
        self.note_completions()
        assert at_most >= sum(piece.in_flight for piece in self.pieces) >= self.ctx.in_flight
        assert self.signals_seen <= self.signals_due

    def step(self) -> None:
        self.inject()
        self.submit()
        self.open_gates()
        self.random.choice([self.collect, self.ask_for_results])()
        self.faults.clear()
        self.compare()

    def finish(self) -> None:
        for piece in self.pieces:
            if piece.is_poll and piece.in_flight:
                piece.gate.open()
        while self.ctx.in_flight:
            self.ctx.getevents()
        self.compare()
        assert self.completed == self.submitted
        while self.signals_seen < self.signals_due:  # it comes after the event
            self.signals_seen += self.eventfd.read()
        self.compare()


@pytest.mark.parametrize("user_ring", [True, False], ids=["ring", "no ring"])
@pytest.mark.parametrize("seed", range(4))
def test_random_faults(
    seed: int, user_ring: bool, faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not user_ring:
        monkeypatch.setenv("LINUX_AIO_USER_RING", "0")
    file = tmp_path / "data"
    file.write_bytes(random.Random(seed).randbytes(1 << 16))
    with open(file, "r+b", buffering=0) as opened, AIOContext(16) as ctx, on_signal(nothing):
        run = RandomRun(seed, faults, ctx, opened.fileno())
        try:
            while run.submitted < 3000:
                run.step()
            run.finish()
        finally:
            faults.clear()
            run.end()


def test_random_faults_among_threads(faults: Faults, ctx: AIOContext, fd: int) -> None:
    """Every thread submits operations of its own, and reaps whatever is there."""

    def work(seed: int) -> None:
        choose = random.Random(seed)
        for _ in range(300):
            offsets = [choose.randrange(256) for _ in range(choose.randint(1, 6))]
            operations = [AIOOperation.read(1, fd, offset) for offset in offsets]
            left = operations
            while left:
                if choose.random() < 0.5:
                    error = choose.choice([*SUBMIT_ERRORS, errno.EINTR])
                    faults.inject("submit", error=error, after=choose.randrange(3))
                if choose.random() < 0.5:
                    faults.inject("submit", at_most=1, after=choose.randrange(3))
                with perhaps_refused():
                    left = left[ctx.submit(*left) :]
                ctx.getevents(0, 1)  # makes room for one, be it another thread's
            while not all(op.done for op in operations):
                ctx.getevents(0)
            assert [op.get_result() for op in operations] == [bytes([i]) for i in offsets]

    failures: list[BaseException] = []

    def guarded(seed: int) -> None:
        try:
            work(seed)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert ctx.in_flight == 0
