# SPDX-License-Identifier: Apache-2.0
"""Any mix of threads on one context: no event is lost or seen twice, and nobody sleeps on."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import random
import select
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import pytest

from linux_aio import AIOContext, AIOOperation, EventFD
from support.engines import WAYS_OF_REAPING
from support.files import Gate, file_in_memory
from support.fusefs import HoldingFS
from support.operations import signals, wait_done
from support.workers import PATIENCE, finish, start, stays_blocked

pytest_plugins = ["support.fixtures"]

NBYTES = 64
DATA = bytes(number % 251 for number in range(4096))


@pytest.fixture(params=WAYS_OF_REAPING, autouse=True)
def way_of_reaping(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the ring can't be read in user space, waiting is another matter altogether."""
    if request.param == "system calls":
        monkeypatch.setenv("LINUX_AIO_USER_RING", "0")


@pytest.fixture(autouse=True)
def eager_threads() -> Iterator[None]:
    """Threads take turns more often, and so meet in more ways."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def one_processor() -> Iterator[None]:
    """Threads run one at a time."""
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(processors)})
    yield
    os.sched_setaffinity(0, processors)


@pytest.fixture
def ctx(way_of_reaping: None) -> Iterator[AIOContext]:
    """A context that is closed even if a thread hangs in it, and then the test fails."""
    context = AIOContext(64)
    yield context
    finish(start(context.close))


@pytest.fixture
def fd() -> Iterator[int]:
    with file_in_memory(DATA) as number:
        yield number


def read_at(fd: int, number: int) -> AIOOperation:
    return AIOOperation.read(NBYTES, fd, number % (len(DATA) - NBYTES))


def has_read_its_bytes(operation: AIOOperation) -> bool:
    result: bytes = operation.get_result()
    return result == DATA[operation.offset :][:NBYTES]


def poll_of(gate: Gate) -> AIOOperation:
    """An operation that stays in flight until the gate is opened."""
    return AIOOperation.poll(gate, select.POLLIN)


def hesitate() -> None:
    """Let the other thread come a little further, or a little less far."""
    for _ in range(random.randrange(100)):
        pass


def submit_patiently(context: AIOContext, operation: AIOOperation) -> None:
    while True:
        try:
            operation.submit(context)
        except BlockingIOError:
            time.sleep(0)  # the queue is full
        else:
            return


# One collects, the other waits for its eventfd


def all_once(operations: list[AIOOperation]) -> bool:
    return len({id(operation) for operation in operations}) == len(operations)


def collect(context: AIOContext, at_end: threading.Event, min_nr: int = 1) -> list[AIOOperation]:
    """Wait for events again and again, until there are none and will be no more."""
    collected: list[AIOOperation] = []
    while True:
        found = context.getevents(min_nr, random.choice([None, min_nr, min_nr + 3]))
        collected += found
        if not found and at_end.is_set():
            return collected


def test_reads_of_one_thread_and_events_of_the_other(ctx: AIOContext, fd: int, gate: Gate) -> None:
    last, at_end = poll_of(gate), threading.Event()
    last.submit(ctx)  # so that the other thread always has something to wait for
    collecting = start(collect, ctx, at_end)
    operations = [read_at(fd, number) for number in range(5000)]
    with EventFD() as eventfd:
        for operation in operations:
            operation.submit(ctx, eventfd)
            assert eventfd.read() == 1
            assert has_read_its_bytes(operation)
    at_end.set()
    gate.open()
    [collected] = finish(collecting)
    assert all_once(collected)
    assert last in collected
    assert set(collected) <= {last, *operations}


def test_polls_of_one_thread_and_events_of_the_other(ctx: AIOContext, gate: Gate) -> None:
    last, at_end = poll_of(gate), threading.Event()
    last.submit(ctx)  # so that the other thread always has something to wait for
    collecting = start(collect, ctx, at_end)
    operations = []
    with Gate() as other, EventFD() as eventfd:
        for _ in range(3000):
            operations.append(poll_of(other))
            operations[-1].submit(ctx, eventfd)
            other.open()
            assert eventfd.read() == 1
            assert operations[-1].get_result() & select.POLLIN
            other.shut()
    at_end.set()
    gate.open()
    [collected] = finish(collecting)
    assert all_once(collected)
    assert last in collected
    assert set(collected) <= {last, *operations}


def take_result(operation: AIOOperation) -> object:
    while True:
        try:
            return operation.get_result()
        except BlockingIOError:
            time.sleep(0)


@pytest.mark.parametrize("with_eventfd", [False, True], ids=["no eventfd", "eventfd"])
def test_nobody_sleeps_on_what_another_took(
    with_eventfd: bool, ctx: AIOContext, gate: Gate
) -> None:
    """There is only the one operation to wait for, and two threads that want it."""
    turns: SimpleQueue[bool] = SimpleQueue()
    collected: SimpleQueue[list[AIOOperation]] = SimpleQueue()

    def collect_in_turn() -> None:
        while turns.get():
            collected.put(ctx.getevents())

    collecting = start(collect_in_turn)
    eventfd = EventFD(0, os.EFD_NONBLOCK) if with_eventfd else None
    for _ in range(2000):
        operation = poll_of(gate)
        operation.submit(ctx, eventfd)
        turns.put(True)
        hesitate()
        gate.open()
        hesitate()
        assert take_result(operation)
        assert collected.get(timeout=PATIENCE) in ([], [operation])
        gate.shut()
    turns.put(False)
    finish(collecting)


def spin(seconds: float) -> None:
    """Keep the GIL for so long."""
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        pass


def test_nobody_falls_asleep_on_what_was_just_taken(
    ctx: AIOContext, gate: Gate, one_processor: None
) -> None:
    """The waiter is stopped where it has let go of the GIL, and does not sleep yet."""
    sys.setswitchinterval(10.0)  # the GIL goes to another thread only where it is let go of
    turns: SimpleQueue[bool] = SimpleQueue()
    collected: SimpleQueue[list[AIOOperation]] = SimpleQueue()

    def collect_in_turn() -> None:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # others come first at once
        while turns.get():
            spin(0.001)  # until the other thread waits for the GIL
            collected.put(ctx.getevents())

    collecting = start(collect_in_turn)
    for _ in range(200):
        operation = poll_of(gate)
        operation.submit(ctx)
        turns.put(True)
        time.sleep(0.0002)
        gate.open()
        assert take_result(operation)
        assert collected.get(timeout=PATIENCE) in ([], [operation])
        gate.shut()
    turns.put(False)
    finish(collecting)


# Many at once


def test_several_wait_for_different_numbers_of_events(ctx: AIOContext, fd: int, gate: Gate) -> None:
    count = 6000
    last, at_end = poll_of(gate), threading.Event()
    last.submit(ctx)  # with it in flight they wait for as many as they want
    collecting = [start(collect, ctx, at_end, min_nr) for min_nr in (1, 1, 2, 5, 20)]
    for number in range(count):
        submit_patiently(ctx, read_at(fd, number))
    at_end.set()
    gate.open()
    collected = [operation for found in finish(*collecting) for operation in found]
    assert all_once(collected)
    assert len(collected) == count + 1
    collected.remove(last)
    assert all(has_read_its_bytes(operation) for operation in collected)


def test_all_submit_and_all_collect(fd: int) -> None:
    """Each thread does something else, on a context that is always full."""
    count = 1000
    context = AIOContext(8)
    collected: list[AIOOperation] = []

    def submit_and_collect() -> None:
        for number in range(count):
            submit_or_collect(read_at(fd, number))

    def submit_or_collect(operation: AIOOperation) -> None:
        while True:
            try:
                operation.submit(context)
            except BlockingIOError:
                collected.extend(context.getevents(0))
            else:
                return

    def wait_for_eventfd() -> None:
        with EventFD() as eventfd:
            for number in range(count):
                operation = read_at(fd, number)
                operation.prepare(eventfd)
                submit_or_collect(operation)
                assert eventfd.read() == 1
                assert has_read_its_bytes(operation)
                taken.append(operation)

    def collect_garbage() -> None:
        while not at_end.is_set():
            garbage: list[object] = [read_at(fd, 0), context]
            garbage.append(garbage)
            gc.collect(1)

    taken: list[AIOOperation] = []
    at_end = threading.Event()
    garbage_collecting = start(collect_garbage)
    working = [start(submit_and_collect) for _ in range(3)]
    working += [start(wait_for_eventfd) for _ in range(2)]
    finish(*working)
    at_end.set()
    finish(garbage_collecting)
    while context.in_flight:  # the last ones
        collected += context.getevents(1, timeout=PATIENCE)
    collected += context.getevents(0)
    finish(start(context.close))
    assert len(taken) == 2 * count
    seen = Counter(map(id, collected))
    assert set(seen.values()) == {1}
    assert len(set(seen) - set(map(id, taken))) == 3 * count
    assert all(has_read_its_bytes(operation) for operation in collected)


def test_all_that_there_is_room_for_is_taken_though_others_wait(fd: int, gate: Gate) -> None:
    """What completed holds its place in the kernel's ring until the last waiter has seen it."""
    context, at_end = AIOContext(128), threading.Event()
    poll_of(gate).submit(context)
    waiting = [start(collect, context, at_end) for _ in range(3)]
    operations = [read_at(fd, number) for number in range(127)]
    try:
        with EventFD() as eventfd:
            for operation in operations:
                operation.prepare(eventfd)
            for _ in range(500):
                assert context.submit(*operations) == len(operations)
                wait_done(*operations)
                assert all(has_read_its_bytes(operation) for operation in operations)
    finally:
        at_end.set()
        gate.open()
        finish(*waiting)
        context.close()


@pytest.mark.needs_root
def test_a_submission_that_blocks_keeps_nobody_else_out(
    fs: HoldingFS, ctx: AIOContext, fd: int
) -> None:
    """The kernel reads a file that was opened without O_DIRECT inside io_submit."""
    slow = os.open(fs.create("data", DATA), os.O_RDONLY)
    fs.hold()
    held = AIOOperation.read(NBYTES, slow)
    submitting = start(held.submit, ctx)
    fs.wait_held(1)
    assert not held.done
    operations = [read_at(fd, number) for number in range(10)]
    assert ctx.submit(*operations) == 10
    wait_done(*operations)
    assert all(has_read_its_bytes(operation) for operation in operations)
    collecting = start(ctx.getevents)
    assert stays_blocked(collecting)
    fs.unhold()
    assert finish(submitting, collecting) == [1, [held]]
    assert has_read_its_bytes(held)
    os.close(slow)


# One thread's operation in another thread's hands


@pytest.mark.needs_root
@pytest.mark.parametrize("collect_by", ["get_result", "getevents", "eventfd"])
def test_a_thread_that_submits_and_ends_at_once(
    collect_by: str, fs: HoldingFS, ctx: AIOContext
) -> None:
    direct = os.open(fs.create("data", DATA), os.O_RDONLY | os.O_DIRECT)
    fs.hold()
    operations = [read_at(direct, 100 * number) for number in range(20)]
    with EventFD() as eventfd:
        for operation in operations:
            given = eventfd if collect_by == "eventfd" else None
            thread = threading.Thread(target=operation.submit, args=(ctx, given))
            thread.start()
            thread.join()
        assert not any(operation.done for operation in operations)
        assert fs.release(20) == 20
        if collect_by == "getevents":
            collected = ctx.getevents(20)
            assert {operation.offset for operation in collected} == {
                operation.offset for operation in operations
            }
            assert len(collected) == 20
        elif collect_by == "eventfd":
            assert signals(eventfd, 20) == 20
        else:
            wait_done(*operations)
        assert all(has_read_its_bytes(operation) for operation in operations)
    os.close(direct)


class SlowFile:
    """A file whose number takes a while to tell, in which other threads run."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        time.sleep(0)
        return self._fd


@pytest.mark.parametrize("contexts", [1, 2])
def test_of_two_threads_that_submit_the_same_operation_one_wins(
    contexts: int, gate: Gate, way_of_reaping: None
) -> None:
    targets = [AIOContext(4) for _ in range(contexts)] * (2 // contexts)
    operation = AIOOperation.poll(SlowFile(gate.fileno()), select.POLLIN)
    line = threading.Barrier(2)

    def submit(context: AIOContext) -> bool:
        line.wait(PATIENCE)
        hesitate()
        try:
            return operation.submit(context) == 1
        except ValueError:
            return False

    for _ in range(300):
        won = finish(*(start(submit, context) for context in targets))
        assert sorted(won) == [False, True]
        assert operation.context is targets[won.index(True)]
        assert sum(context.in_flight for context in set(targets)) == 1
        gate.open()
        assert targets[won.index(True)].getevents() == [operation]
        gate.shut()
    for context in targets:
        context.close()


def test_a_context_that_only_a_call_holds(gate: Gate, way_of_reaping: None) -> None:
    context = AIOContext(4)
    operation = poll_of(gate)
    operation.submit(context)
    collecting = start(context.getevents)
    del context, operation
    assert stays_blocked(collecting)
    gate.open()
    [[collected]] = finish(collecting)
    assert collected.get_result() & select.POLLIN
    collected.context.close()


# Closing while others are inside


def fails_as_closed(function: Callable[..., object], *arguments: object) -> bool:
    try:
        function(*arguments)
    except ValueError as error:
        return "closed" in str(error)
    return False


def test_closing_ends_all_that_wait_for_events(gate: Gate, way_of_reaping: None) -> None:
    for _ in range(20):
        context = AIOContext(4)
        poll_of(gate).submit(context)
        waiting = [start(fails_as_closed, context.getevents) for _ in range(4)]
        waiting.append(start(fails_as_closed, context.getevents, 4, None, 1000.0))
        assert stays_blocked(waiting[0], 0.001)
        finish(*(start(context.close) for _ in range(2)))
        assert all(finish(*waiting))


@pytest.mark.needs_root
def test_closing_waits_and_then_ends_those_that_wait_for_events(
    fs: HoldingFS, way_of_reaping: None
) -> None:
    direct = os.open(fs.create("data", DATA), os.O_RDONLY | os.O_DIRECT)
    fs.hold()
    context = AIOContext(4)
    operation = read_at(direct, 0)
    operation.submit(context)
    fs.wait_held(1)
    waiting = [start(fails_as_closed, context.getevents) for _ in range(3)]
    assert stays_blocked(waiting[0])
    closing = start(context.close)
    assert stays_blocked(closing)
    fs.release()
    finish(closing)
    assert all(finish(*waiting))
    assert has_read_its_bytes(operation)
    os.close(direct)


@pytest.mark.needs_root
def test_closing_while_a_thread_is_inside_submit(fs: HoldingFS, way_of_reaping: None) -> None:
    """What that thread submits only after the close was begun is cancelled, too."""
    slow = os.open(fs.create("data", DATA), os.O_RDONLY)
    fs.hold()
    context = AIOContext(4)
    with Gate() as gate:
        read, poll = AIOOperation.read(NBYTES, slow), poll_of(gate)
        submitting = start(context.submit, read, poll)
        fs.wait_held(1)
        closing = start(context.close)
        assert stays_blocked(closing)
        fs.unhold()
        try:
            assert finish(submitting) == [2]
            assert not stays_blocked(closing, 5.0)
        finally:
            gate.open()
            finish(closing)
        assert has_read_its_bytes(read)
        with pytest.raises(OSError, match=os.strerror(errno.ECANCELED)):
            poll.get_result()
    os.close(slow)


def use_until_closed(
    context: AIOContext, fd: int, at_work: threading.Barrier
) -> list[AIOOperation]:
    taken = []
    at_work.wait(PATIENCE)
    with contextlib.suppress(ValueError):
        for number in range(100_000):
            operation = read_at(fd, number)
            submit_patiently(context, operation)
            taken.append(operation)
            context.getevents(0)
    return taken


def test_closing_while_others_use_it(fd: int, way_of_reaping: None) -> None:
    """Whatever they are at, they get on, or are told that it is closed; no result is lost."""
    for _ in range(20):
        context = AIOContext(8)
        at_work = threading.Barrier(4)
        using = [start(use_until_closed, context, fd, at_work) for _ in range(3)]
        at_work.wait(PATIENCE)
        time.sleep(0.002)
        finish(start(context.close))
        for taken in finish(*using):
            assert all(has_read_its_bytes(operation) for operation in taken)
