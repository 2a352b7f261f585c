# SPDX-License-Identifier: Apache-2.0
"""AIOContext.submit: how many are taken, when none are, and what becomes of those left over."""

from __future__ import annotations

import errno
import select
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from linux_aio import AIOContext, AIOOperation, EventFD
from support.files import Gate, file_in_memory
from support.operations import perform, signals, wait_done
from support.programs import run_program

pytest_plugins = ["support.fixtures"]


@pytest.fixture
def ctx() -> Iterator[AIOContext]:
    with AIOContext(8) as context:
        yield context


@pytest.fixture
def fd() -> Iterator[int]:
    with file_in_memory(bytes(range(256))) as number:
        yield number


@pytest.fixture
def efd() -> Iterator[EventFD]:
    with EventFD() as eventfd:
        yield eventfd


def polls_of(gate: Gate, count: int) -> list[AIOOperation]:
    """Operations that stay in flight until the gate is opened."""
    return [AIOOperation.poll(gate, select.POLLIN) for _ in range(count)]


def reads_of(fd: int, count: int) -> list[AIOOperation]:
    """Operations that complete at once, each with another result."""
    return [AIOOperation.read(1, fd, offset) for offset in range(count)]


def assert_untouched(operation: AIOOperation) -> None:
    assert operation.context is None
    assert operation.eventfd is None
    assert not operation.done
    with pytest.raises(RuntimeError, match="never submitted"):
        operation.get_result()


# How many are taken


@pytest.mark.parametrize("count", [1, 2, 8])
def test_as_many_as_there_is_room_for(count: int, ctx: AIOContext, gate: Gate) -> None:
    polls = polls_of(gate, count)
    assert ctx.submit(*polls) == count
    assert ctx.in_flight == count
    gate.open()
    assert set(ctx.getevents(count)) == set(polls)
    assert ctx.in_flight == 0


def test_none_of_none(ctx: AIOContext) -> None:
    assert ctx.submit() == 0


# The kernel's own queue is longer than it was asked for, and 128 are handed over at a time.
@pytest.mark.parametrize("max_requests", [1, 3, 8, 127, 128, 129, 300])
def test_a_batch_too_large_is_taken_up_to_max_requests_exactly(
    max_requests: int, gate: Gate
) -> None:
    with AIOContext(max_requests) as ctx:
        polls = polls_of(gate, max_requests + 5)
        assert ctx.submit(*polls) == max_requests
        assert ctx.in_flight == max_requests
        for left_over in polls[max_requests:]:
            assert_untouched(left_over)

        gate.open()
        assert set(ctx.getevents(max_requests)) == set(polls[:max_requests])
        gate.shut()
        assert ctx.submit(*polls[max_requests:]) == min(5, max_requests)
        gate.open()


def test_one_at_a_time_up_to_max_requests_exactly(ctx: AIOContext, gate: Gate) -> None:
    polls = polls_of(gate, 9)
    for count, poll in enumerate(polls[:8], start=1):
        assert ctx.submit(poll) == 1
        assert ctx.in_flight == count
    with pytest.raises(BlockingIOError):
        ctx.submit(polls[8])
    assert ctx.in_flight == 8


def test_a_full_queue_is_an_error_that_says_so(ctx: AIOContext, gate: Gate) -> None:
    ctx.submit(*polls_of(gate, 8))
    for refused in polls_of(gate, 1), polls_of(gate, 20):
        with pytest.raises(BlockingIOError, match=r"poll of fd .* full.*\b8\b") as raised:
            ctx.submit(*refused)
        assert raised.value.errno == errno.EAGAIN
        for op in refused:
            assert_untouched(op)
    assert ctx.in_flight == 8


def test_nothing_is_lost_of_a_batch_that_is_far_too_large(ctx: AIOContext, fd: int) -> None:
    operations = reads_of(fd, 256)
    left_over = operations
    collected: list[AIOOperation] = []
    while left_over:
        taken = ctx.submit(*left_over)
        assert taken == min(8, len(left_over))
        left_over = left_over[taken:]
        collected += ctx.getevents(taken)
    assert len(collected) == 256
    assert set(collected) == set(operations)
    assert [op.get_result() for op in operations] == [bytes([i]) for i in range(256)]


def test_nothing_is_lost_of_a_batch_that_is_far_too_large_with_eventfds(
    ctx: AIOContext, fd: int, efd: EventFD
) -> None:
    operations = reads_of(fd, 256)
    for op in operations:
        op.prepare(efd)
    left_over = operations
    count = 0
    while left_over:
        taken = ctx.submit(*left_over)
        left_over = left_over[taken:]
        count += signals(efd, taken)
    assert count == 256
    assert [op.get_result() for op in operations] == [bytes([i]) for i in range(256)]


# Who holds a place in the queue


def test_completed_ones_hold_their_places_until_collected(ctx: AIOContext, fd: int) -> None:
    operations = reads_of(fd, 10)
    assert ctx.submit(*operations) == 8
    wait_done(*operations[:8])
    assert ctx.in_flight == 0
    with pytest.raises(BlockingIOError):
        ctx.submit(*operations[8:])
    ctx.getevents(1, 1)
    assert ctx.submit(*operations[8:]) == 1
    wait_done(operations[8])
    assert operations[8].get_result() == b"\x08"


def test_a_place_is_held_though_the_program_dropped_the_operation(ctx: AIOContext, fd: int) -> None:
    assert ctx.submit(*reads_of(fd, 8)) == 8
    with pytest.raises(BlockingIOError):
        ctx.submit(AIOOperation.fsync(fd))
    assert len(ctx.getevents(8)) == 8
    assert ctx.submit(AIOOperation.fsync(fd)) == 1


def test_asking_for_the_result_gives_a_place_back(ctx: AIOContext, fd: int) -> None:
    operations = reads_of(fd, 9)
    assert ctx.submit(*operations) == 8
    wait_done(*operations[:8])
    assert operations[3].get_result() == b"\x03"
    assert ctx.submit(operations[8]) == 1
    with pytest.raises(BlockingIOError):
        ctx.submit(AIOOperation.fsync(fd))


def test_asking_whether_it_is_done_does_not(ctx: AIOContext, fd: int) -> None:
    operations = reads_of(fd, 8)
    ctx.submit(*operations)
    wait_done(*operations)
    with pytest.raises(BlockingIOError):
        ctx.submit(AIOOperation.fsync(fd))


def test_a_completed_one_is_submitted_again_in_its_own_place(ctx: AIOContext, fd: int) -> None:
    operations = reads_of(fd, 8)
    ctx.submit(*operations)
    wait_done(*operations)
    assert ctx.submit(*operations) == 8
    assert set(ctx.getevents(8)) == set(operations)


@pytest.mark.parametrize("dropped", [False, True])
def test_completed_ones_with_an_eventfd_hold_no_place(
    dropped: bool, ctx: AIOContext, fd: int, efd: EventFD
) -> None:
    held = []
    for _ in range(5):
        operations = reads_of(fd, 8)
        for op in operations:
            op.prepare(efd)
        assert ctx.submit(*operations) == 8
        held.append(operations)
        if dropped:
            held.clear()
        assert signals(efd, 8) == 8


def test_those_in_flight_with_an_eventfd_hold_theirs(
    ctx: AIOContext, gate: Gate, efd: EventFD
) -> None:
    polls = polls_of(gate, 9)
    for poll in polls:
        poll.prepare(efd)
    assert ctx.submit(*polls) == 8
    gate.open()
    assert signals(efd, 8) == 8
    assert ctx.submit(polls[8]) == 1


# What is refused before anything is submitted


def test_the_same_one_twice_in_a_batch(ctx: AIOContext, fd: int) -> None:
    first, twice, last = reads_of(fd, 3)
    with pytest.raises(ValueError, match="twice"):
        ctx.submit(first, twice, twice, last)
    assert ctx.in_flight == 0
    assert ctx.getevents(0) == []
    for op in (first, twice, last):
        assert_untouched(op)


def test_a_completed_one_twice_in_a_batch_keeps_its_result(ctx: AIOContext, fd: int) -> None:
    op = AIOOperation.read(1, fd, 5)
    ctx.submit(op)
    wait_done(op)
    with pytest.raises(ValueError, match="twice"):
        ctx.submit(op, op)
    assert ctx.getevents(0) == [op]
    assert op.get_result() == b"\x05"


def test_one_in_flight(ctx: AIOContext, gate: Gate, fd: int) -> None:
    (poll,), (read,) = polls_of(gate, 1), reads_of(fd, 1)
    ctx.submit(poll)
    with pytest.raises(ValueError, match="in flight"):
        ctx.submit(poll)
    with pytest.raises(ValueError, match="in flight"):
        poll.submit(ctx)
    with pytest.raises(ValueError, match="in flight"):
        ctx.submit(read, poll)
    assert_untouched(read)
    assert ctx.in_flight == 1
    gate.open()
    assert ctx.getevents() == [poll]


def test_one_in_flight_in_another_context(ctx: AIOContext, gate: Gate) -> None:
    (poll,) = polls_of(gate, 1)
    with AIOContext(1) as other:
        other.submit(poll)
        with pytest.raises(ValueError, match="in flight"):
            ctx.submit(poll)
        assert poll.context is other
        assert ctx.in_flight == 0
        assert other.in_flight == 1
        gate.open()
        assert other.getevents() == [poll]


@pytest.mark.parametrize("stranger", [None, 1, "read", [], AIOOperation])
def test_what_is_no_operation(stranger: Any, ctx: AIOContext, fd: int) -> None:
    (read,) = reads_of(fd, 1)
    with pytest.raises(TypeError):
        ctx.submit(read, stranger)
    assert ctx.in_flight == 0
    assert_untouched(read)


def test_one_that_fails_to_give_its_fd(ctx: AIOContext, fd: int) -> None:
    class Forgetful:
        is_asked = False

        def fileno(self) -> int:
            if self.is_asked:
                raise LookupError("which file?")
            self.is_asked = True
            return fd

    good = reads_of(fd, 2)
    with pytest.raises(LookupError, match="which file"):
        ctx.submit(good[0], AIOOperation.read(1, Forgetful()), good[1])
    assert ctx.in_flight == 0
    for op in good:
        assert_untouched(op)


def test_operations_have_no_names(ctx: AIOContext, fd: int) -> None:
    submit: Any = ctx.submit
    with pytest.raises(TypeError):
        submit(operations=AIOOperation.fsync(fd))


# What the kernel refuses

REFUSED: dict[str, Callable[[int], AIOOperation]] = {
    "bad fd": lambda fd: AIOOperation.read(1, -1),
    "unknown flag": lambda fd: AIOOperation.read(1, fd, flags=1 << 30),
    "bad priority": lambda fd: AIOOperation.read(1, fd, priority=7 << 13),
}

# Those that every engine refuses when they are submitted, and those that only kernel AIO does.
at_once = pytest.mark.parametrize("make_refused", [REFUSED["bad fd"]], ids=["bad fd"])
each = pytest.mark.parametrize("make_refused", REFUSED.values(), ids=REFUSED)


def check_one_refused_in_the_middle(ctx: AIOContext, fd: int, refused: AIOOperation) -> None:
    before, after = reads_of(fd, 2)
    assert ctx.submit(before, refused, after) == 1
    wait_done(before)
    assert before.get_result() == b"\x00"
    assert_untouched(refused)
    assert_untouched(after)
    with pytest.raises(OSError, match="read of 1 bytes"):
        ctx.submit(refused, after)
    assert_untouched(refused)
    assert_untouched(after)
    assert ctx.submit(after) == 1
    wait_done(after)
    assert after.get_result() == b"\x01"


@at_once
def test_one_refused_in_the_middle_stops_the_batch(
    make_refused: Callable[[int], AIOOperation], ctx: AIOContext, fd: int
) -> None:
    check_one_refused_in_the_middle(ctx, fd, make_refused(fd))


@pytest.mark.engine("aio")
@each
def test_kernel_aio_refuses_in_the_middle_of_a_batch(
    make_refused: Callable[[int], AIOOperation], ctx: AIOContext, fd: int
) -> None:
    check_one_refused_in_the_middle(ctx, fd, make_refused(fd))


@each
def test_one_refused_or_failed_leaves_those_around_it_as_they_are(
    make_refused: Callable[[int], AIOOperation], ctx: AIOContext, fd: int
) -> None:
    """The engine may learn of it when it is submitted, or later; the error is the same."""
    before, after = reads_of(fd, 2)
    refused = make_refused(fd)
    batch = [before, refused, after]
    if (taken := ctx.submit(*batch)) == 1:
        assert ctx.submit(after) == 1
    else:
        assert taken == 3
    with pytest.raises(OSError, match=r"read of 1 bytes.* of fd "):
        perform(ctx, refused) if taken == 1 else result(ctx, refused)
    assert (result(ctx, before), result(ctx, after)) == (b"\x00", b"\x01")


def result(ctx: AIOContext, op: AIOOperation) -> Any:
    wait_done(op)
    return op.get_result()


@each
def test_refused_ones_take_no_place(
    make_refused: Callable[[int], AIOOperation], ctx: AIOContext, fd: int
) -> None:
    refused = make_refused(fd)
    for _ in range(20):
        with pytest.raises(OSError, match="read of 1 bytes"):
            perform(ctx, refused)
    assert ctx.in_flight == 0
    assert ctx.submit(*reads_of(fd, 8)) == 8


def test_one_left_over_that_had_a_result_keeps_it(ctx: AIOContext, fd: int, gate: Gate) -> None:
    op = AIOOperation.read(1, fd, 5)
    assert perform(ctx, op) == b"\x05"
    assert ctx.submit(*polls_of(gate, 8), op) == 8
    wait_done(op)
    assert op.get_result() == b"\x05"
    assert op.payload == b"\x05"


def test_one_left_over_that_was_not_collected_can_still_be(
    ctx: AIOContext, fd: int, gate: Gate
) -> None:
    op = AIOOperation.read(1, fd, 5)
    op.submit(ctx)
    wait_done(op)
    refused = AIOOperation.read(1, -1)
    with pytest.raises(OSError, match="of fd -1"):
        ctx.submit(refused, op)
    assert ctx.getevents(0) == [op]


# Where operations go


def test_one_submitted_by_itself_returns_one(ctx: AIOContext, fd: int) -> None:
    (op,) = reads_of(fd, 1)
    assert op.submit(ctx) == 1
    assert op.context is ctx
    assert ctx.getevents() == [op]


@pytest.mark.without_sanitizers  # AddressSanitizer needs more memory than the limit allows
def test_a_batch_needs_memory_for_what_there_is_room_for_alone() -> None:
    """More than the context takes: the rest is for the next call."""
    program = """
import os, resource
from linux_aio import AIOContext, AIOOperation

fd = os.memfd_create("data")
os.truncate(fd, 1 << 20)
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
with AIOContext(4) as context:
    operations = [AIOOperation.read(64 << 20, fd) for _ in range(40)]
    print(context.submit(*operations))
    print(len(context.getevents(4)))
"""
    assert run_program(program).split() == ["4", "4"]
