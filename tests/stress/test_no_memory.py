# SPDX-License-Identifier: Apache-2.0
"""Python's memory is used up: a MemoryError, wherever that happens, and nothing is lost by it.

What a program does is done again and again, each time with another one of its allocations refused.
It calls as little else as can be, and makes no functions: not all of Python itself takes that well
(up to 3.13, a function that can't be made, and many a module in C).
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import errno
import gc
import itertools
import select
import sys
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from linux_aio import (
    AIOContext,
    AIOOperation,
    EventFD,
    aligned_buffer,
    build_info,
    direct_alignment,
    engines,
)
from support.direct import PAGE, direct_file, direct_reason
from support.faults import faults_reason
from support.files import Gate, file_in_memory
from support.measure import UNDER_ADDRESS_SANITIZER, open_fds, soon
from support.operations import perform
from support.programs import run_program
from support.workers import PATIENCE

if faults_reason() is None:
    from _faults import allow_allocations, refuse_allocations

pytestmark = [
    pytest.mark.skipif(faults_reason() is not None, reason=str(faults_reason())),
    # what a program has that is interrupted anywhere is left open, or never awaited
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
pytest_plugins = ["support.fixtures"]

Result = TypeVar("Result")

DATA = bytes(number % 251 for number in range(4 * PAGE))


def at_each_allocation(
    action: Callable[[], Result],
    after_failure: Callable[[], object] = int,
    before: Callable[[], object] = int,
) -> Result:
    """What it returns once all its allocations are granted: before, each is refused once."""
    held: list[Any] = []
    for granted in itertools.count():
        before()
        # what lists of free objects hold needs no allocation
        held.clear()
        gc.collect()
        held += [[{}, (number,)] for number in range(100)]
        tracer = sys.gettrace()
        sys.settrace(None)  # coverage.py's takes it no better
        failed = False
        try:
            refuse_allocations(granted, 1)
            result = action()
        except MemoryError:
            failed = True
        finally:
            refused = allow_allocations()
            sys.settrace(tracer)
        if failed:
            after_failure()
        elif not refused:
            return result
    raise AssertionError("there is no end")


@pytest.fixture
def fd() -> Iterator[int]:
    with file_in_memory(DATA) as number:
        yield number


def wait_for(ctx: AIOContext, operation: AIOOperation) -> None:
    while not operation.done:
        ctx.getevents(timeout=1)


# --- what is made, and what it says


def test_contexts(ctx: AIOContext) -> None:
    def make() -> str:
        with AIOContext(4, engine=ctx.engine) as context:
            assert context.fileno >= 0
            return repr(context)

    before = open_fds()
    assert "max_requests=4" in at_each_allocation(make)
    assert soon(lambda: open_fds() <= before)


def error_of(action: Callable[[], object]) -> Exception:
    """What it raises that is no matter of memory."""
    try:
        result = action()
    except MemoryError:
        raise
    except Exception as error:
        return error
    raise AssertionError(result)


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (lambda: AIOContext(4, engine="none such"), "unknown engine 'none such'"),
        (lambda: AIOContext(1 << 70), "max_requests must be from 1 to"),
        (lambda: EventFD(flags=1 << 30), "Invalid argument"),
        (lambda: EventFD().write(1 << 64), "value must be from 0 to"),
        (lambda: AIOOperation.readv([b""] * 2000, 0), "at most 1024 buffers"),
        (lambda: AIOOperation.read(1, None), "fd must be an int"),  # type: ignore[arg-type]
        (lambda: AIOOperation.fsync(fd=0, more=1), "unexpected keyword"),  # type: ignore[call-arg]
        (lambda: AIOOperation.poll(0, 1).get_result(), "never submitted"),
        (lambda: direct_alignment(-1), "Bad file descriptor"),
        (lambda: aligned_buffer(1, 3), "power of two"),
    ],
)
def test_complaints(action: Callable[[], object], text: str) -> None:
    assert text in str(at_each_allocation(lambda: error_of(action)))


KERNELS_ERRORS: dict[str, tuple[Callable[[int], AIOOperation], str]] = {
    "a bad fd": (lambda fd: AIOOperation.read(10, -1), r"read of 10 bytes at offset 0 of fd -1"),
    "an unknown flag": (lambda fd: AIOOperation.write(b"x", fd, 7, flags=1 << 20), "write of 1 "),
}


@pytest.mark.parametrize(("make", "text"), KERNELS_ERRORS.values(), ids=KERNELS_ERRORS)
def test_complaints_of_the_kernel(
    make: Callable[[int], AIOOperation], text: str, ctx: AIOContext, fd: int
) -> None:
    """They are raised by submit or by get_result, as the engine learns of them."""
    operation = make(fd)

    def fail() -> None:
        if operation.context is None:
            operation.submit(ctx)
        wait_for(ctx, operation)
        operation.get_result()

    assert text in str(at_each_allocation(lambda: error_of(fail)))
    assert ctx.in_flight == 0


def test_a_full_queue(gate: Gate) -> None:
    with AIOContext(1) as ctx:
        first, second = (AIOOperation.poll(gate, select.POLLIN) for _ in range(2))
        first.submit(ctx)

        def submit() -> int:
            return second.submit(ctx)

        error = at_each_allocation(lambda: error_of(submit))
        assert "the queue is full, with 1 operations" in str(error)
        assert second.context is None


def test_eventfds() -> None:
    def use() -> int:
        with EventFD(1000) as eventfd:
            eventfd.write(value=2000)
            repr(eventfd)
            return eventfd.read()

    before = open_fds()
    assert at_each_allocation(use) == 3000
    assert soon(lambda: open_fds() <= before)


OPERATIONS: dict[str, Callable[[int], AIOOperation]] = {
    "read": lambda fd: AIOOperation.read(1000, fd, 2000),
    "readinto": lambda fd: AIOOperation.readinto(bytearray(1000), fd, 2000),
    "readv": lambda fd: AIOOperation.readv([bytearray(600), bytearray(400)], fd, 2000),
    "write": lambda fd: AIOOperation.write(DATA[:1000], fd, 2000),
    "writev": lambda fd: AIOOperation.writev([DATA[:600], DATA[600:1000]], fd, 2000),
    "fsync": AIOOperation.fsync,
    "fdsync": AIOOperation.fdsync,
    "poll": lambda fd: AIOOperation.poll(fd, select.POLLIN),
}

each_kind = pytest.mark.parametrize("make", OPERATIONS.values(), ids=OPERATIONS)


@each_kind
def test_operations(make: Callable[[int], AIOOperation], fd: int) -> None:
    def look() -> tuple[str, int, int | None]:
        operation = make(fd)
        return repr(operation), operation.fileno, operation.offset

    text, number, offset = at_each_allocation(look)
    assert "not submitted" in text
    assert number == fd
    assert offset in (0, 2000)


def test_the_module_s_functions(tmp_path: Path) -> None:
    assert at_each_allocation(build_info) == build_info()
    assert at_each_allocation(engines) == engines()
    path = tmp_path / "data"
    path.write_bytes(DATA)
    with path.open("rb") as file:
        alignment = direct_alignment(file)
        assert at_each_allocation(lambda: direct_alignment(file)) == alignment
    assert at_each_allocation(lambda: aligned_buffer(100)).nbytes == 100


# --- submission and completion


@each_kind
def test_submission_and_result(
    make: Callable[[int], AIOOperation], ctx: AIOContext, fd: int
) -> None:
    """An operation that was not submitted can be submitted; one that was is done."""
    operation = make(fd)
    expected = perform(ctx, make(fd))

    def use() -> Any:
        if operation.context is None:
            operation.submit(ctx)
        wait_for(ctx, operation)
        return operation.get_result()

    assert at_each_allocation(use) == expected
    assert ctx.in_flight == 0
    assert ctx.statistics()["submitted"] == 2


def test_large_batches(ctx: AIOContext, fd: int) -> None:
    """More than there is room for without an allocation."""
    operations = [AIOOperation.read(500, fd, number * 500) for number in range(40)]
    untouched = [repr(operation) for operation in operations]

    def submit() -> int:
        return ctx.submit(*operations)

    def nothing_was_submitted() -> None:
        assert [repr(operation) for operation in operations] == untouched
        assert ctx.in_flight == 0

    assert at_each_allocation(submit, nothing_was_submitted) == 40
    assert len(ctx.getevents(40)) == 40
    assert [operation.get_result() for operation in operations] == [
        DATA[offset : offset + 500] for offset in range(0, 40 * 500, 500)
    ]


def test_getevents_loses_nothing(ctx: AIOContext, fd: int) -> None:
    operations = [AIOOperation.read(1, fd, number) for number in range(20)]
    assert ctx.submit(*operations) == 20

    def collect() -> list[AIOOperation]:
        return ctx.getevents(20, timeout=30.0)

    found = at_each_allocation(collect)
    assert sorted(map(id, found)) == sorted(map(id, operations))
    assert ctx.getevents(0) == []


def test_statistics(ctx: AIOContext, fd: int) -> None:
    perform(ctx, AIOOperation.read(1, fd))
    assert at_each_allocation(ctx.statistics) == ctx.statistics()


@pytest.fixture
def direct(tmp_path: Path) -> Iterator[int]:
    reason = direct_reason(tmp_path)
    if reason is not None:
        pytest.skip(reason)
    with direct_file(tmp_path / "data", DATA) as number:
        yield number


def test_direct_reads(ctx: AIOContext, direct: int) -> None:
    """What one brought is there until it is looked at."""
    operation = AIOOperation.read(1000, direct, 2000)
    for offset in (2000, 3000):
        operation.offset = offset
        assert at_each_allocation(lambda: operation.submit(ctx)) == 1
        wait_for(ctx, operation)
        assert at_each_allocation(operation.get_result) == DATA[offset : offset + 1000]


def test_the_payload_of_a_direct_read_that_is_submitted_again(ctx: AIOContext, direct: int) -> None:
    operation = AIOOperation.read(1000, direct, 2000)
    operation.submit(ctx)
    wait_for(ctx, operation)
    assert at_each_allocation(lambda: operation.submit(ctx), lambda: operation.payload) == 1
    wait_for(ctx, operation)
    assert operation.get_result() == DATA[2000:3000]


def test_short_reads_that_somebody_has_seen(ctx: AIOContext, fd: int) -> None:
    """Where they landed is left as it is, and what is returned is a copy."""
    operation = AIOOperation.read(2 * len(DATA), fd, 1)
    operation.submit(ctx)
    wait_for(ctx, operation)
    (landing,) = [found for found in gc.get_referents(operation) if type(found) is bytes]
    assert at_each_allocation(operation.get_result) == DATA[1:]
    assert len(landing) == 2 * len(DATA)
    assert landing[: len(DATA) - 1] == DATA[1:]


def test_short_reads(ctx: AIOContext, fd: int) -> None:
    """A result that can't be cut to size is lost, and says so for ever; else it is there."""

    def read() -> tuple[AIOOperation, bytes]:
        operation = AIOOperation.read(2 * len(DATA), fd, 1)
        operation.submit(ctx)
        wait_for(ctx, operation)
        return operation, operation.get_result()

    operation, result = at_each_allocation(read)
    assert result == DATA[1:]
    assert operation.payload is result
    for granted in range(5):
        other = AIOOperation.read(2 * len(DATA), fd, 1)
        other.submit(ctx)
        wait_for(ctx, other)
        tracer = sys.gettrace()
        sys.settrace(None)
        taken: bytes | None = None
        try:
            refuse_allocations(granted, 1)
            taken = other.get_result()
        except MemoryError:
            pass  # in get_result(), or in the interpreter before it
        finally:
            allow_allocations()
            sys.settrace(tracer)
        if taken is None and other.payload is None:
            assert "ENOMEM" in errno.errorcode[error_of(other.get_result).args[0]]
            assert "failed" in repr(other)
        else:
            assert other.get_result() == DATA[1:]
            assert other.payload == DATA[1:]


# --- the module itself

ANOTHER_MODULE = """
import gc, itertools, sys
import linux_aio._core as core
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from _faults import allow_allocations, refuse_allocations

sys.unraisablehook = lambda _: None
spec = spec_from_file_location(core.__name__, core.__file__)

def at_each_allocation(prepare, action):
    failures = 0
    sys.settrace(None)
    for granted in itertools.count():
        prepared = prepare()
        gc.collect()
        refuse_allocations(granted, 1)
        try:
            result = action(prepared)
        except (MemoryError, SystemError):  # where Python itself forgets to set one
            failures += 1
        else:
            if not allow_allocations():
                return failures, result
        finally:
            allow_allocations()

def another_module():
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
"""


@pytest.mark.skipif(
    sys.version_info >= (3, 13), reason="types of Python 3.13 and later are broken by a refusal"
)
def test_importing_it() -> None:
    source = """
import os
failures, module = at_each_allocation(lambda: module_from_spec(spec),
                                      lambda module: spec.loader.exec_module(module) or module)
with module.AIOContext(4) as context, open(os.devnull) as file:
    operation = module.AIOOperation.poll(file, 1)
    operation.submit(context)
    assert context.getevents() == [operation]
print(failures > 50)
"""
    assert run_program(ANOTHER_MODULE + source) == "True\n"


def test_the_end_of_a_module() -> None:
    """What it kept for operations to come goes with it."""
    source = """
import asyncio, os, weakref

module = another_module()
with module.AIOContext(8) as context, open(os.devnull, "rb") as file:
    operations = [module.AIOOperation.read(1, file) for _ in range(8)]
    for operation in operations:
        operation.submit(context)
    assert len(context.getevents(8)) == 8
    async def main():
        for _ in range(3):
            assert await context.read(1, file) == b""
    asyncio.run(main())
reference = weakref.ref(module)
gc.callbacks[:] = [call for call in gc.callbacks if call.__self__ is not module]
del module, context, operation, operations, main
gc.collect()
print(reference())
"""
    assert run_program(ANOTHER_MODULE + source) == "None\n"


def test_importing_asyncio() -> None:
    """The first time that it is needed; what was found is complete or nothing."""
    source = """
import asyncio

async def main():
    async def read(context):
        return await context.read(4, file)

    def loop_of(module):
        with module.AIOContext(4) as context:
            return context.loop

    failures, loop = at_each_allocation(another_module, loop_of)
    assert loop is asyncio.get_running_loop()
    print(failures > 5)

asyncio.run(main())
"""
    assert run_program(ANOTHER_MODULE + source) == "True\n"


# --- awaiting


class Loop:
    """As much of a loop as a context asks of one, without code that does not take refusals well."""

    def __init__(self) -> None:
        self.readers: dict[int, Callable[[], object]] = {}
        # which takes no memory to give one up; a list, which shrinks, may lose it for want of some
        self.ready: collections.deque[tuple[Any, tuple[Any, ...]]] = collections.deque()

    def add_reader(self, fd: int, callback: Callable[[], object]) -> None:
        self.readers[fd] = callback

    def remove_reader(self, fd: int) -> bool:
        return self.readers.pop(fd, None) is not None

    def call_soon(self, callback: Any, *arguments: Any, context: Any = None) -> None:
        self.ready.append((callback, arguments))

    call_soon_threadsafe = call_soon

    def call_later(self, _delay: float, callback: Any, *arguments: Any) -> None:
        self.call_soon(callback, *arguments)

    def get_debug(self) -> bool:
        return False

    def is_closed(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def turn(self) -> None:
        # waiting, for with each idle turn there would be more allocations to refuse
        readable = select.select(list(self.readers), [], [], 0 if self.ready else 0.1)[0]
        for number in readable:
            if number in self.readers:
                self.readers[number]()
        for _ in range(len(self.ready)):
            callback, arguments = self.ready.popleft()
            callback(*arguments)

    def run_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self.turn()
            assert time.monotonic() < deadline


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop: Any = Loop()
    asyncio._set_running_loop(loop)
    yield loop
    asyncio._set_running_loop(None)


def end_of(coroutine: Coroutine[Any, Any, Result]) -> Result:
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: Result = stop.value
        return result
    raise AssertionError("it goes on")


def test_the_first_step(loop: Loop, gate: Gate) -> None:
    """Nothing is left of one that fails, and the context serves the loop."""

    def step() -> tuple[AIOContext, Any, Any]:
        context = AIOContext(4)
        coroutine = context.poll(gate, select.POLLIN)
        return context, coroutine, coroutine.send(None)

    before = open_fds()
    context, coroutine, waiter = at_each_allocation(step)
    assert asyncio.isfuture(waiter)
    gate.open()
    loop.run_until(waiter.done)
    assert end_of(coroutine) == select.POLLIN
    context.close()
    del context, coroutine, waiter
    # those that were dropped with their polls go when these have been cancelled
    deadline = time.monotonic() + PATIENCE
    while not open_fds() <= before:
        assert time.monotonic() < deadline
        gc.collect()
        loop.turn()
    assert loop.readers == {}


@pytest.mark.engine("auto", "aio")  # with the others it never is
def test_steps_of_what_is_over_at_once(loop: Loop, ctx: AIOContext, fd: int) -> None:
    def step() -> bytes:
        coroutine = ctx.read(10, fd, 5)
        try:
            waiter: Any = coroutine.send(None)
        except StopIteration as stop:
            result: bytes = stop.value
            return result
        loop.run_until(waiter.done)
        return end_of(coroutine)

    assert at_each_allocation(step) == DATA[5:15]
    loop.run_until(lambda: ctx.in_flight == 0)


def test_an_operation_that_is_awaited(loop: Loop, ctx: AIOContext, gate: Gate) -> None:
    """It can be awaited once more, where the first attempt failed."""
    operation = AIOOperation.poll(gate, select.POLLIN)
    operation.submit(ctx)

    def step() -> tuple[Any, Any]:
        coroutine: Any = operation.__await__()
        return coroutine, coroutine.send(None)

    coroutine, waiter = at_each_allocation(step)
    gate.open()
    loop.run_until(waiter.done)
    assert end_of(coroutine) == select.POLLIN
    assert ctx.getevents(0) == []


def test_an_operation_that_goes_on_without_a_task(loop: Loop, ctx: AIOContext, gate: Gate) -> None:
    """A task that can't wait for it leaves it to the next one."""
    poll: Any = ctx.poll(gate, select.POLLIN)
    poll._start()
    loop.run_until(lambda: ctx.in_flight == 1)
    with AIOContext(200) as other:
        polls = [other.poll(gate, select.POLLIN) for _ in range(100)]
        waiters: list[Any] = [coroutine.send(None) for coroutine in polls]
        for coroutine in polls:
            coroutine.close()
        failures: list[None] = []

        def wait() -> Any:
            waiters.append(poll.send(None))
            return waiters[-1]

        waiter = at_each_allocation(wait, lambda: failures.append(None), poll._result_if_over)
    assert failures
    gate.open()
    loop.run_until(waiter.done)
    assert end_of(poll) == select.POLLIN


def test_what_a_task_asks_of_a_waiter(loop: Loop, ctx: AIOContext, gate: Gate) -> None:
    calls: list[Any] = []
    callbacks = (calls.append, *[print] * 8, calls.append)
    coroutines = []

    def ask() -> Any:
        coroutine = ctx.poll(gate, select.POLLIN)
        coroutines.append(coroutine)
        waiter: Any = coroutine.send(None)
        for callback in callbacks:
            waiter.add_done_callback(callback)
        waiter.remove_done_callback(print)
        waiter.cancel("enough")
        return waiter

    waiter = at_each_allocation(ask)
    assert waiter.cancelled()
    assert calls == []
    loop.turn()
    assert calls.count(waiter) == 2
    for coroutine in coroutines:
        coroutine.close()
    gate.open()
    loop.run_until(lambda: ctx.in_flight == 0)


def test_callbacks_that_can_not_be_taken_out_stay(loop: Loop, ctx: AIOContext, gate: Gate) -> None:
    calls: list[Any] = []
    coroutine = ctx.poll(gate, select.POLLIN)
    waiter: Any = coroutine.send(None)
    for callback in (calls.append, *[print] * 8, calls.append):
        waiter.add_done_callback(callback)
    assert at_each_allocation(lambda: waiter.remove_done_callback(print)) == 8
    assert waiter.remove_done_callback(print) == 0
    assert waiter.cancel()
    loop.turn()
    assert calls == [waiter, waiter]
    coroutine.close()


def test_being_woken(loop: Loop, ctx: AIOContext, gate: Gate) -> None:
    """Whatever fails in the loop's turn, everybody is woken in the end."""
    woken: list[Any] = []
    waits: list[tuple[Any, Any]] = []

    def wait() -> None:
        all_are_woken()
        for _ in range(3):
            coroutine = ctx.poll(gate, select.POLLIN)
            waiter: Any = coroutine.send(None)
            waits.append((coroutine, waiter))
            waiter.add_done_callback(woken.append)
            waiter.add_done_callback(print)
            waiter.remove_done_callback(print)
        gate.open()

    def all_are_woken() -> None:
        if waits:
            loop.run_until(lambda: all(waiter.done() for _, waiter in waits))
            loop.turn()
            gate.shut()
        for coroutine, waiter in waits:
            # the loop may have refused the callback
            assert woken.count(waiter) <= 1
            # one that stood in the queue may have failed
            with contextlib.suppress(MemoryError):
                assert end_of(coroutine) == select.POLLIN
        waits.clear()

    def turn() -> None:
        loop.turn()

    at_each_allocation(turn, before=wait)
    last = waits[-1][1]
    all_are_woken()
    assert last in woken


def test_a_loop_that_has_no_memory_for_a_callback(
    loop: Loop, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in the queue is submitted all the same."""

    def refuse(*_: object, **_options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(loop, "call_soon", refuse)
    with AIOContext(4, engine="threads") as context:  # whose reads are submitted in groups
        coroutine = context.read(10, fd, 5)
        waiter: Any = coroutine.send(None)
        loop.run_until(waiter.done)
        assert end_of(coroutine) == DATA[5:15]


def test_waiting_beside_many_others(loop: Loop, gate: Gate) -> None:
    """So that none of what was used before is left to be used again."""
    with AIOContext(200) as ctx:
        others = [ctx.poll(gate, select.POLLIN) for _ in range(100)]
        waiters: list[Any] = [coroutine.send(None) for coroutine in others]

        kept: list[Any] = []

        def step() -> Any:
            coroutine = ctx.poll(gate, select.POLLIN)
            waiter = coroutine.send(None)
            kept.append((coroutine, waiter))
            return coroutine, waiter

        coroutine, waiter = at_each_allocation(step)
        gate.open()
        loop.run_until(lambda: waiter.done() and all(other.done() for other in waiters))
        for one in (coroutine, *others):
            assert end_of(one) == select.POLLIN


class ClingingLoop(Loop):
    """Does not let go of what it was told to call."""

    context: AIOContext

    def remove_reader(self, fd: int) -> bool:
        return False


def test_a_loop_that_goes_with_its_context(fd: int) -> None:
    loop: Any = ClingingLoop()
    asyncio._set_running_loop(loop)
    loop.context = AIOContext(4)
    with contextlib.suppress(StopIteration):
        loop.context.read(1, fd).send(None)
    asyncio._set_running_loop(None)
    assert len(loop.readers) == 1
    gone = weakref.ref(loop)
    del loop
    deadline = time.monotonic() + PATIENCE
    while gone() is not None:
        assert time.monotonic() < deadline
        gc.collect()


def test_direct_reads_for_which_there_is_no_aligned_memory(tmp_path: Path) -> None:
    source = """
import os, resource, sys
from linux_aio import AIOContext, AIOOperation

try:
    fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_DIRECT)
except OSError:
    print("True True b''")
    sys.exit()
os.ftruncate(fd, 1 << 30)  # aligned memory is for no more than there is to read
refused = False
operation = AIOOperation.read(1 << 30, fd)
with AIOContext(4) as context:
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), most))
    try:
        operation.submit(context)
    except MemoryError:
        refused = True
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    os.ftruncate(fd, 0)
    untouched = operation.context is None
    operation.submit(context)
    context.getevents()
    print(refused, untouched, operation.get_result())
"""
    if UNDER_ADDRESS_SANITIZER:
        pytest.skip("AddressSanitizer needs more memory than a limit allows")
    assert run_program(source, tmp_path / "data") == "True True b''\n"


def test_an_awaited_read_for_which_there_is_no_memory() -> None:
    source = """
import asyncio, os, resource
from linux_aio import AIOContext

fd = os.memfd_create("data")
os.write(fd, b"data")

async def main():
    with AIOContext(4) as context:
        assert await context.read(4, fd) == b"data"
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), most))
        try:
            await context.read(1 << 30, fd)
        except MemoryError:
            print("refused")
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        assert context.statistics()["submitted"] == 1
        print(await context.read(1 << 20, fd))

asyncio.run(main())
"""
    if UNDER_ADDRESS_SANITIZER:
        pytest.skip("AddressSanitizer needs more memory than a limit allows")
    assert run_program(source) == "refused\nb'data'\n"


def test_throw(loop: Loop, ctx: AIOContext, gate: Gate) -> None:
    def throw() -> Exception:
        coroutine = ctx.poll(gate, select.POLLIN)
        coroutine.send(None)
        try:
            coroutine.throw(OSError, "enough")
        except OSError as error:
            return error
        raise AssertionError

    assert repr(at_each_allocation(throw)) == "OSError('enough')"
    gate.open()
    loop.run_until(lambda: ctx.in_flight == 0)


def test_a_loop_that_has_no_memory_when_a_wait_is_cancelled(
    loop: Loop, ctx: AIOContext, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **_options: object) -> None:
        raise MemoryError

    coroutine = ctx.poll(gate, select.POLLIN)
    waiter: Any = coroutine.send(None)
    waiter.add_done_callback(print)
    monkeypatch.setattr(loop, "call_soon", refuse)
    with pytest.raises(MemoryError):
        waiter.cancel()
    assert waiter.cancelled()
    coroutine.close()


def test_a_loop_that_has_no_memory_for_a_timer(
    loop: Loop, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in the queue for a place of which only the program hears is submitted."""

    def refuse(*_: object, **_options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(loop, "call_later", refuse)
    with AIOContext(1) as context, EventFD() as eventfd, Gate() as other:
        operation = AIOOperation.poll(gate, select.POLLIN)
        operation.submit(context, eventfd)
        other.open()
        coroutine = context.poll(other, select.POLLIN)
        waiter: Any = coroutine.send(None)
        loop.turn()
        assert not waiter.done()
        gate.open()
        assert eventfd.read() == 1
        loop.run_until(waiter.done)
        assert end_of(coroutine) == select.POLLIN
        assert operation.get_result() == select.POLLIN
