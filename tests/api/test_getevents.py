# SPDX-License-Identifier: Apache-2.0
"""AIOContext.getevents: which operations it hands out, how many, and how long it waits for them."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from linux_aio import AIOContext, AIOOperation, EventFD
from support.files import Gate, file_in_memory, refuse_writes
from support.operations import signals, wait_done
from support.signals import AlarmError, alarm, raising_alarm


@pytest.fixture
def ctx() -> Iterator[AIOContext]:
    with AIOContext(8) as context:
        yield context


@pytest.fixture
def fd() -> Iterator[int]:
    with file_in_memory(b"Hello world") as number:
        yield number


@pytest.fixture
def efd() -> Iterator[EventFD]:
    with EventFD() as eventfd:
        yield eventfd


@pytest.fixture
def gates() -> Iterator[list[Gate]]:
    with Gate() as first, Gate() as second, Gate() as third:
        yield [first, second, third]


def poll_of(gate: Gate) -> AIOOperation:
    """An operation that stays in flight until the gate is opened."""
    return AIOOperation.poll(gate, select.POLLIN)


def completed_reads(ctx: AIOContext, fd: int, count: int) -> list[AIOOperation]:
    operations = [AIOOperation.read(1, fd, offset) for offset in range(count)]
    assert ctx.submit(*operations) == count
    wait_done(*operations)
    return operations


# Which it hands out


def test_each_is_handed_out_once(ctx: AIOContext, fd: int) -> None:
    operations = completed_reads(ctx, fd, 5)
    assert set(ctx.getevents(5)) == set(operations)
    assert ctx.getevents(0) == []


def test_they_come_in_order_of_completion(ctx: AIOContext, gates: list[Gate]) -> None:
    polls = [poll_of(gate) for gate in gates]
    ctx.submit(*polls)
    for i in (2, 0, 1):
        gates[i].open()
        wait_done(polls[i])
    assert ctx.getevents(3) == [polls[2], polls[0], polls[1]]


def test_one_that_failed_is_handed_out_too(ctx: AIOContext, fd: int) -> None:
    refuse_writes(fd)
    op = AIOOperation.write(b"x", fd)
    op.submit(ctx)
    assert ctx.getevents() == [op]
    with pytest.raises(PermissionError):
        op.get_result()


def test_those_whose_result_was_asked_for_are_not_handed_out(ctx: AIOContext, fd: int) -> None:
    operations = completed_reads(ctx, fd, 4)
    assert operations[1].get_result() == b"e"
    assert set(ctx.getevents(3)) == {operations[0], operations[2], operations[3]}


def test_asking_for_the_result_afterwards_does_not_bring_it_back(ctx: AIOContext, fd: int) -> None:
    (op,) = completed_reads(ctx, fd, 1)
    assert ctx.getevents() == [op]
    op.get_result()
    assert ctx.getevents(0) == []


def test_one_submitted_again_is_handed_out_again(ctx: AIOContext, fd: int) -> None:
    (op,) = completed_reads(ctx, fd, 1)
    for _ in range(3):
        assert ctx.getevents() == [op]
        assert ctx.getevents(0) == []
        op.submit(ctx)
    assert ctx.getevents() == [op]


def test_one_submitted_again_before_it_was_collected_is_handed_out_once(
    ctx: AIOContext, fd: int
) -> None:
    (op,) = completed_reads(ctx, fd, 1)
    op.submit(ctx)
    wait_done(op)
    assert ctx.getevents() == [op]
    assert ctx.getevents(0) == []


def test_those_that_nobody_else_holds_are_kept_for_it(ctx: AIOContext, fd: int) -> None:
    for offset in (0, 6):
        ctx.submit(AIOOperation.read(5, fd, offset))
    assert {op.get_result() for op in ctx.getevents(2)} == {b"Hello", b"world"}


def test_with_an_eventfd_those_are_handed_out_that_the_program_holds(
    ctx: AIOContext, fd: int, efd: EventFD
) -> None:
    held = AIOOperation.read(5, fd)
    held.submit(ctx, efd)
    AIOOperation.read(5, fd, 6).submit(ctx, efd)
    assert signals(efd, 2) == 2
    assert ctx.getevents() == [held]
    assert ctx.getevents(0) == []


def test_with_an_eventfd_one_that_the_program_dropped_later_is_gone(
    ctx: AIOContext, fd: int, efd: EventFD
) -> None:
    op = AIOOperation.read(5, fd)
    op.submit(ctx, efd)
    wait_done(op)
    del op
    assert ctx.getevents(0) == []


def test_with_an_eventfd_one_whose_result_was_asked_for_is_not_handed_out(
    ctx: AIOContext, fd: int, efd: EventFD
) -> None:
    op = AIOOperation.read(5, fd)
    op.submit(ctx, efd)
    wait_done(op)
    assert op.get_result() == b"Hello"
    assert ctx.getevents(0) == []


def test_every_context_hands_out_its_own(ctx: AIOContext, fd: int) -> None:
    with AIOContext(8) as other:
        (theirs,) = completed_reads(other, fd, 1)
        (ours,) = completed_reads(ctx, fd, 1)
        assert ctx.getevents(8) == [ours]
        assert other.getevents(8) == [theirs]


# How many


@pytest.mark.parametrize("max_nr", [1, 2, 4, 5, 100, None])
def test_at_most_max_nr(max_nr: int | None, ctx: AIOContext, fd: int) -> None:
    operations = completed_reads(ctx, fd, 5)
    first = ctx.getevents(1, max_nr)
    assert len(first) == min(5, 5 if max_nr is None else max_nr)
    rest = ctx.getevents(0)
    assert set(first + rest) == set(operations)
    assert len(first + rest) == 5


def test_all_that_are_there_though_fewer_would_do(ctx: AIOContext, fd: int) -> None:
    completed_reads(ctx, fd, 5)
    assert len(ctx.getevents(2)) == 5


def test_max_nr_of_none_is_none(ctx: AIOContext, fd: int) -> None:
    completed_reads(ctx, fd, 1)
    assert ctx.getevents(0, 0) == []
    assert len(ctx.getevents()) == 1


def test_more_than_go_through_the_ring_at_once(fd: int) -> None:
    with AIOContext(500) as ctx:
        completed_reads(ctx, fd, 500)
        assert len(ctx.getevents(500)) == 500


# How long it waits


def opened_later(gate: Gate) -> threading.Timer:
    timer = threading.Timer(0.02, gate.open)
    timer.start()
    return timer


def test_it_waits_for_one_without_being_told_how_many(ctx: AIOContext, gates: list[Gate]) -> None:
    poll = poll_of(gates[0])
    poll.submit(ctx)
    opener = opened_later(gates[0])
    assert ctx.getevents() == [poll]
    opener.join()


def test_it_waits_for_min_nr(ctx: AIOContext, gates: list[Gate], fd: int) -> None:
    (read,) = completed_reads(ctx, fd, 1)
    poll = poll_of(gates[0])
    poll.submit(ctx)
    opener = opened_later(gates[0])
    assert ctx.getevents(2) == [read, poll]
    opener.join()


def test_it_waits_for_one_with_an_eventfd_that_the_program_holds(
    ctx: AIOContext, gates: list[Gate], efd: EventFD
) -> None:
    poll = poll_of(gates[0])
    poll.submit(ctx, efd)
    opener = opened_later(gates[0])
    assert ctx.getevents() == [poll]
    opener.join()


def test_it_does_not_wait_when_min_nr_is_zero(ctx: AIOContext, gates: list[Gate]) -> None:
    ctx.submit(poll_of(gates[0]))
    assert ctx.getevents(0) == []


@pytest.mark.parametrize("timeout", [0, 0.0, 0.001, 0.05])
def test_it_gives_up_when_the_time_is_over_and_not_before(
    timeout: float, ctx: AIOContext, gates: list[Gate]
) -> None:
    poll = poll_of(gates[0])
    poll.submit(ctx)
    start = time.monotonic()
    assert ctx.getevents(timeout=timeout) == []
    assert time.monotonic() - start >= timeout
    gates[0].open()
    assert ctx.getevents() == [poll]


def test_when_the_time_is_over_it_gives_what_it_has(
    ctx: AIOContext, gates: list[Gate], fd: int
) -> None:
    operations = completed_reads(ctx, fd, 2)
    poll_of(gates[0]).submit(ctx)
    assert set(ctx.getevents(3, timeout=0.01)) == set(operations)


@pytest.mark.parametrize("timeout", [0, 0.01, 1e9, float("inf"), None])
def test_it_gives_what_is_there_whatever_the_timeout(
    timeout: float | None, ctx: AIOContext, fd: int
) -> None:
    (op,) = completed_reads(ctx, fd, 1)
    assert ctx.getevents(1, None, timeout) == [op]


@pytest.mark.parametrize("timeout", [1e9, 1e300, float("inf"), 10**20])
def test_it_can_wait_very_long(timeout: float, ctx: AIOContext, gates: list[Gate]) -> None:
    poll = poll_of(gates[0])
    poll.submit(ctx)
    opener = opened_later(gates[0])
    assert ctx.getevents(timeout=timeout) == [poll]
    opener.join()


# When it returns early. If it doesn't, these wait for ever.


def test_it_does_not_wait_when_nothing_is_in_flight(ctx: AIOContext) -> None:
    assert ctx.getevents(8) == []


def test_it_does_not_wait_for_more_than_are_in_flight(ctx: AIOContext, fd: int) -> None:
    operations = completed_reads(ctx, fd, 2)
    assert set(ctx.getevents(8)) == set(operations)


def test_it_does_not_wait_for_what_it_would_not_hand_out(
    ctx: AIOContext, gates: list[Gate], fd: int, efd: EventFD
) -> None:
    poll_of(gates[0]).submit(ctx, efd)
    assert ctx.in_flight == 1
    assert ctx.getevents() == []
    (op,) = completed_reads(ctx, fd, 1)
    assert ctx.getevents(2) == [op]
    gates[0].open()
    assert efd.read() == 1


def test_it_waits_no_longer_once_the_last_is_there(ctx: AIOContext, gates: list[Gate]) -> None:
    polls = [poll_of(gate) for gate in gates[:2]]
    ctx.submit(*polls)
    gates[0].open()
    opener = opened_later(gates[1])
    assert ctx.getevents(8) == polls
    opener.join()


# Signals


def test_it_goes_on_after_a_signal(ctx: AIOContext, gates: list[Gate]) -> None:
    poll = poll_of(gates[0])
    poll.submit(ctx)
    with alarm(gates[0].open):
        assert ctx.getevents() == [poll]


def test_a_signal_does_not_make_its_time_longer_or_shorter(
    ctx: AIOContext, gates: list[Gate]
) -> None:
    poll_of(gates[0]).submit(ctx)
    calls: list[int] = []
    start = time.monotonic()
    with alarm(lambda: calls.append(1)):
        assert ctx.getevents(timeout=0.1) == []
    assert time.monotonic() - start >= 0.1
    assert calls == [1]


def test_it_ends_when_a_signals_handler_raises_and_nothing_is_lost(
    ctx: AIOContext, gates: list[Gate], fd: int
) -> None:
    (read,) = completed_reads(ctx, fd, 1)
    poll = poll_of(gates[0])
    poll.submit(ctx)
    with pytest.raises(AlarmError), raising_alarm():
        ctx.getevents(2)
    gates[0].open()
    assert ctx.getevents(2) == [read, poll]


def test_it_ends_when_a_signals_handler_closes_the_context(gates: list[Gate]) -> None:
    with AIOContext(8) as ctx:
        poll = poll_of(gates[0])
        poll.submit(ctx)
        with alarm(ctx.close), pytest.raises(ValueError, match="closed"):
            ctx.getevents()
        assert poll.done


# Its arguments


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("min_nr", -1, ValueError),
        ("min_nr", 9, ValueError),
        ("min_nr", 2**64, ValueError),
        ("min_nr", "1", TypeError),
        ("min_nr", 1.0, TypeError),
        ("min_nr", None, TypeError),
        ("max_nr", -1, ValueError),
        ("max_nr", 0, ValueError),
        ("max_nr", "1", TypeError),
        ("max_nr", 1.0, TypeError),
        ("timeout", -1, ValueError),
        ("timeout", -0.001, ValueError),
        ("timeout", float("nan"), ValueError),
        ("timeout", float("-inf"), ValueError),
        ("timeout", "1", TypeError),
    ],
)
def test_a_bad_argument_is_refused_and_nothing_lost(
    name: str, value: Any, error: type[Exception], ctx: AIOContext, fd: int
) -> None:
    (op,) = completed_reads(ctx, fd, 1)
    with pytest.raises(error):
        ctx.getevents(**{name: value})
    assert ctx.getevents(8) == [op]


def test_max_nr_below_min_nr_is_refused(ctx: AIOContext) -> None:
    with pytest.raises(ValueError, match="max_nr"):
        ctx.getevents(3, 2)


def test_arguments_have_names(ctx: AIOContext, fd: int) -> None:
    operations = completed_reads(ctx, fd, 2)
    assert set(ctx.getevents(min_nr=2, max_nr=2, timeout=None)) == set(operations)


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [((1, 2, 3, 4), {}), ((1,), {"min_nr": 1}), ((), {"nr": 1})],
)
def test_wrong_arguments_are_a_type_error(
    arguments: tuple[int, ...], keywords: dict[str, int], ctx: AIOContext
) -> None:
    with pytest.raises(TypeError, match=r"getevents\(\)"):
        ctx.getevents(*arguments, **keywords)  # type: ignore[arg-type,call-arg,misc,unused-ignore]
