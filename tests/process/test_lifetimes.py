# SPDX-License-Identifier: Apache-2.0
"""What a request in flight uses stays until the kernel has let go of it, whatever the program does.

The requests are truly in flight here, held by a file system that answers when it is told. What was
given back meanwhile is in quarantine, where a write of the kernel shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import gc
import itertools
import os
import select
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ClassVar

import pytest

from linux_aio import AIOContext, AIOOperation, EventFD
from support.engines import ENDS_AT_ONCE
from support.files import Gate, file_in_memory, is_readable
from support.fusefs import HoldingFS
from support.measure import open_fds, soon
from support.operations import wait_done, wait_idle
from support.programs import run_program
from support.quarantine import Quarantine
from support.rings import no_queues, queues
from support.workers import PATIENCE, finish, start, stays_blocked

pytest_plugins = ["support.fixtures"]

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <linux_aio:ResourceWarning"),
]

NBYTES = 50_021  # as no other block has
DATA = bytes(number % 199 for number in range(NBYTES))

Order = tuple[str, ...]


class DirectFile:
    """A file opened for direct I/O, closed when it is dropped."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_DIRECT)

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


class Reference:
    """Holds an object. One that is in a cycle lets go of it only when it is collected."""

    def __init__(self, thing: object, in_cycle: bool) -> None:
        self.thing = thing
        self.cycle = self if in_cycle else None


class Flight:
    """A read in flight, and a reference to each of the objects that have to do with it."""

    PARTS = ("context", "operation", "eventfd", "file")

    def __init__(
        self, fs: HoldingFS, path: Path, *, with_eventfd: bool, in_cycles: bool = False
    ) -> None:
        held = fs.held()
        self.with_eventfd = with_eventfd
        file = DirectFile(path)
        context = AIOContext(4)
        eventfd = EventFD()
        operation = AIOOperation.read(NBYTES, file)
        assert operation.submit(context, eventfd if with_eventfd else None) == 1
        fs.wait_held(held + 1)
        parts = zip(self.PARTS, (context, operation, eventfd, file), strict=True)
        self._references = {name: Reference(part, in_cycles) for name, part in parts}

    def drop(self, part: str) -> None:
        del self._references[part]

    def part(self, name: str) -> object:
        reference = self._references.get(name)
        return reference.thing if reference is not None else None

    def check_completed(self) -> None:
        """All that is left tells that the read completed, and what it read."""
        context, operation, eventfd = map(self.part, ("context", "operation", "eventfd"))
        if isinstance(operation, AIOOperation):
            assert has_read_all(operation)
        elif isinstance(context, AIOContext):
            found = context.getevents()
            assert len(found) == (0 if self.with_eventfd else 1)
            assert all(has_read_all(operation) for operation in found)
        if isinstance(context, AIOContext):
            wait_idle(context)
        if isinstance(eventfd, EventFD) and self.with_eventfd:
            assert eventfd.read() == 1


def has_read_all(operation: AIOOperation) -> bool:
    """Compared here, for pytest would take minutes to show how so many bytes differ."""
    wait_done(operation)
    result: bytes = operation.get_result()
    return result == DATA


def let_go() -> None:
    """Let all contexts go, which nobody holds; it may take until another one is made.

    And where a thread has been let go by the file system, until that has told of it.
    """
    deadline = time.monotonic() + PATIENCE
    gc.collect()
    while queues() and time.monotonic() < deadline:
        AIOContext(1).close()
        gc.collect()
        time.sleep(0.002)  # each look allocates, and a quarantine keeps all of it


@pytest.fixture
def path(fs: HoldingFS) -> Path:
    return fs.create("data", DATA)


@pytest.fixture
def file(path: Path) -> Iterator[DirectFile]:
    file = DirectFile(path)
    yield file
    file.close()


@pytest.fixture
def fd() -> Iterator[int]:
    with file_in_memory(DATA) as number:
        yield number


# Dropped


def beginnings(parts: Order) -> Iterator[Order]:
    """Every order in which none, some or all of them can be dropped."""
    for count in range(len(parts) + 1):
        yield from itertools.permutations(parts, count)


@pytest.mark.long
@pytest.mark.needs_root
@pytest.mark.parametrize("in_cycles", [False, True], ids=["counted", "in cycles"])
@pytest.mark.parametrize("with_eventfd", [False, True], ids=["no eventfd", "eventfd"])
def test_dropped_in_any_order(
    with_eventfd: bool, in_cycles: bool, fs: HoldingFS, path: Path, quarantine: Quarantine
) -> None:
    fs.hold()
    parts = Flight.PARTS if with_eventfd else ("context", "operation", "file")
    for order in beginnings(parts):
        flight = Flight(fs, path, with_eventfd=with_eventfd, in_cycles=in_cycles)
        gc.collect()  # the context before may only now have been let go of
        before = quarantine.given_back(NBYTES)
        for part in order:
            flight.drop(part)
            gc.collect()
        assert quarantine.given_back(NBYTES) == before
        assert fs.release() == 1
        flight.check_completed()
        assert quarantine.damaged() == 0
        del flight
    let_go()
    assert no_queues()
    assert quarantine.given_back(NBYTES) >= len(list(beginnings(parts)))
    assert quarantine.damaged() == 0


@pytest.mark.needs_root
@pytest.mark.parametrize("answer", ["short", "error"])
def test_dropped_and_answered_otherwise_than_asked(
    answer: str, fs: HoldingFS, path: Path, quarantine: Quarantine
) -> None:
    fs.hold()
    flight = Flight(fs, path, with_eventfd=False)
    for part in Flight.PARTS:
        flight.drop(part)
    gc.collect()
    if answer == "short":
        fs.short(NBYTES // 2)
    else:
        fs.fail(errno.EIO)
    fs.unhold()  # where the read was made by a thread, it now asks for the rest
    let_go()
    assert quarantine.damaged() == 0
    assert quarantine.given_back(NBYTES) > 0


@pytest.mark.needs_root
def test_dropped_in_flight_for_the_second_time(
    fs: HoldingFS, file: DirectFile, quarantine: Quarantine
) -> None:
    context = AIOContext(4)
    operation = AIOOperation.read(NBYTES, file)
    operation.submit(context)
    while not operation.done:
        context.getevents()
    fs.hold()
    operation.submit(context)
    fs.wait_held(1)
    given_back = quarantine.given_back(NBYTES)
    del operation, context
    gc.collect()
    assert quarantine.given_back(NBYTES) == given_back
    fs.release()
    let_go()
    assert quarantine.damaged() == 0
    assert quarantine.given_back(NBYTES) > given_back


@pytest.mark.needs_root
def test_some_of_many_dropped_and_the_last_answered_first(
    fs: HoldingFS, file: DirectFile, ctx: AIOContext, quarantine: Quarantine
) -> None:
    size = 300
    fs.hold()
    operations = [AIOOperation.read(size, file, number * size) for number in range(16)]
    assert ctx.submit(*operations) == 16
    fs.wait_held(16)
    kept = {operation.offset: operation for operation in operations[::3]}
    del operations
    for _ in range(16):
        gc.collect()
        assert fs.release(1, order="lifo") == 1
    found = {operation.offset: operation.get_result() for operation in ctx.getevents(16)}
    assert all(result == DATA[offset:][:size] for offset, result in found.items())
    assert len(found) == 16
    assert all(operation.get_result() is found[offset] for offset, operation in kept.items())
    del found, kept
    assert quarantine.damaged() == 0


@pytest.mark.needs_root
def test_a_dropped_operation_goes_when_it_has_completed_and_not_before(
    fs: HoldingFS, file: DirectFile, ctx: AIOContext
) -> None:
    fs.hold()
    operation = AIOOperation.read(NBYTES, file)
    operation.submit(ctx, EventFD())
    fs.wait_held(1)
    gone = weakref.ref(operation)
    del operation
    gc.collect()
    assert gone() is not None
    fs.release()
    wait_idle(ctx)
    assert ctx.getevents() == []
    assert gone() is None


@pytest.mark.needs_root
def test_contexts_dropped_in_flight_give_everything_back_in_the_end(
    fs: HoldingFS, path: Path
) -> None:
    fs.hold()
    before = open_fds()
    flights = [Flight(fs, path, with_eventfd=bool(number % 2)) for number in range(20)]
    assert queues() > 0
    flights.clear()
    gc.collect()
    assert fs.release() == 20
    let_go()
    assert no_queues()
    assert soon(lambda: open_fds() <= before)


def test_a_context_dropped_with_a_poll_in_flight_needs_no_event_to_go() -> None:
    before = open_fds()
    context = AIOContext(4)
    with Gate() as gate:
        AIOOperation.poll(gate, select.POLLIN).submit(context)
        del context
        let_go()
        assert no_queues()
    assert soon(lambda: open_fds() <= before)


class Connection:
    """An object such as programs have: a file, and what is done with it, in one."""

    def __init__(self, gate: Gate) -> None:
        self._number = os.dup(gate.fileno())
        self.context = AIOContext(4)
        self.operation = AIOOperation.poll(self, select.POLLIN)
        self.operation.submit(self.context)

    def fileno(self) -> int:
        return self._number

    def __del__(self) -> None:
        os.close(self._number)


def test_a_dropped_object_that_is_the_file_of_its_own_poll_goes_too() -> None:
    """The poll needs nothing of it any more, and its event may never come."""
    with Gate() as gate:
        before = open_fds()
        Connection(gate)
        try:
            let_go()
            assert no_queues()
            assert soon(lambda: open_fds() <= before)
        finally:
            gate.open()
            let_go()


# Closed


class Closing:
    """A read in flight of which file, eventfd and context are closed, and the operation dropped."""

    def __init__(self, fs: HoldingFS, path: Path) -> None:
        self._file = DirectFile(path)
        self._eventfd = EventFD()
        self.signalled = os.dup(self._eventfd.fileno)
        self._context = AIOContext(4)
        self.operation: AIOOperation | None = AIOOperation.read(NBYTES, self._file)
        self.operation.submit(self._context, self._eventfd)
        fs.wait_held(1)
        self.closer: Future[None] | None = None

    def do(self, step: str) -> None:
        if step == "file":
            self._file.close()
        elif step == "eventfd":
            self._eventfd.close()
        elif step == "operation":
            self.operation = None
        else:
            self.closer = start(self._context.close)


@pytest.mark.needs_root
@pytest.mark.parametrize("keep_operation", [True, False], ids=["operation kept", "dropped"])
def test_closed_in_any_order(
    keep_operation: bool, fs: HoldingFS, path: Path, quarantine: Quarantine
) -> None:
    fs.hold()
    steps = ("file", "eventfd", "context") + (() if keep_operation else ("operation",))
    for order in itertools.permutations(steps):
        closing = Closing(fs, path)
        for step in order:
            closing.do(step)
        assert closing.closer is not None
        assert stays_blocked(closing.closer)
        assert fs.release() == 1
        finish(closing.closer)
        assert os.eventfd_read(closing.signalled) == 1
        os.close(closing.signalled)
        if closing.operation is not None:
            assert has_read_all(closing.operation)
    assert quarantine.damaged() == 0
    assert no_queues()


@pytest.mark.needs_root
def test_closed_by_several_threads_at_once(fs: HoldingFS, file: DirectFile) -> None:
    fs.hold()
    context = AIOContext(4)
    operation = AIOOperation.read(NBYTES, file)
    operation.submit(context)
    fs.wait_held(1)
    closers = [start(context.close) for _ in range(3)]
    assert all(stays_blocked(closer) for closer in closers)
    fs.release()
    finish(*closers)
    assert has_read_all(operation)


@pytest.mark.needs_root
def test_closing_waits_for_requests_though_polls_are_cancelled(
    fs: HoldingFS, file: DirectFile
) -> None:
    fs.hold()
    context = AIOContext(4)
    with Gate() as gate:
        poll, read = AIOOperation.poll(gate, 1), AIOOperation.read(NBYTES, file)
        assert context.submit(poll, read) == 2
        fs.wait_held(1)
        closer = start(context.close)
        assert stays_blocked(closer)
        fs.release()
        finish(closer)
    assert has_read_all(read)
    with pytest.raises(OSError, match=os.strerror(errno.ECANCELED)):
        poll.get_result()


# Kept as they are


def transfer(kind: str, buffer: bytearray, file: DirectFile) -> AIOOperation:
    """A write, writev, readinto or readv of the whole buffer."""
    make: Callable[..., AIOOperation] = getattr(AIOOperation, kind)
    if kind.endswith("v"):
        return make((memoryview(buffer)[:1000], memoryview(buffer)[1000:]), file)
    return make(buffer, file)


@pytest.mark.needs_root
@pytest.mark.parametrize("kind", ["write", "writev", "readinto", "readv"])
def test_a_buffer_in_flight_can_not_be_resized(
    kind: str, fs: HoldingFS, file: DirectFile, ctx: AIOContext
) -> None:
    fs.hold()
    buffer = bytearray(b"#" * NBYTES)
    operation = transfer(kind, buffer, file)
    operation.submit(ctx)
    fs.wait_held(1)
    del operation
    gc.collect()
    with pytest.raises(BufferError):
        buffer.clear()
    fs.release()
    assert [operation.get_result() for operation in ctx.getevents()] == [NBYTES]
    assert bool(buffer == fs.contents("data"))
    buffer.clear()


@pytest.mark.needs_root
@pytest.mark.parametrize("in_cycles", [False, True], ids=["counted", "in cycles"])
@pytest.mark.parametrize("kind", ["readinto", "readv"])
def test_a_buffer_dropped_in_any_order(
    kind: str, in_cycles: bool, fs: HoldingFS, file: DirectFile, quarantine: Quarantine
) -> None:
    fs.hold()
    for order in itertools.permutations(("context", "operation", "buffer")):
        before = quarantine.given_back(NBYTES)
        context, buffer = AIOContext(4), bytearray(NBYTES)
        operation = transfer(kind, buffer, file)
        operation.submit(context)
        fs.wait_held(1)
        references = {
            "context": Reference(context, in_cycles),
            "operation": Reference(operation, in_cycles),
            "buffer": Reference(buffer, in_cycles),
        }
        del context, operation, buffer
        for part in order:
            del references[part]
            gc.collect()
        assert quarantine.given_back(NBYTES) == before
        assert fs.release() == 1
        assert quarantine.damaged() == 0
        let_go()
        assert quarantine.given_back(NBYTES) == before + 1


PYTHON = ctypes.pythonapi
PYTHON.PyMem_Malloc.argtypes, PYTHON.PyMem_Malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
PYTHON.PyMem_Free.argtypes, PYTHON.PyMem_Free.restype = [ctypes.c_void_p], None


def buffer_with_a_finalizer() -> tuple[ctypes.Array[ctypes.c_char], weakref.finalize[..., object]]:
    """A buffer whose memory is freed when it goes, as many a library does it."""
    address = PYTHON.PyMem_Malloc(NBYTES)
    buffer = (ctypes.c_char * NBYTES).from_address(address)
    return buffer, weakref.finalize(buffer, PYTHON.PyMem_Free, address)


@pytest.mark.needs_root
def test_the_kernel_does_not_write_to_memory_that_a_finalizer_frees(
    fs: HoldingFS, file: DirectFile, quarantine: Quarantine
) -> None:
    fs.hold()
    context = AIOContext(4)
    buffer, finalizer = buffer_with_a_finalizer()
    AIOOperation.readinto(buffer, file).submit(context)
    fs.wait_held(1)
    del buffer, context
    gc.collect()
    assert fs.release() == 1
    assert quarantine.damaged() == 0
    let_go()
    assert not finalizer.alive
    assert quarantine.damaged() == 0


@pytest.mark.needs_root
@pytest.mark.parametrize("part", ["file", "eventfd", "operation"])
def test_the_collector_does_not_finalize_what_is_in_flight(
    part: str, fs: HoldingFS, path: Path
) -> None:
    fs.hold()
    file, eventfd, context = DirectFile(path), EventFD(), AIOContext(4)
    operation = AIOOperation.read(NBYTES, file)
    operation.submit(context, eventfd)
    fs.wait_held(1)
    things = {"file": file, "eventfd": eventfd, "operation": operation}
    finalizer = weakref.finalize(things[part], lambda: None)
    del file, eventfd, context, operation, things
    gc.collect()
    assert finalizer.alive
    fs.release()
    let_go()
    assert not finalizer.alive


class Phoenix:
    """Comes back when it is collected."""

    returned: ClassVar[list[Phoenix]] = []

    def __init__(self, context: AIOContext, operation: AIOOperation) -> None:
        self.context = context
        self.operation = operation
        self.cycle = self

    def __del__(self) -> None:
        self.returned.append(self)


@pytest.mark.needs_root
def test_what_a_finalizer_brings_back_still_gets_its_result(
    fs: HoldingFS, file: DirectFile, quarantine: Quarantine
) -> None:
    fs.hold()
    context = AIOContext(4)
    operation = AIOOperation.read(NBYTES, file)
    operation.submit(context)
    fs.wait_held(1)
    Phoenix(context, operation)
    del context, operation
    gc.collect()
    phoenix = Phoenix.returned.pop()
    fs.release()
    assert has_read_all(phoenix.operation)
    phoenix.context.close()
    assert quarantine.damaged() == 0


# Warned of


@pytest.mark.needs_root
def test_a_context_collected_in_flight_warns_once(fs: HoldingFS, file: DirectFile) -> None:
    fs.hold()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        AIOOperation.read(NBYTES, file).submit(AIOContext(4))
        fs.wait_held(1)
        gc.collect()
        messages = [str(warning.message) for warning in caught]
        caught.clear()  # they have the context
        fs.release()
        let_go()
    assert len(messages) == 1
    assert messages[0].startswith("unclosed <linux_aio.AIOContext")
    assert caught == []
    assert no_queues()


@pytest.mark.needs_root
def test_a_context_closed_in_flight_does_not_warn(fs: HoldingFS, file: DirectFile) -> None:
    fs.hold()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        context = AIOContext(4)
        operation = AIOOperation.read(NBYTES, file)
        operation.submit(context)
        fs.wait_held(1)
        closer = start(context.close)
        assert stays_blocked(closer)
        fs.release()
        finish(closer)
        del context, operation
        gc.collect()


# Python code that runs in the midst of it


class Trap(bytearray):
    """A payload that does something when it goes."""

    action: Callable[[], object]

    def __del__(self) -> None:
        # a ValueError where the context has been closed, or the operation is in flight again
        with contextlib.suppress(ValueError):
            self.action()


def trap(fd: int, action: Callable[[], object], eventfd: EventFD) -> AIOOperation:
    """An operation that is gone, and its payload with it, when it has completed."""
    payload = Trap(b"trap")
    payload.action = action
    operation = AIOOperation.write(payload, fd, NBYTES)
    operation.prepare(eventfd)
    return operation


def submit_elsewhere(operation: AIOOperation) -> None:
    context = AIOContext(1)
    operation.submit(context)
    wait_done(operation)


ACTIONS: dict[str, Callable[[AIOContext, AIOOperation], object]] = {
    "collects": lambda context, operation: gc.collect(),
    "takes the result": lambda context, operation: operation.get_result(),
    "gets the events": lambda context, operation: context.getevents(0),
    "submits again": lambda context, operation: operation.submit(context),
    "submits elsewhere": lambda context, operation: submit_elsewhere(operation),
    "closes": lambda context, operation: context.close(),
}

TRIGGERS: dict[str, Callable[[AIOContext, AIOOperation], object]] = {
    "done": lambda context, operation: operation.done,
    "get_result": lambda context, operation: operation.get_result(),
    "in_flight": lambda context, operation: context.in_flight,
    "getevents": lambda context, operation: context.getevents(0),
    "submit": lambda context, operation: context.submit(),
    "close": lambda context, operation: context.close(),
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("trigger", TRIGGERS)
def test_code_that_runs_while_completions_are_taken_in(trigger: str, action: str, fd: int) -> None:
    happened = []

    def act() -> None:
        happened.append(action)
        ACTIONS[action](context, operation)

    context = AIOContext(4)
    operation = AIOOperation.read(NBYTES, fd)
    eventfd = EventFD()
    own = -1 if ENDS_AT_ONCE else context.fileno
    assert context.submit(trap(fd, act, eventfd), operation) == 2
    assert is_readable(eventfd.fileno, PATIENCE)
    assert own < 0 or is_readable(own, PATIENCE)
    time.sleep(0.05)  # the second may take a moment longer
    assert happened == []
    try:
        TRIGGERS[trigger](context, operation)
    except (ValueError, BlockingIOError):
        assert action in ("closes", "submits again", "submits elsewhere")
    assert happened == [action]
    if not context.closed:
        wait_idle(context)
    context.close()
    assert has_read_all(operation)


def test_a_context_that_is_closed_when_its_number_is_first_asked_for(fd: int) -> None:
    context, eventfd = AIOContext(4), EventFD()
    assert trap(fd, context.close, eventfd).submit(context) == 1
    assert is_readable(eventfd.fileno, PATIENCE)
    with pytest.raises(ValueError, match="closed AIOContext"):
        assert context.fileno
    assert context.closed


def test_a_context_that_is_closed_by_the_first_step_of_an_await(fd: int) -> None:
    async def main() -> None:
        context, eventfd = AIOContext(1), EventFD()
        assert trap(fd, context.close, eventfd).submit(context) == 1
        assert is_readable(eventfd.fileno, PATIENCE)
        coroutine = context.read(NBYTES, fd)  # for which there is no room yet
        with pytest.raises(ValueError, match="closed AIOContext"):
            await coroutine
        assert context.closed
        assert "finished" in repr(coroutine)

    asyncio.run(main())


def test_an_operation_that_is_awaited_by_the_first_step_of_another_await(fd: int) -> None:
    async def main() -> None:
        with AIOContext(4) as context, EventFD() as eventfd, Gate() as gate:
            operation = AIOOperation.poll(gate, select.POLLIN)
            operation.submit(context)
            first: Any = operation.__await__()
            second: Any = operation.__await__()
            assert trap(fd, lambda: second.send(None), eventfd).submit(context) == 1
            assert is_readable(eventfd.fileno, PATIENCE)
            with pytest.raises(RuntimeError, match="awaited already"):
                first.send(None)
            gate.open()
            wait_idle(context)
            with pytest.raises(StopIteration) as stop:
                second.send(None)
            assert stop.value.value == select.POLLIN

    asyncio.run(main())


def test_what_the_collector_calls_takes_what_it_is_given() -> None:
    callback: Any
    (callback,) = [call for call in gc.callbacks if "_before_collection" in repr(call)]
    assert callback("stop", {}) is None
    assert callback("start", {"generation": 0}) is None
    with pytest.raises(KeyError):
        callback("start", {})
    with pytest.raises(TypeError):
        callback("start", {"generation": None})


# What follows crashes the process when it goes wrong, so it has one of its own.


def test_a_collection_in_the_midst_of_getevents() -> None:
    """Allocating the list that is returned may collect what was counted for it."""
    program = """
        import gc, os
        from linux_aio import AIOContext, AIOOperation, EventFD
        from support.operations import wait_done

        gc.disable()
        fd = os.memfd_create("data")
        context = AIOContext(4)
        lists = [[] for _ in range(1000)]  # none is left over to be used again
        operation = AIOOperation.read(10, fd)
        operation.submit(context, EventFD())
        wait_done(operation)
        cycle = [operation]
        cycle.append(cycle)
        del operation, cycle
        gc.set_threshold(1)
        gc.enable()
        assert len(context.getevents(0)) <= 1
        context.close()
    """
    run_program(program)


def test_a_context_that_goes_while_a_result_is_taken() -> None:
    """The operation had the last reference to it, until code that ran meanwhile resubmitted it."""
    program = """
        import os, warnings
        from linux_aio import AIOContext, AIOOperation, EventFD
        from support import measure, quarantine
        from support.operations import wait_done

        class Trap(bytearray):
            def __del__(self):
                operation.submit(other)

        warnings.simplefilter("ignore", ResourceWarning)
        if not measure.UNDER_ADDRESS_SANITIZER:
            quarantine.start(64)  # so that what is used after it was given back looks strange
        fd = os.memfd_create("data")
        os.write(fd, b"data")
        other, context = AIOContext(4), AIOContext(4)
        context.fileno
        operation = AIOOperation.read(4, fd)
        operation.submit(context)
        wait_done(operation)
        eventfd = EventFD()
        AIOOperation.write(Trap(b"trap"), fd, 4).submit(context, eventfd)
        assert eventfd.read() == 1
        del context, eventfd
        try:
            operation.get_result()
        except BlockingIOError:
            pass  # it is in flight again
        assert other.getevents() == [operation]
        assert operation.get_result() == b"data"
    """
    run_program(program)


WHEN_A_CONTEXT_GOES = {
    "a weak reference's callback": """
        context = AIOContext(4)
        reference = weakref.ref(context, make_another)
        del context
    """,
    "a weak reference's callback after it was closed": """
        context = AIOContext(4)
        context.close()
        reference = weakref.ref(context, make_another)
        del context
    """,
    "the handler of the warning": """
        warnings.simplefilter("always")
        warnings.showwarning = make_another
        context = AIOContext(4)
        del context
    """,
    "the finalizer of a payload": """
        class Payload(bytearray):
            def __del__(self):
                make_another()

        context = AIOContext(4)
        completed = context.fileno
        AIOOperation.write(Payload(b"data"), os.memfd_create("data")).submit(context)
        select.select([completed], [], [])
        del context
        gc.collect()
    """,
    "the finalizer of a file": """
        class File:
            fd = os.memfd_create("data")

            def fileno(self):
                return self.fd

            def __del__(self):
                make_another()

        context = AIOContext(4)
        AIOOperation.write(b"data", File()).submit(context)
        context.close()
        del context
        gc.collect()
    """,
}


@pytest.mark.parametrize("way", WHEN_A_CONTEXT_GOES)
def test_a_context_that_is_made_while_another_goes(way: str) -> None:
    """Making one looks after all that there are, among them the one that is just going."""
    begin = """
        import gc, os, select, warnings, weakref
        from linux_aio import AIOContext, AIOOperation

        def make_another(*_):
            made.append(AIOContext(4))
            gc.collect()

        made = []
    """
    end = """
        assert len(made) == 1, made
        made[0].close()
    """
    run_program(begin + WHEN_A_CONTEXT_GOES[way] + end)


def test_collections_at_every_turn() -> None:
    """Thousands of operations, dropped, in cycles and resubmitted, and the collector in between."""
    program = """
        import gc, os, random
        from linux_aio import AIOContext, AIOOperation, EventFD
        from support.operations import wait_done

        def cycle(*things):
            garbage = [*things]
            garbage.append(garbage)

        random.seed(1)
        data = bytes(number % 251 for number in range(4096))
        fd = os.memfd_create("data")
        os.write(fd, data)
        context, eventfd = AIOContext(16), EventFD(0, os.EFD_NONBLOCK)
        lists = [[] for _ in range(1000)]
        kept = []
        gc.set_threshold(1)
        for _ in range(3000):
            offset = random.randrange(4000)
            operation = AIOOperation.read(50, fd, offset)
            try:
                operation.submit(context, random.choice([None, eventfd]))
            except BlockingIOError:
                for collected in context.getevents(0):
                    assert collected.get_result() == data[collected.offset :][:50]
                continue
            choice = random.randrange(4)
            if choice == 0:
                cycle(operation, context)
            elif choice == 1:
                kept.append(operation)
            elif choice == 2:
                wait_done(operation)
                assert operation.get_result() == data[offset:][:50]
                cycle(operation)
            if len(kept) > 10:
                wait_done(*kept)
                assert all(old.get_result() == data[old.offset :][:50] for old in kept)
                cycle(*kept)
                kept.clear()
        context.close()
    """
    run_program(program)
