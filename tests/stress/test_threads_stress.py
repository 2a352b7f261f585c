# SPDX-License-Identifier: Apache-2.0
"""Many threads do everything at once, to one context and to the same operations.

What each of them meets depends on the others, so they take any answer that is documented. What must
hold is the count: everything that was accepted completes once, with the right bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import os
import random
import select
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from linux_aio import AIOContext, AIOOperation, EventFD
from support.files import Gate, file_in_memory
from support.loops import until
from support.operations import wait_done
from support.workers import PATIENCE, finish, start

pytestmark = pytest.mark.long

NBYTES = 64
DATA = bytes(number % 251 for number in range(4096))


@pytest.fixture(autouse=True)
def eager_threads() -> Iterator[None]:
    """Threads take turns more often, and so meet in more ways."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def fd() -> Iterator[int]:
    with file_in_memory(DATA) as number:
        yield number


def together(count: int, function: Callable[[int], None]) -> None:
    """Run the function in so many threads, which begin at the same time."""
    line = threading.Barrier(count)

    def run(number: int) -> None:
        line.wait(PATIENCE)
        function(number)

    finish(*(start(run, number) for number in range(count)))


def check(operation: AIOOperation) -> None:
    result: bytes = operation.get_result()
    assert len(result) == NBYTES
    assert result in DATA


class Crowd:
    """Operations that all threads know, on contexts that all threads use."""

    def __init__(self, fd: int, contexts: int) -> None:
        self.contexts = [AIOContext(16) for _ in range(contexts)]
        self.gate = Gate()
        self.eventfd = EventFD(0, os.EFD_NONBLOCK)
        self.operations: list[AIOOperation] = [
            AIOOperation.read(NBYTES, fd, 100 * number) for number in range(6)
        ]
        self.operations += [AIOOperation.poll(self.gate, select.POLLIN) for _ in range(2)]
        self.operations += [AIOOperation.write(DATA[:NBYTES], fd) for _ in range(2)]
        self.actions = [self.submit, self.submit_many, self.ask, self.collect]
        self.actions += [self.submit, self.cancel, self.look, self.change]
        self.submitted: list[int] = []  # appended to, which is atomic
        self.collected: list[AIOOperation] = []

    def act(self, random: random.Random) -> None:
        context = random.choice(self.contexts)
        operation = random.choice(self.operations)
        action = random.choice(self.actions)
        with contextlib.suppress(ValueError, RuntimeError, OSError, AttributeError):
            action(context, operation)

    def submit(self, context: AIOContext, operation: AIOOperation) -> None:
        eventfd = random.choice([None, self.eventfd])
        self.submitted.append(operation.submit(context, eventfd))

    def submit_many(self, context: AIOContext, operation: AIOOperation) -> None:
        self.submitted.append(context.submit(operation, *random.sample(self.operations, 2)))

    def ask(self, context: AIOContext, operation: AIOOperation) -> None:
        result = operation.get_result()
        if isinstance(result, bytes):
            assert result in DATA
            assert len(result) == NBYTES

    def collect(self, context: AIOContext, operation: AIOOperation) -> None:
        self.collected += context.getevents(0, random.choice([None, 1, 3]))

    def cancel(self, context: AIOContext, operation: AIOOperation) -> None:
        context.cancel(operation)

    def look(self, context: AIOContext, operation: AIOOperation) -> None:
        assert operation.done in (True, False)
        assert 0 <= context.in_flight <= context.max_requests
        assert repr(operation)
        assert repr(context)
        assert operation.context in (None, *self.contexts)
        assert operation.eventfd in (None, self.eventfd)
        assert operation.nbytes in (0, NBYTES)
        payload = operation.payload
        assert payload is None or (isinstance(payload, bytes) and len(payload) == NBYTES)

    def change(self, context: AIOContext, operation: AIOOperation) -> None:
        operation.prepare(self.eventfd)
        if operation.payload is None:
            operation.offset = 100 * random.randrange(6)

    def close(self) -> None:
        self.gate.open()
        for context in self.contexts:
            finish(start(context.close))
        self.eventfd.close()
        self.gate.__exit__(None, None, None)


@pytest.mark.parametrize("contexts", [1, 3])
def test_all_do_everything_with_the_same_operations(contexts: int, fd: int) -> None:
    crowd = Crowd(fd, contexts)

    def act(number: int) -> None:
        chosen = random.Random(number)
        for _ in range(1500):
            crowd.act(chosen)

    try:
        together(4, act)
    finally:
        crowd.close()
    counts = [context.statistics() for context in crowd.contexts]
    assert sum(count["submitted"] for count in counts) == sum(crowd.submitted)
    assert all(count["submitted"] == count["completed"] for count in counts)
    assert len(crowd.collected) <= sum(crowd.submitted)
    assert not any(context.in_flight for context in crowd.contexts)


def test_one_operation_is_submitted_by_one_of_many(fd: int) -> None:
    """All want to submit it, all the time: as often as one could, it completes."""
    context = AIOContext(4)
    operation = AIOOperation.read(NBYTES, fd)
    accepted: list[int] = []

    def submit(number: int) -> None:
        for _ in range(500):
            with contextlib.suppress(ValueError, BlockingIOError):
                accepted.append(operation.submit(context))
            with contextlib.suppress(BlockingIOError, RuntimeError):
                check(operation)

    together(4, submit)
    context.close()
    assert context.statistics()["completed"] == sum(accepted)
    check(operation)


def test_operations_are_dropped_while_others_collect_them(fd: int) -> None:
    """Those that signal an EventFD come out only if somebody still holds them."""
    context, eventfd = AIOContext(32), EventFD(0, os.EFD_NONBLOCK)
    collected: list[AIOOperation] = []

    def submit_and_drop(number: int) -> None:
        held = []
        for turn in range(1000):
            operation = AIOOperation.read(NBYTES, fd, turn)
            with contextlib.suppress(BlockingIOError):
                operation.submit(context, eventfd)
                held.append(operation)
            if turn % 3 == number % 3:
                held.clear()

    def collect(number: int) -> None:
        for _ in range(1000):
            collected.extend(context.getevents(0))

    together(4, lambda number: submit_and_drop(number) if number < 2 else collect(number))
    context.close()
    assert set(Counter(map(id, collected)).values()) <= {1}
    for operation in collected:
        check(operation)


def test_contexts_are_made_dropped_and_collected_by_all(fd: int) -> None:
    """The registry of contexts, and the collector, which looks through it."""
    with Gate() as gate:

        def make_and_drop(number: int) -> None:
            for turn in range(60):
                context = AIOContext(4)
                operation = AIOOperation.read(NBYTES, fd)
                operation.submit(context)
                if turn % 3 == 0:
                    AIOOperation.poll(gate, select.POLLIN).submit(context)
                cycle: list[object] = [context]
                cycle.append(cycle)
                wait_done(operation)
                check(operation)
                if turn % 2:
                    context.close()
                del context, cycle
                if turn % 10 == number:
                    gc.collect()

        def make_and_drop_all() -> None:
            together(4, make_and_drop)
            gc.collect()

        with pytest.warns(ResourceWarning):
            make_and_drop_all()
        gate.open()
    AIOContext(1).close()
    gc.collect()


def use_or_close(number: int, context: AIOContext, operations: list[AIOOperation]) -> None:
    if number == 3:
        context.close()
        return
    with contextlib.suppress(ValueError):
        for _ in range(10_000):
            with contextlib.suppress(BlockingIOError, RuntimeError):
                operations[number].submit(context)
                check(operations[number])
                context.submit(*operations)
            context.getevents(0)


def test_contexts_are_closed_under_those_that_use_them(fd: int) -> None:
    for _ in range(10):
        context = AIOContext(8)
        operations = [AIOOperation.read(NBYTES, fd, number) for number in range(8)]
        together(4, functools.partial(use_or_close, context=context, operations=operations))
        counts = context.statistics()
        assert counts["submitted"] == counts["completed"]


def test_an_eventfd_is_closed_under_those_that_use_it() -> None:
    for _ in range(30):
        eventfd = EventFD(0, os.EFD_NONBLOCK)

        def use(number: int, eventfd: EventFD = eventfd) -> None:
            if number == 3:
                eventfd.close()
                return
            with contextlib.suppress(ValueError):
                for _ in range(200):
                    eventfd.write()
                    with contextlib.suppress(BlockingIOError):
                        assert eventfd.read() > 0
                    assert eventfd.fileno >= 0

        together(4, use)
        assert eventfd.closed


def test_a_loop_in_every_thread(fd: int) -> None:
    """Each with a context of its own: nothing is shared but the module."""

    async def read_all() -> None:
        async with AIOContext(8) as context:
            for first in range(0, 200, 40):
                reads = [context.read(NBYTES, fd, first + more) for more in range(40)]
                for number, result in enumerate(await asyncio.gather(*reads)):
                    assert result == DATA[first + number :][:NBYTES]

    together(4, lambda number: asyncio.run(read_all()))


def test_other_threads_call_the_methods_of_waiters() -> None:
    """Not that they should: whoever is given what is waited for can do so."""
    at_end = threading.Event()
    waiters: list[Any] = []
    called: list[Any] = []

    def look() -> None:
        while not at_end.is_set():
            for waiter in waiters[:]:
                assert waiter.done() in (True, False)
                waiter.add_done_callback(called.append)
                waiter.remove_done_callback(called.append)
                assert not waiter.cancelled()

    async def await_all() -> None:
        async with AIOContext(8) as context:
            with Gate() as gate:
                for _ in range(100):
                    coroutines = [context.poll(gate, select.POLLIN) for _ in range(8)]
                    waiters[:] = [coroutine.send(None) for coroutine in coroutines]
                    gate.open()
                    await until(lambda: all(waiter.done() for waiter in waiters))
                    gate.shut()
                    for coroutine in coroutines:
                        with pytest.raises(StopIteration):
                            coroutine.send(None)
        at_end.set()
        finish(*looking)  # before the loop is closed, which refuses callbacks

    looking = [start(look) for _ in range(2)]
    try:
        asyncio.run(await_all())
    finally:
        at_end.set()


def test_other_threads_use_the_context_of_a_loop(fd: int) -> None:
    """What is awaited lands also if another thread takes its completion."""
    at_end = threading.Event()

    def use(context: AIOContext) -> None:
        while not at_end.is_set():
            with contextlib.suppress(BlockingIOError):
                operation = AIOOperation.read(NBYTES, fd)
                operation.submit(context)
                check(operation)
            context.getevents(0)
            assert context.in_flight >= 0

    async def await_all() -> None:
        async with AIOContext(8) as context:
            using = [start(use, context) for _ in range(2)]
            with Gate() as gate:
                for _ in range(60):
                    polls = [asyncio.ensure_future(context.poll(gate, select.POLLIN))] * 2
                    reads = [asyncio.ensure_future(context.read(NBYTES, fd)) for _ in range(12)]
                    cancelled = asyncio.ensure_future(context.poll(gate, select.POLLIN))
                    await asyncio.sleep(0)
                    cancelled.cancel()
                    gate.open()
                    assert await asyncio.gather(*reads) == [DATA[:NBYTES]] * 12
                    assert all(await asyncio.gather(*polls))
                    gate.shut()
            at_end.set()
            finish(*using)

    try:
        asyncio.run(await_all())
    finally:
        at_end.set()
