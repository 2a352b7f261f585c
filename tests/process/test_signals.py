# SPDX-License-Identifier: Apache-2.0
"""Signals that come while a thread is blocked in a call, again and again and at bad moments."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from linux_aio import AIOContext, AIOOperation, EventFD
from support.engines import WAYS_OF_REAPING
from support.files import Gate, file_in_memory
from support.fusefs import HoldingFS
from support.signals import AlarmError
from support.workers import finish, start, stays_blocked

pytest_plugins = ["support.fixtures"]

DATA = b"!" * 64


@pytest.fixture(params=WAYS_OF_REAPING)
def way_of_reaping(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "system calls":
        monkeypatch.setenv("LINUX_AIO_USER_RING", "0")


@pytest.fixture
def ctx(way_of_reaping: None) -> Iterator[AIOContext]:
    with AIOContext(8) as context:
        yield context


def poll_of(gate: Gate) -> AIOOperation:
    """An operation that stays in flight until the gate is opened."""
    return AIOOperation.poll(gate, select.POLLIN)


@contextlib.contextmanager
def ticking(action: Callable[[int], object]) -> Iterator[None]:
    """Inside the block, every few milliseconds a signal, whose handler is told how many it were."""
    count = 0

    def handler(_number: int, _frame: object) -> None:
        nonlocal count
        count += 1
        action(count)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def at_tick(number: int, action: Callable[[], object]) -> Callable[[int], None]:
    """The action, at this tick only. Later ones are there because a signal can come too early.

    One that comes just before the call that it is to interrupt waits for the next.
    """

    def act(count: int) -> None:
        if count == number:
            action()

    return act


def test_waiting_goes_on_after_many_signals(ctx: AIOContext, gate: Gate) -> None:
    operation = poll_of(gate)
    operation.submit(ctx)
    with ticking(at_tick(20, gate.open)):
        assert ctx.getevents() == [operation]


def test_the_time_is_not_over_sooner_for_many_signals(ctx: AIOContext, gate: Gate) -> None:
    poll_of(gate).submit(ctx)
    begun = time.monotonic()
    with ticking(lambda count: None):
        assert ctx.getevents(timeout=0.2) == []
    assert time.monotonic() - begun >= 0.2


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def fail() -> None:
    raise AlarmError


def test_a_keyboard_interrupt_ends_the_wait_and_loses_nothing(ctx: AIOContext, gate: Gate) -> None:
    operation = poll_of(gate)
    operation.submit(ctx)
    # a shell's background jobs start with SIGINT ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with ticking(at_tick(1, interrupt)), pytest.raises(KeyboardInterrupt):
            ctx.getevents()
    finally:
        signal.signal(signal.SIGINT, before)
    gate.open()
    assert ctx.getevents() == [operation]


def test_a_handler_may_use_the_context(ctx: AIOContext, gate: Gate) -> None:
    """It takes what the interrupted call waits for, which then has nothing to wait for."""
    operation = poll_of(gate)
    operation.submit(ctx)
    taken = []

    def take() -> None:
        gate.open()
        taken.extend(ctx.getevents())

    with ticking(at_tick(1, take)):
        assert ctx.getevents() == []
    assert taken == [operation]


def test_a_signal_for_another_thread_does_not_end_its_wait(ctx: AIOContext, gate: Gate) -> None:
    """Python's handlers run in the main thread, whichever thread was interrupted."""
    operation = poll_of(gate)
    operation.submit(ctx)
    thread: list[int] = []

    def wait() -> list[AIOOperation]:
        thread.append(threading.get_ident())
        return ctx.getevents()

    handled = []
    before = signal.signal(signal.SIGUSR1, lambda *_: handled.append(True))
    try:
        waiting = start(wait)
        assert stays_blocked(waiting)
        for _ in range(10):
            signal.pthread_kill(thread[0], signal.SIGUSR1)
            assert stays_blocked(waiting, 0.005)
        gate.open()
        assert finish(waiting) == [[operation]]
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert handled


@pytest.mark.needs_root
def test_closing_goes_on_after_a_signal_and_can_be_taken_up_again(
    fs: HoldingFS, way_of_reaping: None
) -> None:
    fd = os.open(fs.create("data", DATA), os.O_RDONLY | os.O_DIRECT)
    fs.hold()
    context = AIOContext(4)
    operation = AIOOperation.read(64, fd)
    operation.submit(context)
    fs.wait_held(1)
    with ticking(at_tick(1, fail)), pytest.raises(AlarmError):
        context.close()
    assert context.closed
    with pytest.raises(BlockingIOError):
        operation.get_result()
    with ticking(at_tick(5, fs.release)):
        context.close()
    assert operation.get_result() == DATA
    os.close(fd)


@pytest.mark.parametrize("use", ["read", "write"])
def test_an_eventfd_that_a_handler_closes_is_closed_for_the_call_too(use: str) -> None:
    """Its number may be that of another file by then, which is nobody's to read or write."""
    eventfd = EventFD(2**32 - 1)
    if use == "read":
        eventfd.read()
    else:
        eventfd.write(2**64 - 1 - 2**32)
    number = eventfd.fileno
    with file_in_memory(DATA) as other:

        def close() -> None:
            eventfd.close()
            os.dup2(other, number)

        try:
            with ticking(at_tick(1, close)), pytest.raises(ValueError, match="closed"):
                getattr(eventfd, use)()
        finally:
            os.close(number)
        assert os.pread(other, len(DATA), 0) == DATA


# --- handlers that run in a method of the loop's


class Interrupt(KeyboardInterrupt):
    """What the handler raises."""


class Loop(asyncio.SelectorEventLoop):
    """Runs the handler of SIGALRM before or after a method that is called in passing."""

    def __init__(self, method: str, moment: str) -> None:
        super().__init__()
        self.set_debug(True)  # so that tasks are woken by call_soon()
        self.method = method
        self.moment = moment
        self.is_armed = False

    def _signal(self, method: str, moment: str) -> None:
        if self.is_armed and (method, moment) == (self.method, self.moment):
            self.is_armed = False
            signal.raise_signal(signal.SIGALRM)

    def call_soon(self, *args: Any, **keywords: Any) -> Any:  # type: ignore[override]
        self._signal("call_soon", "before")
        handle = super().call_soon(*args, **keywords)
        self._signal("call_soon", "after")
        return handle

    def remove_reader(self, fd: Any) -> bool:
        self._signal("remove_reader", "before")
        result = super().remove_reader(fd)
        self._signal("remove_reader", "after")
        return result


@pytest.fixture
def interrupts() -> Iterator[None]:
    def handler(_signal: int, _frame: object) -> None:
        raise Interrupt

    before = signal.signal(signal.SIGALRM, handler)
    yield
    signal.signal(signal.SIGALRM, before)


@pytest.mark.engine("auto", "uring", "threads")  # kernel AIO reads a pipe inside io_submit(2)
@pytest.mark.timeout(30, method="thread")  # not by the signal of this test
@pytest.mark.parametrize("method", ["call_soon", "remove_reader"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_what_a_handler_raises_in_the_loop(method: str, moment: str, interrupts: None) -> None:
    """It reaches the program, and the task is woken, once."""
    loop = Loop(method, moment)
    results: list[bytes] = []

    async def main() -> None:
        read_end, write_end = os.pipe()
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, read_end)
            stack.callback(os.close, write_end)
            async with AIOContext(4) as context:

                def wake() -> None:
                    loop.is_armed = method == "call_soon"
                    os.write(write_end, b"12")

                loop.call_later(0.01, wake)
                results.append(await context.read(1, read_end))
                results.append(await context.read(1, read_end))
                loop.is_armed = method == "remove_reader"
            await asyncio.sleep(0.05)

    task = loop.create_task(main())
    try:
        with pytest.raises(Interrupt):
            loop.run_until_complete(task)
        assert not loop.is_armed
        if not task.done():
            loop.run_until_complete(task)
        assert results == [b"1", b"2"]
    finally:
        loop.is_armed = False
        loop.close()
