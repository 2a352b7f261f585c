# SPDX-License-Identifier: Apache-2.0
"""AIOContext.cancel, and what close cancels: each operation completes once, come what may."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import linux_aio
from linux_aio import AIOContext, AIOOperation, EventFD
from support.files import Gate, file_in_memory, is_readable
from support.fusefs import HoldingFS
from support.operations import perform, wait_done
from support.workers import finish, start, stays_blocked

pytest_plugins = ["support.fixtures"]

DATA = bytes(number % 251 for number in range(4096))


@pytest.fixture
def held(fs: HoldingFS) -> Iterator[int]:
    """A file of `DATA` whose reads and writes wait until the test unholds them."""
    fs.create("data", DATA)
    fs.hold()
    fd = os.open(fs.path("data"), os.O_RDWR | os.O_DIRECT)
    yield fd
    fs.unhold()
    os.close(fd)


def poll_of(gate: Gate) -> AIOOperation:
    return AIOOperation.poll(gate, select.POLLIN)


def assert_cancelled(operation: AIOOperation) -> None:
    assert operation.done
    for _ in range(2):
        with pytest.raises(OSError, match=r"poll of fd \d+") as caught:
            operation.get_result()
        assert caught.value.errno == errno.ECANCELED


def wait_for(context: AIOContext, operation: AIOOperation) -> None:
    while not operation.done:
        context.getevents()


# --- polls


def test_a_poll(ctx: AIOContext, gate: Gate) -> None:
    op = poll_of(gate)
    op.submit(ctx)
    assert ctx.cancel(op) is True
    assert ctx.getevents() == [op]
    assert_cancelled(op)
    assert ctx.in_flight == 0
    assert ctx.getevents() == []


def test_what_happens_to_the_file_later_is_nothing_to_it(ctx: AIOContext, gate: Gate) -> None:
    op = poll_of(gate)
    op.submit(ctx)
    ctx.cancel(op)
    ctx.getevents()
    gate.open()
    assert ctx.getevents(0) == []
    assert_cancelled(op)


def test_its_eventfd_is_signalled_once(ctx: AIOContext, gate: Gate) -> None:
    with EventFD() as efd:
        op = poll_of(gate)
        op.submit(ctx, efd)
        assert ctx.cancel(op)
        assert efd.read() == 1
        assert_cancelled(op)
        gate.open()
        ctx.getevents(0)
        assert not is_readable(efd.fileno)


def test_the_contexts_own_eventfd_is_signalled(ctx: AIOContext, gate: Gate) -> None:
    fileno = ctx.fileno
    op = poll_of(gate)
    op.submit(ctx)
    assert not is_readable(fileno)
    ctx.cancel(op)
    assert is_readable(fileno, timeout=30)
    assert ctx.getevents() == [op]
    assert not is_readable(fileno)


def test_one_of_many(ctx: AIOContext, gate: Gate) -> None:
    ops = [poll_of(gate) for _ in range(9)]
    ctx.submit(*ops)
    assert ctx.cancel(ops[4])
    assert ctx.getevents() == [ops[4]]
    assert ctx.in_flight == 8
    gate.open()
    got = ctx.getevents(8)
    assert sorted(map(id, got)) == sorted(id(op) for op in ops if op is not ops[4])
    assert [op.get_result() for op in got] == [select.POLLIN] * 8
    assert_cancelled(ops[4])


def test_all_of_many_in_any_order(ctx: AIOContext, gate: Gate) -> None:
    ops = [poll_of(gate) for _ in range(64)]
    assert ctx.submit(*ops) == 64
    for op in ops[::2] + ops[1::2]:
        assert ctx.cancel(op)
    got = ctx.getevents(64)
    assert sorted(map(id, got)) == sorted(map(id, ops))
    for op in ops:
        assert_cancelled(op)


def test_again_and_again(ctx: AIOContext, gate: Gate) -> None:
    """It completes once, however often it is cancelled."""
    op = poll_of(gate)
    with EventFD() as efd:
        op.submit(ctx, efd)
        assert ctx.cancel(op)
        with contextlib.suppress(ValueError):  # as soon as it has completed
            while True:
                ctx.cancel(op)
        assert_cancelled(op)
        assert efd.read() == 1
        assert ctx.getevents(0) == []
        assert not is_readable(efd.fileno)


def test_submitted_again_it_is_as_new(ctx: AIOContext, gate: Gate) -> None:
    op = poll_of(gate)
    for _ in range(3):
        op.submit(ctx)
        assert ctx.cancel(op)
        wait_for(ctx, op)
        assert_cancelled(op)
        op.submit(ctx)
        assert not op.done
        gate.open()
        wait_for(ctx, op)
        assert op.get_result() == select.POLLIN
        gate.shut()


def test_just_when_it_completes(ctx: AIOContext, gate: Gate) -> None:
    """What cancel returned is what happens, and it happens once."""
    op = poll_of(gate)
    with EventFD() as efd:
        for _ in range(300):
            op.submit(ctx, efd)
            gate.open()
            try:
                cancelled = ctx.cancel(op)
            except ValueError:
                cancelled = False
            assert efd.read() == 1
            if cancelled:
                assert_cancelled(op)
            else:
                assert op.get_result() == select.POLLIN
            gate.shut()


def test_just_when_it_completes_by_another_thread(ctx: AIOContext) -> None:
    for _ in range(200):
        with Gate() as gate:
            op = poll_of(gate)
            op.submit(ctx)
            opening = start(gate.open)
            try:
                cancelled = ctx.cancel(op)
            except ValueError:
                cancelled = False
            finish(opening)
            assert ctx.getevents() == [op]
            if cancelled:
                assert_cancelled(op)
            else:
                assert op.get_result() == select.POLLIN


def test_by_another_thread_than_waits(ctx: AIOContext, gate: Gate) -> None:
    op = poll_of(gate)
    op.submit(ctx)
    waiter = start(ctx.getevents)
    assert stays_blocked(waiter)
    assert ctx.cancel(op)
    assert finish(waiter) == [[op]]
    assert_cancelled(op)


def test_one_that_is_awaited(gate: Gate) -> None:
    async def main() -> None:
        async with AIOContext() as ctx:
            op = poll_of(gate)
            op.submit(ctx)

            async def wait() -> Any:
                return await op

            task = asyncio.create_task(wait())
            await asyncio.sleep(0)
            assert not task.done()
            assert ctx.cancel(op)
            with pytest.raises(OSError, match="poll of fd") as caught:
                await task
            assert caught.value.errno == errno.ECANCELED

    asyncio.run(main())


def test_its_place_in_the_queue_is_free_once_collected(gate: Gate) -> None:
    with AIOContext(1) as ctx:
        op, other = poll_of(gate), poll_of(gate)
        op.submit(ctx)
        with pytest.raises(BlockingIOError):
            other.submit(ctx)
        ctx.cancel(op)
        assert ctx.getevents() == [op]
        assert other.submit(ctx) == 1


# --- what can't be cancelled


HELD: dict[str, Callable[[int], AIOOperation]] = {
    "read": lambda fd: AIOOperation.read(4096, fd),
    "readinto": lambda fd: AIOOperation.readinto(bytearray(4096), fd),
    "write": lambda fd: AIOOperation.write(DATA[::-1], fd),
}


@pytest.mark.parametrize("kind", HELD)
def test_a_transfer(kind: str, fs: HoldingFS, held: int, ctx: AIOContext) -> None:
    op = HELD[kind](held)
    with EventFD() as efd:
        op.submit(ctx, efd)
        fs.wait_held(1)
        for _ in range(3):
            assert ctx.cancel(op) is False
        assert not op.done
        assert ctx.in_flight == 1
        assert not is_readable(efd.fileno)
        fs.unhold()
        assert efd.read() == 1
        result = op.get_result()
        assert not is_readable(efd.fileno)
    assert result == (DATA if kind == "read" else 4096)
    assert fs.contents("data") == (DATA[::-1] if kind == "write" else DATA)


def test_an_error_after_all(fs: HoldingFS, held: int, ctx: AIOContext) -> None:
    op = AIOOperation.read(4096, held)
    op.submit(ctx)
    fs.wait_held(1)
    assert ctx.cancel(op) is False
    fs.fail(errno.EIO)
    fs.unhold()
    assert ctx.getevents() == [op]
    with pytest.raises(OSError, match="read of 4096 bytes") as caught:
        op.get_result()
    assert caught.value.errno == errno.EIO


# --- what can't be asked for


def test_one_that_was_never_submitted(ctx: AIOContext, gate: Gate) -> None:
    op = poll_of(gate)
    with pytest.raises(ValueError, match="not in flight"):
        ctx.cancel(op)
    with pytest.raises(RuntimeError):
        op.get_result()


@pytest.mark.parametrize("collected", [False, True])
def test_one_that_is_done(collected: bool, ctx: AIOContext) -> None:
    with file_in_memory(b"data") as fd, EventFD() as efd:
        op = AIOOperation.read(4, fd)
        op.submit(ctx, efd)
        assert efd.read() == 1
        if collected:
            assert ctx.getevents() == [op]
        with pytest.raises(ValueError, match="not in flight"):
            ctx.cancel(op)
        assert op.get_result() == b"data"


def test_one_that_was_refused(ctx: AIOContext, gate: Gate) -> None:
    op = poll_of(gate)
    with AIOContext(1) as full:
        poll_of(gate).submit(full)
        with pytest.raises(BlockingIOError):
            op.submit(full)
        for context in (full, ctx):
            with pytest.raises(ValueError, match="not in flight"):
                context.cancel(op)


def test_one_of_another_context(ctx: AIOContext, gate: Gate) -> None:
    op = poll_of(gate)
    with AIOContext() as other:
        op.submit(other)
        with pytest.raises(ValueError, match="not in flight in this context"):
            ctx.cancel(op)
        assert not op.done
        gate.open()
        assert other.getevents() == [op]
        assert op.get_result() == select.POLLIN


@pytest.mark.parametrize("thing", [None, 1, "poll", object(), AIOOperation])
def test_what_is_no_operation(thing: Any, ctx: AIOContext) -> None:
    with pytest.raises(TypeError, match="AIOOperation"):
        ctx.cancel(thing)


def test_in_a_closed_context(gate: Gate) -> None:
    op = poll_of(gate)
    with AIOContext() as ctx:
        op.submit(ctx)
    with pytest.raises(ValueError, match="closed"):
        ctx.cancel(op)


# --- close


def test_closing_cancels_all_polls(gate: Gate) -> None:
    ctx = AIOContext(64)
    ops = [poll_of(gate) for _ in range(64)]
    with EventFD() as efd:
        for op in ops:
            op.submit(ctx, efd)
        ctx.close()
        assert efd.read() == 64
    for op in ops:
        assert_cancelled(op)


def test_closing_loses_no_result(gate: Gate) -> None:
    """Neither of those done and not collected, nor of those around what is cancelled."""
    ctx = AIOContext(64)
    with file_in_memory(DATA) as fd:
        reads = [AIOOperation.read(10, fd, offset) for offset in range(20)]
        polls = [poll_of(gate) for _ in range(20)]
        with Gate() as other:
            other.open()
            ready = poll_of(other)
            ctx.submit(ready, *reads[:10], *polls, *reads[10:])
            wait_done(ready)
            ctx.close()
    assert ready.get_result() == select.POLLIN
    assert [op.get_result() for op in reads] == [DATA[start : start + 10] for start in range(20)]
    for op in polls:
        assert_cancelled(op)


def test_closing_waits_for_what_can_not_be_cancelled(fs: HoldingFS, held: int, gate: Gate) -> None:
    ctx = AIOContext(8)
    read, poll = AIOOperation.read(4096, held), poll_of(gate)
    ctx.submit(read, poll)
    fs.wait_held(1)
    closing = start(ctx.close)
    assert stays_blocked(closing)
    fs.unhold()
    finish(closing)
    assert read.get_result() == DATA
    assert_cancelled(poll)


def test_closing_after_cancelling(gate: Gate) -> None:
    ctx = AIOContext(8)
    ops = [poll_of(gate) for _ in range(8)]
    ctx.submit(*ops)
    assert all(ctx.cancel(op) for op in ops)
    ctx.close()
    for op in ops:
        assert_cancelled(op)


def test_cancelled_ones_can_be_submitted_elsewhere(ctx: AIOContext, gate: Gate) -> None:
    op = poll_of(gate)
    with AIOContext() as first:
        op.submit(first)
        assert first.cancel(op)
    gate.open()
    assert perform(ctx, op) == select.POLLIN


# Found by ./dev fuzz api: io_uring interrupts what runs, and says that it can't be cancelled.


@pytest.mark.parametrize("kind", ["fsync", "fdsync"])
def test_a_sync_that_is_interrupted_was_cancelled(kind: str, fs: HoldingFS) -> None:
    if linux_aio.engines()["uring"] != "available":
        pytest.skip("no io_uring here")
    fd = os.open(fs.create("data", DATA), os.O_RDWR)
    with AIOContext(4, engine="uring") as context:
        fs.hold()
        operation = getattr(AIOOperation, kind)(fd)
        operation.submit(context)
        fs.wait_held(1)
        context.cancel(operation)  # whatever it says
        wait_done(operation)
        with pytest.raises(OSError, match=kind) as caught:
            operation.get_result()
        assert caught.value.errno == errno.ECANCELED
    fs.unhold()
    os.close(fd)
