# SPDX-License-Identifier: Apache-2.0
"""AIOContext.fileno: readable while completed operations wait to be collected, else not."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Iterator

import pytest

from linux_aio import AIOContext, AIOOperation, EventFD
from support.files import Gate, Numbered, file_in_memory, is_readable
from support.operations import wait_done
from support.workers import PATIENCE

pytest_plugins = ["support.fixtures"]


@pytest.fixture
def ctx() -> Iterator[AIOContext]:
    with AIOContext(8) as context:
        yield context


@pytest.fixture
def fd() -> Iterator[int]:
    with file_in_memory(b"Hello world") as number:
        yield number


def poll_of(gate: Gate) -> AIOOperation:
    """An operation that stays in flight until the gate is opened."""
    return AIOOperation.poll(gate, select.POLLIN)


def test_it_is_always_the_same(ctx: AIOContext, fd: int) -> None:
    number = ctx.fileno
    AIOOperation.fsync(fd).submit(ctx)
    ctx.getevents()
    assert ctx.fileno == number


def test_every_context_has_its_own(ctx: AIOContext) -> None:
    with AIOContext(1) as other:
        assert ctx.fileno != other.fileno


def test_not_readable_when_nothing_was_submitted(ctx: AIOContext) -> None:
    assert not is_readable(ctx.fileno)


def test_not_readable_while_all_are_in_flight(ctx: AIOContext, gate: Gate) -> None:
    number = ctx.fileno
    ctx.submit(poll_of(gate), poll_of(gate))
    assert not is_readable(number)


def test_readable_from_the_completion_to_the_collection(ctx: AIOContext, gate: Gate) -> None:
    number = ctx.fileno
    ctx.submit(poll_of(gate))
    gate.open()
    assert is_readable(number, PATIENCE)
    assert is_readable(number, PATIENCE)
    assert len(ctx.getevents()) == 1
    assert not is_readable(number)


def test_readable_though_it_is_first_asked_for_after_the_completion(
    ctx: AIOContext, fd: int
) -> None:
    ctx.submit(AIOOperation.read(5, fd))
    assert is_readable(ctx.fileno, PATIENCE)
    ctx.getevents()
    assert not is_readable(ctx.fileno)


def test_readable_though_it_is_first_asked_for_after_a_completion_that_was_foreseen(
    ctx: AIOContext, fd: int
) -> None:
    with EventFD() as efd:
        AIOOperation.read(5, fd).submit(ctx, efd)  # by which ctx learns that the file is in memory
        assert efd.read() == 1
    ctx.submit(AIOOperation.read(5, fd))
    assert is_readable(ctx.fileno, PATIENCE)
    assert len(ctx.getevents(0)) == 1
    assert not is_readable(ctx.fileno)


def test_not_readable_when_it_is_first_asked_for_after_the_collection(
    ctx: AIOContext, fd: int, gate: Gate
) -> None:
    gate.open()
    ctx.submit(AIOOperation.read(5, fd), poll_of(gate))
    assert len(ctx.getevents(2)) == 2
    assert not is_readable(ctx.fileno)


def test_readable_after_a_completion_though_it_is_first_asked_for_in_flight(
    ctx: AIOContext, gate: Gate
) -> None:
    ctx.submit(poll_of(gate))
    number = ctx.fileno
    assert not is_readable(number)
    gate.open()
    assert is_readable(number, PATIENCE)


def test_readable_until_the_last_is_collected(ctx: AIOContext, fd: int) -> None:
    number = ctx.fileno
    operations = [AIOOperation.read(1, fd) for _ in range(3)]
    ctx.submit(*operations)
    wait_done(*operations)
    for _ in range(3):
        assert is_readable(number, PATIENCE)
        assert len(ctx.getevents(1, 1)) == 1
    assert not is_readable(number)


def test_readable_when_some_are_collected_and_others_in_flight(
    ctx: AIOContext, fd: int, gate: Gate
) -> None:
    number = ctx.fileno
    poll = poll_of(gate)
    ctx.submit(AIOOperation.read(1, fd), poll)
    assert is_readable(number, PATIENCE)
    ctx.getevents()
    assert not is_readable(number)
    gate.open()
    assert is_readable(number, PATIENCE)
    assert ctx.getevents() == [poll]
    assert not is_readable(number)


def test_again_and_again(ctx: AIOContext, fd: int) -> None:
    number = ctx.fileno
    op = AIOOperation.read(1, fd)
    for _ in range(100):
        op.submit(ctx)
        assert is_readable(number, PATIENCE)
        assert ctx.getevents(0) == [op]
        assert not is_readable(number)


def test_readable_though_whether_it_is_done_was_asked(ctx: AIOContext, fd: int) -> None:
    number = ctx.fileno
    op = AIOOperation.read(1, fd)
    op.submit(ctx)
    wait_done(op)
    assert is_readable(number, PATIENCE)


def test_not_readable_when_the_results_were_asked_for(ctx: AIOContext, fd: int) -> None:
    number = ctx.fileno
    operations = [AIOOperation.read(1, fd) for _ in range(2)]
    ctx.submit(*operations)
    wait_done(*operations)
    operations[0].get_result()
    assert is_readable(number, PATIENCE)
    operations[1].get_result()
    assert not is_readable(number)


def test_not_readable_when_the_only_one_is_in_flight_again(ctx: AIOContext, gate: Gate) -> None:
    number = ctx.fileno
    poll = poll_of(gate)
    poll.submit(ctx)
    gate.open()
    assert is_readable(number, PATIENCE)
    gate.shut()
    poll.submit(ctx)
    assert not is_readable(number)
    gate.open()
    assert is_readable(number, PATIENCE)


def test_not_readable_when_the_only_one_is_in_flight_elsewhere(ctx: AIOContext, gate: Gate) -> None:
    number = ctx.fileno
    poll = poll_of(gate)
    poll.submit(ctx)
    gate.open()
    wait_done(poll)
    gate.shut()
    with AIOContext(1) as other:
        poll.submit(other)
        assert not is_readable(number)


def test_still_readable_when_submitting_it_again_was_refused(ctx: AIOContext, fd: int) -> None:
    number = ctx.fileno
    file = Numbered(fd)
    op = AIOOperation.read(5, file)
    op.submit(ctx)
    wait_done(op)
    file.number = -1
    with pytest.raises(OSError, match="of fd -1"):
        op.submit(ctx)
    assert is_readable(number, PATIENCE)
    assert ctx.getevents(0) == [op]
    assert not is_readable(number)


def test_not_readable_for_those_that_signal_an_eventfd_of_the_programs(
    ctx: AIOContext, fd: int
) -> None:
    number = ctx.fileno
    op = AIOOperation.read(1, fd)
    with EventFD() as efd:
        op.submit(ctx, efd)
        assert efd.read() == 1
    assert not is_readable(number)
    assert op.done
    assert not is_readable(number)


REAPERS: dict[str, Callable[[AIOContext], object]] = {
    "in_flight": lambda ctx: ctx.in_flight,
    "another submission": lambda ctx: ctx.submit(),
    "a wait in vain": lambda ctx: ctx.getevents(0, 0),
}


@pytest.mark.parametrize("reap", REAPERS.values(), ids=REAPERS)
def test_readable_though_the_completion_was_noticed(
    reap: Callable[[AIOContext], object], ctx: AIOContext, gate: Gate
) -> None:
    number = ctx.fileno
    poll = poll_of(gate)
    poll.submit(ctx)
    gate.open()
    reap(ctx)
    assert is_readable(number, PATIENCE)
    assert ctx.getevents(0) == [poll]


def test_a_context_can_be_polled_by_another(ctx: AIOContext, gate: Gate) -> None:
    with AIOContext(1) as outer:
        watch = AIOOperation.poll(ctx, select.POLLIN)
        watch.submit(outer)
        assert watch.fileno == ctx.fileno
        poll = poll_of(gate)
        poll.submit(ctx)
        assert not watch.done
        gate.open()
        assert outer.getevents() == [watch]
        assert ctx.getevents(0) == [poll]


def test_an_event_loop_can_collect_with_it(ctx: AIOContext, fd: int, gate: Gate) -> None:
    async def collect() -> list[AIOOperation]:
        loop = asyncio.get_running_loop()
        collected: list[AIOOperation] = []
        all_there = asyncio.Event()

        def on_readable() -> None:
            collected.extend(ctx.getevents(0))
            if len(collected) == 2:
                all_there.set()

        loop.add_reader(ctx.fileno, on_readable)
        ctx.submit(AIOOperation.read(5, fd), poll_of(gate))
        loop.call_later(0.02, gate.open)
        await all_there.wait()
        loop.remove_reader(ctx.fileno)
        return collected

    read, poll = asyncio.run(collect())
    assert read.get_result() == b"Hello"
    assert poll.get_result() & select.POLLIN
