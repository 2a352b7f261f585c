# SPDX-License-Identifier: Apache-2.0
"""References and exported buffers return to where they were; cycles are collected."""

from __future__ import annotations

import contextlib
import gc
import select
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from linux_aio import AIOContext, AIOOperation, EventFD
from support.files import Gate, Numbered, contents, file_in_memory, refuse_writes
from support.operations import perform, signals, wait_done
from support.programs import run_program


@pytest.fixture
def ctx() -> Iterator[AIOContext]:
    with AIOContext(8) as context:
        yield context


@pytest.fixture
def fd() -> Iterator[int]:
    with file_in_memory(b"Hello world") as number:
        yield number


def test_the_collector_finds_all_that_an_operation_refers_to(fd: int) -> None:
    file = Numbered(fd)
    buffers = [bytearray(2), bytearray(3)]
    payload = bytearray(5)
    vector = AIOOperation.readv(buffers, file)
    single = AIOOperation.readinto(payload, file)
    assert vector in gc.get_referrers(file)
    assert single in gc.get_referrers(file)
    assert single in gc.get_referrers(payload)
    for buffer in buffers:
        assert vector in gc.get_referrers(buffer)


class Things:
    """All that an operation can refer to."""

    def __init__(self, ctx: AIOContext, efd: EventFD, fd: int) -> None:
        self.ctx = ctx
        self.efd = efd
        self.file = Numbered(fd)
        self.closed_file = Numbered(-1)
        self.payload = bytearray(b"payload")
        self.number = 10**6  # neither a small integer nor a constant that is shared


@pytest.fixture
def things(ctx: AIOContext, fd: int) -> Iterator[Things]:
    with EventFD() as efd:
        yield Things(ctx, efd, fd)


def succeed(things: Things) -> None:
    for op in (
        AIOOperation.read(5, things.file),
        AIOOperation.write(things.payload, things.file),
        AIOOperation.fsync(things.file),
        AIOOperation.fdsync(things.file),
    ):
        op.submit(things.ctx, things.efd)
        assert things.efd.read() == 1
        op.get_result()
        assert op.get_result() == op.get_result()


def be_collected(things: Things) -> None:
    things.ctx.submit(
        AIOOperation.read(5, things.file), AIOOperation.write(things.payload, things.file)
    )
    assert len(things.ctx.getevents(2)) == 2


def be_dropped(things: Things) -> None:
    AIOOperation.read(5, things.file).submit(things.ctx, things.efd)
    AIOOperation.write(things.payload, things.file).submit(things.ctx, things.efd)
    assert signals(things.efd, 2) == 2
    assert things.ctx.in_flight == 0


def be_looked_at(things: Things) -> None:
    op = AIOOperation.write(things.payload, things.file, things.number)
    op.prepare(things.efd)
    op.submit(things.ctx)
    assert things.efd.read() == 1
    assert op.done
    repr(op)
    assert (op.payload, op.eventfd, op.context) == (things.payload, things.efd, things.ctx)
    assert (op.offset, op.nbytes, op.fileno) == (things.number, 7, things.file.number)
    op.offset = 5
    op.payload = b"other"
    with pytest.raises(AttributeError):
        del op.payload


def never_be_submitted(things: Things) -> None:
    AIOOperation.read(things.number, things.file)
    op = AIOOperation.write(things.payload, things.file)
    op.prepare(things.efd)


def fail_to_be_made(things: Things) -> None:
    file: Any = things.file
    payload: Any = things.payload
    number: Any = things.number
    attempts: list[Callable[[], object]] = [
        lambda: AIOOperation.read(-1, file),
        lambda: AIOOperation.read(number, None),  # type: ignore[arg-type]
        lambda: AIOOperation.read(5, file, -number),
        lambda: AIOOperation.read(5, file, number, "x"),  # type: ignore[arg-type]
        lambda: AIOOperation.read(5, file, number, 0, 2**31),
        lambda: AIOOperation.write(payload, file, -number),
        lambda: AIOOperation.write(file, file),
        lambda: AIOOperation.write(payload, payload),
        lambda: AIOOperation.poll(file, payload),
        lambda: AIOOperation.fsync(payload),
        lambda: AIOContext(-number),
        lambda: AIOContext(number, engine=payload),
        lambda: AIOContext(8, engine="none"),
    ]
    for attempt in attempts:
        with pytest.raises((TypeError, ValueError)):
            attempt()


def be_refused(things: Things) -> None:
    good = AIOOperation.write(things.payload, things.file)
    bad = AIOOperation.write(things.payload, things.closed_file)
    for op in good, bad:
        op.prepare(things.efd)
    with pytest.raises(ValueError, match="twice"):
        things.ctx.submit(good, good)
    with pytest.raises(OSError, match="write of 7"):
        things.ctx.submit(bad, good)
    with pytest.raises(TypeError):
        things.ctx.submit(good, things.file)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        good.submit(things.ctx, things.file)  # type: ignore[arg-type]


def fail(things: Things) -> None:
    with file_in_memory() as sealed:
        refuse_writes(sealed)
        op = AIOOperation.write(things.payload, Numbered(sealed))
        op.submit(things.ctx, things.efd)
        assert things.efd.read() == 1
        for _ in range(3):
            with pytest.raises(PermissionError):
                op.get_result()


def be_cancelled(things: Things) -> None:
    with Gate() as gate, contextlib.suppress(OSError):
        with AIOContext(1) as ctx:
            op = AIOOperation.poll(gate, select.POLLIN)
            op.submit(ctx, things.efd)
        assert things.efd.read() == 1
        op.get_result()


LIVES = [
    succeed,
    be_collected,
    be_dropped,
    be_looked_at,
    never_be_submitted,
    fail_to_be_made,
    be_refused,
    fail,
]


def reference_counts(counted: dict[str, object]) -> dict[str, int]:
    gc.collect()
    return {name: sys.getrefcount(thing) for name, thing in counted.items()}


@pytest.mark.parametrize("live", [*LIVES, be_cancelled])
def test_references_return_to_where_they_were(
    live: Callable[[Things], None], things: Things
) -> None:
    live(things)  # what is made once
    before = reference_counts(vars(things))
    for _ in range(5):
        live(things)
    assert reference_counts(vars(things)) == before
    assert not is_exported(things.payload)


@pytest.mark.parametrize("live", LIVES)
def test_references_to_what_all_share_do_not_run_away(
    live: Callable[[Things], None], things: Things
) -> None:
    rounds = 500
    shared: dict[str, object] = {"None": None, "AIOOperation": AIOOperation, "EventFD": EventFD}
    before = reference_counts(shared)
    for _ in range(rounds):
        live(things)
    after = reference_counts(shared)
    # Others take and drop some too.
    assert [name for name in shared if abs(after[name] - before[name]) >= rounds] == []


# Exported buffers


def is_exported(buffer: bytearray) -> bool:
    try:
        buffer.append(0)
    except BufferError:
        return True
    buffer.pop()
    return False


def test_a_buffer_is_exported_until_its_operation_completes(ctx: AIOContext, fd: int) -> None:
    payload = bytearray(b"payload")
    op = AIOOperation.write(payload, fd)
    op.submit(ctx)
    assert ctx.getevents() == [op]
    assert not is_exported(payload)
    assert op.payload is payload


def test_a_failed_operation_gives_its_buffer_back(ctx: AIOContext, fd: int) -> None:
    refuse_writes(fd)
    payload = bytearray(b"payload")
    op = AIOOperation.write(payload, fd)
    op.submit(ctx)
    wait_done(op)
    assert not is_exported(payload)


def test_a_dropped_operation_gives_its_buffer_back(fd: int) -> None:
    payload = bytearray(b"payload")
    op = AIOOperation.write(payload, fd)
    del op
    gc.collect()
    assert not is_exported(payload)


def test_an_operation_dropped_after_submission_gives_its_buffer_back(
    ctx: AIOContext, fd: int
) -> None:
    payload = bytearray(b"payload")
    with EventFD() as efd:
        AIOOperation.write(payload, fd).submit(ctx, efd)
        assert efd.read() == 1
    assert ctx.in_flight == 0
    assert not is_exported(payload)


def test_a_completed_one_that_is_refused_gives_its_buffer_back(ctx: AIOContext, fd: int) -> None:
    payload = bytearray(b"payload")
    file = Numbered(fd)
    op = AIOOperation.write(payload, file)
    perform(ctx, op)
    file.number = -1
    with pytest.raises(OSError, match="of fd -1"):
        op.submit(ctx)
    with pytest.raises(ValueError, match="twice"):
        ctx.submit(op, op)
    assert not is_exported(payload)


def test_a_memoryview_can_be_released_after_completion(ctx: AIOContext, fd: int) -> None:
    view = memoryview(b"payload")
    op = AIOOperation.write(view, fd)
    perform(ctx, op)
    view.release()  # which an exported memoryview refuses
    assert op.get_result() == 7


# Cycles


class File(Numbered):
    operation: AIOOperation


def test_a_cycle_through_the_file_is_collected(fd: int) -> None:
    file = File(fd)
    file.operation = AIOOperation.fsync(file)
    alive = weakref.ref(file.operation)
    del file
    gc.collect()
    assert alive() is None


def test_a_cycle_through_the_file_is_collected_after_completion(ctx: AIOContext, fd: int) -> None:
    file = File(fd)
    file.operation = AIOOperation.read(5, file)
    perform(ctx, file.operation)
    alive = weakref.ref(file.operation)
    del file
    gc.collect()
    assert alive() is None


def test_a_cycle_is_collected_that_signals_an_eventfd(ctx: AIOContext, fd: int) -> None:
    file = File(fd)
    with EventFD() as efd:
        file.operation = AIOOperation.read(5, file)
        file.operation.submit(ctx, efd)
        efd.read()
        assert file.operation.done
        alive = weakref.ref(file.operation)
        del file
        gc.collect()
    assert alive() is None
    assert ctx.getevents(0) == []


class Payload(bytearray):
    operation: AIOOperation


@pytest.mark.parametrize("is_performed", [False, True])
def test_a_cycle_through_the_payload_is_collected(
    is_performed: bool, ctx: AIOContext, fd: int
) -> None:
    payload = Payload(b"payload")
    payload.operation = AIOOperation.write(payload, fd)
    if is_performed:
        perform(ctx, payload.operation)
    alive = weakref.ref(payload.operation)
    del payload
    gc.collect()
    assert alive() is None


def test_a_cycle_with_an_open_context_is_collected_with_a_warning(fd: int) -> None:
    file = File(fd)
    file.operation = AIOOperation.read(5, file)
    file.operation.submit(AIOContext(1))
    wait_done(file.operation)
    alive = weakref.ref(file.operation)
    del file
    with pytest.warns(ResourceWarning, match="unclosed"):
        gc.collect()
    gc.collect()  # pytest had the context, with the warning; from Python 3.15 on, `alive` tells
    assert alive() is None


# What lives as long as the operation


def test_a_result_does_not_keep_its_operation(ctx: AIOContext, fd: int) -> None:
    op = AIOOperation.read(5, fd)
    result = perform(ctx, op)
    alive = weakref.ref(op)
    del op
    gc.collect()
    assert alive() is None
    assert result == b"Hello"


def test_an_operation_and_its_context_in_each_other_are_collected(fd: int) -> None:
    ctx = AIOContext(8)
    op = AIOOperation.read(5, fd)
    op.submit(ctx)
    ctx.close()
    alive = weakref.ref(op), weakref.ref(ctx)
    del op, ctx
    gc.collect()
    assert [reference() for reference in alive] == [None, None]


# A memoryview that goes together with the operation that has it exported. Before Python 3.12.3 the
# collector cleared it all the same, and its end was a crash. Found by ./dev fuzz api.


@pytest.mark.parametrize("make", ["write(view, 0)", "writev([view, view], 0)"])
def test_a_memoryview_older_than_the_operation_is_collected_with_it(make: str) -> None:
    printed = run_program(
        """
        import gc, sys
        from linux_aio import AIOOperation

        class Node:
            pass

        for _ in range(100):  # so that memory of one that was finalized would be used again
            view = memoryview(bytearray(8))
            node = Node()
            node.node = node
            node.operation = eval("AIOOperation." + sys.argv[1])
            del view, node
            gc.collect()
        print("fine")
        """,
        make,
    )
    assert printed == "fine\n"


def test_an_operation_that_a_finalizer_brings_back_can_be_submitted(
    ctx: AIOContext, fd: int
) -> None:
    back = []

    class Node:
        def __init__(self) -> None:
            self.node = self
            self.operation = AIOOperation.write(memoryview(bytearray(b"HELLO")), fd)

        def __del__(self) -> None:
            back.append(self.operation)

    Node()
    gc.collect()
    (operation,) = back
    assert perform(ctx, operation) == 5
    assert contents(fd) == b"HELLO world"


def test_what_the_collector_is_about_to_clear_is_not_handed_out(fd: int) -> None:
    """A callback of a weak reference runs while it clears, and may reap."""
    found: list[AIOOperation] = []
    notes: list[Any] = []

    class Job:
        def __init__(self, context: AIOContext) -> None:
            done = EventFD()
            self.operation = AIOOperation.read(4, self)
            self.operation.submit(context, done)
            done.read()
            self.next_signal = EventFD()
            self.operation.prepare(self.next_signal)
            notes.append(
                weakref.ref(self.next_signal, lambda _: found.extend(context.getevents(0)))
            )

        def fileno(self) -> int:
            return fd

    with AIOContext(8) as context:
        first, second = Job(context), Job(context)
        first.other, second.other = second, first  # type: ignore[attr-defined]
        del first, second
        gc.collect()
        assert found == []
