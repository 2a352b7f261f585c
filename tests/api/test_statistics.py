# SPDX-License-Identifier: Apache-2.0
"""AIOContext.statistics: counts that add up."""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Iterator

import pytest

from linux_aio import AIOContext, AIOOperation, EventFD
from support.files import Gate, file_in_memory, refuse_writes
from support.forked import in_child
from support.operations import perform, wait_done

COUNTS = {
    "submitted",
    "completed",
    "failed",
    "cancelled",
    "submissions",
    "short_submissions",
    "waits",
}


@pytest.fixture
def ctx() -> Iterator[AIOContext]:
    with AIOContext(8) as context:
        yield context


@pytest.fixture
def fd() -> Iterator[int]:
    with file_in_memory(b"0123456789") as number:
        yield number


class Change:
    """What was counted since it was made."""

    def __init__(self, context: AIOContext) -> None:
        self._context = context
        self._before = context.statistics()

    def __call__(self) -> dict[str, int]:
        """Without those that are 0, and without waits, of which there may be any number."""
        now = self._context.statistics()
        changes = {name: now[name] - self._before[name] for name in COUNTS - {"waits"}}
        return {name: change for name, change in changes.items() if change}


def polls(gate: Gate, count: int) -> list[AIOOperation]:
    return [AIOOperation.poll(gate, select.POLLIN) for _ in range(count)]


def test_a_new_context(ctx: AIOContext) -> None:
    statistics = ctx.statistics()
    assert set(statistics) >= COUNTS
    assert all(type(name) is str and type(count) is int for name, count in statistics.items())
    assert set(statistics.values()) == {0}


def test_one_operation(ctx: AIOContext, fd: int) -> None:
    change = Change(ctx)
    perform(ctx, AIOOperation.read(4, fd))
    assert change() == {"submitted": 1, "completed": 1, "submissions": 1}


def test_a_batch(ctx: AIOContext, fd: int) -> None:
    change = Change(ctx)
    assert ctx.submit(*(AIOOperation.read(4, fd) for _ in range(5))) == 5
    ctx.getevents(5)
    assert change() == {"submitted": 5, "completed": 5, "submissions": 1}


def test_an_operation_again_and_again(ctx: AIOContext, fd: int) -> None:
    change = Change(ctx)
    op = AIOOperation.read(4, fd)
    for _ in range(100):
        perform(ctx, op)
    assert change() == {"submitted": 100, "completed": 100, "submissions": 100}


def test_what_is_in_flight_has_not_completed(ctx: AIOContext) -> None:
    with Gate() as gate:
        change = Change(ctx)
        ctx.submit(*polls(gate, 3))
        assert change() == {"submitted": 3, "submissions": 1}
        gate.open()
        ctx.getevents(3)
        assert change() == {"submitted": 3, "completed": 3, "submissions": 1}


def test_what_completed_is_counted_before_anybody_asks_for_it(ctx: AIOContext, fd: int) -> None:
    change = Change(ctx)
    with EventFD() as efd:
        AIOOperation.read(4, fd).submit(ctx, efd)
        assert efd.read() == 1
    assert change() == {"submitted": 1, "completed": 1, "submissions": 1}


def test_an_error_at_completion(ctx: AIOContext, fd: int) -> None:
    refuse_writes(fd)
    change = Change(ctx)
    with pytest.raises(PermissionError):
        perform(ctx, AIOOperation.write(b"data", fd))
    assert change() == {"submitted": 1, "completed": 1, "failed": 1, "submissions": 1}


def test_a_result_that_is_short_or_empty_is_no_error(ctx: AIOContext, fd: int) -> None:
    change = Change(ctx)
    assert perform(ctx, AIOOperation.read(100, fd, 5)) == b"56789"
    assert perform(ctx, AIOOperation.read(100, fd, 50)) == b""
    assert change() == {"submitted": 2, "completed": 2, "submissions": 2}


def test_one_that_was_cancelled(ctx: AIOContext) -> None:
    with Gate() as gate:
        op, other = polls(gate, 2)
        change = Change(ctx)
        ctx.submit(op, other)
        assert ctx.cancel(op)
        assert ctx.getevents() == [op]
        assert change() == {
            "submitted": 2,
            "completed": 1,
            "failed": 1,
            "cancelled": 1,
            "submissions": 1,
        }


def test_what_could_not_be_cancelled_was_not(ctx: AIOContext, fd: int) -> None:
    op = AIOOperation.read(4, fd)
    perform(ctx, op)
    change = Change(ctx)
    with pytest.raises(ValueError, match="not in flight"):
        ctx.cancel(op)
    assert change() == {}


def test_a_batch_that_was_cut(ctx: AIOContext, fd: int) -> None:
    """Refused at once by this kernel's AIO; an engine that learns of it later takes all three."""
    good, bad = AIOOperation.read(4, fd), AIOOperation.read(4, 1 << 20)
    change = Change(ctx)
    taken = ctx.submit(good, bad, AIOOperation.read(4, fd))
    ctx.getevents(taken)
    counted = change()
    assert counted["submitted"] == counted["completed"] == taken
    assert counted.get("short_submissions", 0) == (taken < 3)
    assert counted["submissions"] == 1


def test_one_that_was_refused(ctx: AIOContext) -> None:
    change = Change(ctx)
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        perform(ctx, AIOOperation.read(4, 1 << 20))
    counted = change()
    assert counted.get("submitted", 0) == counted.get("completed", 0) == counted.get("failed", 0)


def test_a_full_queue_is_no_call_to_the_engine(ctx: AIOContext) -> None:
    with Gate() as gate:
        ctx.submit(*polls(gate, 8))
        change = Change(ctx)
        with pytest.raises(BlockingIOError):
            polls(gate, 1)[0].submit(ctx)
        assert change() == {}


def test_what_is_wrong_from_the_start_is_not_counted(ctx: AIOContext, fd: int) -> None:
    op = AIOOperation.read(4, fd)
    change = Change(ctx)
    with pytest.raises(ValueError, match="twice"):
        ctx.submit(op, op)
    assert change() == {}


def test_waiting(ctx: AIOContext) -> None:
    with Gate() as gate:
        ctx.submit(*polls(gate, 1))
        before = ctx.statistics()["waits"]
        assert ctx.getevents(0) == []
        assert ctx.statistics()["waits"] == before
        assert ctx.getevents(1, timeout=0.001) == []
        assert ctx.statistics()["waits"] > before


def test_what_is_there_needs_no_waiting(ctx: AIOContext, fd: int) -> None:
    for _ in range(10):
        op = AIOOperation.read(4, fd)
        op.submit(ctx)
        wait_done(op)
        assert len(ctx.getevents()) == 1
    assert ctx.statistics()["waits"] == 0


def test_each_answer_is_its_own(ctx: AIOContext, fd: int) -> None:
    first = ctx.statistics()
    first["submitted"] = 1000
    perform(ctx, AIOOperation.read(4, fd))
    assert ctx.statistics()["submitted"] == 1
    assert first["completed"] == 0


def test_each_context_has_its_own(ctx: AIOContext, fd: int) -> None:
    with AIOContext(1) as other:
        perform(other, AIOOperation.read(4, fd))
        assert ctx.statistics()["submitted"] == 0


def test_they_outlive_the_context(fd: int) -> None:
    with Gate() as gate:
        with AIOContext(8) as ctx:
            perform(ctx, AIOOperation.read(4, fd))
            ctx.submit(*polls(gate, 2))
        statistics = ctx.statistics()
    assert statistics["submitted"] == statistics["completed"] == 3
    assert statistics["failed"] == 2


def test_a_child_has_none(ctx: AIOContext) -> None:
    def ask() -> str:
        with pytest.raises(RuntimeError) as caught:
            ctx.statistics()
        return str(caught.value)

    assert "child" in in_child(ask)
