# SPDX-License-Identifier: Apache-2.0
"""Random programs of operations of every kind, against a plain model of the file.

What a program may do at once is kept such that only one outcome is right: an operation is submitted
when nothing in flight touches what it touches. Then what it must result in is known at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from linux_aio import AIOContext, AIOOperation, EventFD, aligned_buffer, direct_alignment
from support.direct import direct_reason
from support.engines import ENGINE
from support.files import Gate
from support.operations import wait_done

pytestmark = pytest.mark.long

UNIT = 512  # that direct transfers of these programs are multiples of
LARGEST_FILE = 40 * UNIT
NUMBERS = st.integers(0, 100_000)  # of which one is made that there is

SETTINGS = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    database=None,
    # No shrinking: what completes when is a matter of time, so that smaller programs need not fail.
    phases=[Phase.generate],
    derandomize=os.environ.get("CI") == "true",
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@dataclass(frozen=True)
class Plan:
    """What is to be submitted: a transfer of so many bytes at the offset, a sync or a poll."""

    kind: str
    offset: int = 0
    sizes: tuple[int, ...] = ()
    fill: int = 0
    with_eventfd: bool = False

    @property
    def size(self) -> int:
        return sum(self.sizes)

    @property
    def writes(self) -> bool:
        return self.kind in ("write", "writev")

    @property
    def reads(self) -> bool:
        return self.kind in ("read", "readinto", "readv")


@dataclass(eq=False)
class Running:
    """An operation that was made, what it uses, and what must come of it."""

    plan: Plan
    operation: AIOOperation
    buffers: list[memoryview] = field(default_factory=list)
    gate: Gate | None = None
    expected: Any = None  # the result, or an errno in a list
    contents: bytes = b""  # of the buffers, when it is done
    opened: bool = False  # the gate
    completions: int = 0
    grew: bool = False  # the file
    may_be_cancelled: bool = False  # though the cancellation was not taken


def sizes(unit: int, most: int) -> st.SearchStrategy[int]:
    return st.integers(0, most // unit).map(lambda count: count * unit)


def plans(unit: int) -> st.SearchStrategy[Plan]:
    """Any: transfers in multiples of the unit, but reads, which may be of any size."""
    eventfd = st.booleans()
    place = st.integers(0, LARGEST_FILE // unit).map(lambda count: count * unit)
    vector = st.lists(sizes(unit, 6 * UNIT), max_size=5).map(tuple)
    one = sizes(unit, 12 * UNIT).map(lambda size: (size,))
    return st.one_of(
        st.builds(
            Plan,
            st.just("read"),
            st.integers(0, LARGEST_FILE),
            st.integers(0, 12 * UNIT).map(lambda size: (size,)),
            with_eventfd=eventfd,
        ),
        st.builds(Plan, st.just("readinto"), place, one, with_eventfd=eventfd),
        st.builds(Plan, st.just("readv"), place, vector, with_eventfd=eventfd),
        st.builds(Plan, st.just("write"), place, one, st.integers(1, 255), eventfd),
        st.builds(Plan, st.just("writev"), place, vector, st.integers(1, 255), eventfd),
        st.builds(Plan, st.sampled_from(["fsync", "fdsync", "poll"]), with_eventfd=eventfd),
    )


def pick(among: Iterable[Running], number: int) -> Running | None:
    """The one with this number, round and round."""
    found = list(among)
    return found[number % len(found)] if found else None


def pattern(fill: int, size: int) -> bytes:
    return bytes((fill + number * 3) % 256 for number in range(size))


def was_cancelled(operation: AIOOperation) -> bool:
    try:
        operation.get_result()
    except OSError as error:
        return error.errno == errno.ECANCELED
    return False


class Program(RuleBasedStateMachine):
    """One file, one context, and what a program does with them."""

    flags: ClassVar[int]
    folder: ClassVar[Path]
    unit: ClassVar[int]
    queue: ClassVar[int] = 6

    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        path = self.folder / "file"
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | self.flags)
        self.stack.callback(os.close, self.fd)
        self.context = AIOContext(self.queue)
        self.stack.callback(self.context.close)
        self.eventfd = self.stack.enter_context(EventFD(flags=os.EFD_NONBLOCK | os.EFD_CLOEXEC))
        self.signals = 0
        self.model = bytearray()
        self.running: dict[AIOOperation, Running] = {}
        self.over: list[Running] = []
        self.accepted = 0
        self.completed = 0

    @initialize(size=st.integers(0, LARGEST_FILE))
    def begin(self, size: int) -> None:
        self.model[:] = pattern(11, size)
        (self.folder / "file").write_bytes(self.model)

    # --- making operations

    def memory(self, plan: Plan) -> list[memoryview]:
        buffers = [aligned_buffer(size) for size in plan.sizes]
        if plan.writes:
            data = pattern(plan.fill, plan.size)
            for buffer, end in zip(buffers, self.ends(plan), strict=True):
                buffer[:] = data[end - len(buffer) : end]
        else:
            for buffer in buffers:
                buffer[:] = b"\xee" * len(buffer)
        return buffers

    @staticmethod
    def ends(plan: Plan) -> list[int]:
        return [sum(plan.sizes[: number + 1]) for number in range(len(plan.sizes))]

    def make(self, plan: Plan) -> Running:
        if plan.kind == "read":
            return Running(plan, AIOOperation.read(plan.size, self.fd, plan.offset))
        if plan.kind in ("fsync", "fdsync"):
            return Running(plan, getattr(AIOOperation, plan.kind)(self.fd))
        if plan.kind == "poll":
            gate = self.stack.enter_context(Gate())
            return Running(plan, AIOOperation.poll(gate, select.POLLIN), gate=gate)
        buffers = self.memory(plan)
        given: Any = buffers if plan.kind.endswith("v") else buffers[0]
        make: Callable[..., AIOOperation] = getattr(AIOOperation, plan.kind)
        return Running(plan, make(given, self.fd, plan.offset), buffers)

    # --- what must come of them

    def grows(self, plan: Plan) -> bool:
        return plan.writes and plan.size > 0 and plan.offset + plan.size > len(self.model)

    def conflict(self, one: Plan, other: Plan) -> bool:
        """Whether it matters which is first."""
        if not (one.writes or other.writes) or not (one.size and other.size):
            return False
        if self.grows(one) or self.grows(other):
            return True
        # direct reads of any range read the aligned one around it
        start, end = one.offset // UNIT * UNIT, -(-(one.offset + one.size) // UNIT) * UNIT
        return start < other.offset + other.size + UNIT and other.offset < end + UNIT

    def is_in_the_way(self, plan: Plan, others: list[Plan]) -> bool:
        return any(self.conflict(plan, other) or self.conflict(other, plan) for other in others)

    def expect(self, running: Running) -> None:
        """It was taken: what it will do is done to the model."""
        plan = running.plan
        self.accepted += 1
        self.running[running.operation] = running
        running.completions = 0
        running.grew = self.grows(plan)
        running.may_be_cancelled = False
        running.expected = None
        if plan.writes:
            data = b"".join(running.buffers)
            if data:
                gap = plan.offset - len(self.model)
                self.model.extend(bytes(max(gap, 0)))
                self.model[plan.offset : plan.offset + len(data)] = data
            running.contents = data
            running.expected = plan.size
        elif plan.reads:
            data = bytes(self.model[plan.offset : plan.offset + plan.size])
            running.expected = data if plan.kind == "read" else len(data)
            running.contents = data + b"".join(running.buffers)[len(data) :]
        elif plan.kind == "poll":
            running.expected = select.POLLIN

    def check(self, running: Running) -> None:
        """It has completed; this must be seen once."""
        operation = running.operation
        assert operation.done
        running.completions += 1
        assert running.completions == 1
        self.completed += 1
        self.signals += running.plan.with_eventfd
        del self.running[operation]
        self.over.append(running)
        self.check_result(running)

    def check_result(self, running: Running) -> None:
        operation, expected = running.operation, running.expected
        if running.may_be_cancelled and was_cancelled(operation):
            return
        if isinstance(expected, list):
            with pytest.raises(OSError, match=running.plan.kind) as caught:
                operation.get_result()
            assert caught.value.errno == expected[0]
            return
        result = operation.get_result()
        assert result == expected, running.plan
        assert type(result) is type(expected)
        if running.plan.kind != "read":
            memory = b"".join(running.buffers)
            # A direct read may also fill what lies behind the end of the file, up to a block.
            sure = result if self.flags & os.O_DIRECT and running.plan.reads else len(memory)
            assert memory[:sure] == running.contents[:sure], running.plan
        for buffer in running.buffers:
            # No longer exported: this would be a BufferError.
            buffer[:0].release()

    # --- what a program does

    def clear_the_way(self, plan: Plan) -> None:
        """Wait for those in flight that the plan must come after, and take their results."""
        for running in list(self.running.values()):
            if running.grew or self.is_in_the_way(plan, [running.plan]):
                while not running.operation.done:
                    time.sleep(0)
                self.check(running)

    def submit(self, batch: list[Running], *, changed: bool = False) -> None:
        """Those that no other of the batch is in the way of; the others are left out."""
        chosen: list[Running] = []
        for running in batch:
            if not self.is_in_the_way(running.plan, [other.plan for other in chosen]):
                self.clear_the_way(running.plan)
                chosen.append(running)
        for running in chosen:
            if running.plan.with_eventfd:
                running.operation.prepare(self.eventfd)
        if not chosen:
            return
        before = [running.operation.done for running in chosen]
        try:
            taken = self.context.submit(*(running.operation for running in chosen))
        except BlockingIOError:
            assert len(self.running) >= self.queue
            taken = 0
        assert taken <= self.queue
        assert taken == len(chosen) or len(self.running) + taken >= self.queue
        for running in chosen[:taken]:
            self.expect(running)
        for running, was_done in zip(chosen[taken:], before[taken:], strict=True):
            assert running.operation.done == was_done
            if was_done and not changed:
                self.check_result(running)

    # What is drawn must not depend on what has completed: that is a matter of time.

    @rule(data=st.data())
    def submit_new_ones(self, data: st.DataObject) -> None:
        batch = data.draw(st.lists(plans(self.unit), min_size=1, max_size=8))
        self.submit([self.make(plan) for plan in batch])

    @rule(numbers=st.lists(NUMBERS, min_size=1, max_size=4))
    def submit_again(self, numbers: list[int]) -> None:
        chosen: list[Running] = []
        for number in numbers:
            again = pick(self.over, number)
            if again is not None and again not in chosen:
                chosen.append(again)
        self.submit(chosen)
        self.over = [again for again in self.over if again.operation not in self.running]

    @rule(number=NUMBERS, offset=NUMBERS, size=NUMBERS, fill=st.integers(1, 255))
    def submit_again_elsewhere(self, number: int, offset: int, size: int, fill: int) -> None:
        """The same operation, with another offset and, for one buffer, another buffer."""
        running = pick(self.over, number)
        if running is None or not (running.plan.reads or running.plan.writes):
            return
        unit = 1 if running.plan.kind == "read" else self.unit
        plan = replace(running.plan, offset=offset % (LARGEST_FILE // unit + 1) * unit)
        again = Running(plan, running.operation, running.buffers)
        running.operation.offset = plan.offset
        if plan.kind in ("readinto", "write"):
            new_size = size % (12 * UNIT // self.unit + 1) * self.unit
            again.plan = replace(plan, sizes=(new_size,), fill=fill)
            again.buffers = self.memory(again.plan)
            running.operation.payload = again.buffers[0]
        self.over.remove(running)
        self.submit([again], changed=True)

    @rule(least=NUMBERS, more=st.one_of(st.none(), st.integers(0, 8)))
    def collect(self, least: int, more: int | None) -> None:
        """As many as are sure to come, or fewer."""
        sure = sum(self.will_end(running) for running in self.running.values())
        least %= min(sure, self.queue) + 1
        most = None if more is None else least + more
        got = self.context.getevents(least, most)
        assert len(got) >= least
        assert most is None or len(got) <= most
        for operation in got:
            self.check(self.running[operation])

    @staticmethod
    def will_end(running: Running) -> bool:
        return running.gate is None or running.opened or isinstance(running.expected, list)

    @rule(number=NUMBERS)
    def ask(self, number: int) -> None:
        """For the result of one, which getevents then no longer has."""
        running = pick(self.running.values(), number)
        if running is None:
            return
        if running.operation.done:
            self.check(running)
        elif running.gate is not None and not self.will_end(running):
            with pytest.raises(BlockingIOError) as caught:
                running.operation.get_result()
            assert caught.value.errno == errno.EINPROGRESS

    @rule(number=NUMBERS)
    def cancel(self, number: int) -> None:
        # What becomes of the file when a write is cancelled is another matter: kernel AIO cancels
        # none.
        running = pick(
            (one for one in self.running.values() if ENGINE == "aio" or not one.plan.writes), number
        )
        if running is None:
            return
        was_done = running.operation.done
        try:
            cancelled = self.context.cancel(running.operation)
        except ValueError:
            assert running.operation.done
            return
        assert not was_done
        if cancelled:
            assert running.plan.kind == "poll" or ENGINE != "aio"
            running.expected = [errno.ECANCELED]
        elif running.plan.kind != "poll":
            running.may_be_cancelled = ENGINE in {"auto", "uring"}  # io_uring asks it to end
        elif running.plan.kind == "poll":
            assert self.will_end(running)

    @rule(number=NUMBERS)
    def let_a_poll_end(self, number: int) -> None:
        running = pick((one for one in self.running.values() if one.gate), number)
        if running is not None and running.gate is not None and not running.opened:
            running.opened = True
            running.gate.open()

    @invariant()
    def nothing_is_lost(self) -> None:
        before, in_flight, after = (
            self.context.statistics(),
            self.context.in_flight,
            self.context.statistics(),
        )
        assert before["submitted"] == self.accepted
        # Of those in flight some may complete in between.
        assert before["completed"] + in_flight <= self.accepted <= after["completed"] + in_flight
        assert self.completed + len(self.running) == self.accepted

    @invariant()
    def results_stay(self) -> None:
        if self.over:
            self.check_result(self.over[-1])

    def teardown(self) -> None:
        with self.stack:
            ending = [one.operation for one in self.running.values() if self.will_end(one)]
            wait_done(*ending)
            self.context.close()
            for running in list(self.running.values()):
                if not self.will_end(running):
                    running.expected = [errno.ECANCELED]
                self.check(running)
            assert self.completed == self.accepted
            assert (self.folder / "file").read_bytes() == self.model
            assert self.count_signals() == self.signals

    def count_signals(self) -> int:
        try:
            return self.eventfd.read()
        except BlockingIOError:
            return 0


@pytest.mark.parametrize("flags", [0, os.O_DIRECT], ids=["buffered", "direct"])
def test_programs(flags: int, tmp_path: Path) -> None:
    reason = direct_reason(tmp_path) if flags else None
    if reason is not None:
        pytest.skip(reason)
    with tempfile.TemporaryFile(dir=tmp_path) as file:
        needed = max(direct_alignment(file)) if flags else 1
    assert needed <= UNIT or UNIT % needed == 0 or needed % UNIT == 0

    class Machine(Program):
        pass

    Machine.flags = flags
    Machine.folder = tmp_path
    Machine.unit = max(needed, UNIT) if flags else 1
    run_state_machine_as_test(Machine, settings=SETTINGS)
