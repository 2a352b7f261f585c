# SPDX-License-Identifier: Apache-2.0
"""Being told of completions by EventFDs: which is signalled, how often, what is refused."""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from linux_aio import AIOContext, AIOOperation, EventFD
from support.files import Gate, file_in_memory, is_readable, refuse_writes
from support.operations import perform, wait_done


@pytest.fixture
def ctx() -> Iterator[AIOContext]:
    with AIOContext(8) as context:
        yield context


@pytest.fixture
def fd() -> Iterator[int]:
    with file_in_memory(b"Hello world") as number:
        yield number


@pytest.fixture
def efd() -> Iterator[EventFD]:
    with EventFD() as eventfd:
        yield eventfd


@pytest.fixture
def other_efd() -> Iterator[EventFD]:
    with EventFD() as eventfd:
        yield eventfd


MAKERS: dict[str, Callable[[int], AIOOperation]] = {
    "read": lambda fd: AIOOperation.read(32, fd),
    "write": lambda fd: AIOOperation.write(b"payload", fd),
    "fsync": AIOOperation.fsync,
    "fdsync": AIOOperation.fdsync,
    "poll": lambda fd: AIOOperation.poll(fd, select.POLLIN),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_completion_adds_one(
    make: Callable[[int], AIOOperation], ctx: AIOContext, fd: int, efd: EventFD
) -> None:
    op = make(fd)
    assert op.submit(ctx, efd) == 1
    assert efd.read() == 1
    assert op.done
    assert not is_readable(efd.fileno)


def test_a_failure_adds_one_too(ctx: AIOContext, fd: int, efd: EventFD) -> None:
    refuse_writes(fd)
    op = AIOOperation.write(b"x", fd)
    op.submit(ctx, efd)
    assert efd.read() == 1
    with pytest.raises(PermissionError):
        op.get_result()


def test_nothing_is_added_before_the_completion(ctx: AIOContext, efd: EventFD) -> None:
    with Gate() as gate:
        op = AIOOperation.poll(gate, select.POLLIN)
        op.submit(ctx, efd)
        assert not is_readable(efd.fileno)
        gate.open()
        assert efd.read() == 1
        assert op.get_result() & select.POLLIN


def test_completions_of_several_add_up_and_none_is_stranded(
    ctx: AIOContext, fd: int, efd: EventFD
) -> None:
    operations = [AIOOperation.read(1, fd, offset) for offset in range(5)]
    for op in operations:
        op.prepare(efd)
    assert ctx.submit(*operations) == 5
    signals = 0
    while signals < 5:
        signals += efd.read()
    assert signals == 5
    assert [op.get_result() for op in operations] == [b"H", b"e", b"l", b"l", b"o"]


def test_each_signals_its_own(ctx: AIOContext, fd: int, efd: EventFD, other_efd: EventFD) -> None:
    first, second = AIOOperation.read(5, fd), AIOOperation.read(5, fd, 6)
    first.prepare(efd)
    second.prepare(other_efd)
    assert ctx.submit(first, second) == 2
    assert efd.read() == 1
    assert other_efd.read() == 1
    assert first.eventfd is efd
    assert second.eventfd is other_efd


def test_an_eventfd_of_the_os_is_named_by_its_number(ctx: AIOContext, fd: int) -> None:
    number = os.eventfd(0)
    op = AIOOperation.read(5, fd)
    op.submit(ctx, number)
    assert op.eventfd == number
    assert os.eventfd_read(number) == 1
    os.close(number)


def test_arguments_have_names(ctx: AIOContext, fd: int, efd: EventFD) -> None:
    op = AIOOperation.read(5, fd)
    op.prepare(eventfd=efd)
    assert op.submit(context=ctx, eventfd=efd) == 1
    assert efd.read() == 1


# Until which submission one is named


def test_prepare_names_it_without_submitting(fd: int, efd: EventFD) -> None:
    op = AIOOperation.read(5, fd)
    op.prepare(efd)
    assert op.eventfd is efd
    assert op.context is None
    assert not op.done


def test_the_prepared_one_holds_for_every_submission(
    ctx: AIOContext, fd: int, efd: EventFD
) -> None:
    op = AIOOperation.read(5, fd)
    op.prepare(efd)
    for _ in range(3):
        op.submit(ctx)
        assert efd.read() == 1
        assert op.eventfd is efd


def test_another_prepare_names_another(
    ctx: AIOContext, fd: int, efd: EventFD, other_efd: EventFD
) -> None:
    op = AIOOperation.read(5, fd)
    op.prepare(efd)
    op.prepare(other_efd)
    op.submit(ctx)
    assert other_efd.read() == 1
    assert not is_readable(efd.fileno)


def test_submit_names_another_which_holds_too(
    ctx: AIOContext, fd: int, efd: EventFD, other_efd: EventFD
) -> None:
    op = AIOOperation.read(5, fd)
    op.prepare(efd)
    op.submit(ctx, other_efd)
    assert other_efd.read() == 1
    assert op.eventfd is other_efd
    op.submit(ctx)
    assert other_efd.read() == 1
    assert not is_readable(efd.fileno)


def test_submitting_with_none_leaves_it_as_prepared(ctx: AIOContext, fd: int, efd: EventFD) -> None:
    op = AIOOperation.read(5, fd)
    op.prepare(efd)
    op.submit(ctx, None)
    assert efd.read() == 1
    assert op.eventfd is efd


def test_it_stays_after_completion(ctx: AIOContext, fd: int, efd: EventFD) -> None:
    op = AIOOperation.read(5, fd)
    op.submit(ctx, efd)
    wait_done(op)
    op.get_result()
    assert op.eventfd is efd


# What refuses


@pytest.mark.parametrize(
    ("eventfd", "error"),
    [(-1, ValueError), (2**31, ValueError), ("", TypeError), (1.0, TypeError), ([], TypeError)],
)
def test_what_is_no_eventfd_is_refused(
    eventfd: Any, error: type[Exception], ctx: AIOContext, fd: int
) -> None:
    op = AIOOperation.read(5, fd)
    with pytest.raises(error):
        op.prepare(eventfd)
    with pytest.raises(error):
        op.submit(ctx, eventfd)
    assert op.eventfd is None
    assert ctx.in_flight == 0


def test_none_is_nothing_to_prepare_for(fd: int) -> None:
    op: Any = AIOOperation.read(5, fd)
    with pytest.raises(TypeError):
        op.prepare(None)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_counter_that_is_full(
    make: Callable[[int], AIOOperation], ctx: AIOContext, fd: int, efd: EventFD
) -> None:
    """Nobody waits for room in it: it is readable anyway."""
    full = (1 << 64) - 2
    efd.write(full)
    op = make(fd)
    op.submit(ctx, efd)
    wait_done(op)
    assert efd.read() >= full
    assert perform(ctx, AIOOperation.read(5, fd)) is not None


def test_a_counter_with_room_for_some(ctx: AIOContext, gate: Gate, efd: EventFD) -> None:
    full = (1 << 64) - 2
    efd.write(full - 2)
    ops = [AIOOperation.poll(gate, select.POLLIN) for _ in range(8)]
    for op in ops:
        op.submit(ctx, efd)
    gate.open()
    for op in ops:
        wait_done(op)
    ctx.close()  # all signals have been sent
    assert efd.read() >= full


def test_another_file_is_no_eventfd(ctx: AIOContext, fd: int) -> None:
    op = AIOOperation.read(5, fd)
    with pytest.raises(OSError, match="read of 5 bytes") as raised:
        op.submit(ctx, fd)
    assert raised.value.errno == errno.EINVAL
    assert op.eventfd is None


def test_a_closed_number_is_no_eventfd(ctx: AIOContext, fd: int) -> None:
    number = os.eventfd(0)
    os.close(number)
    op = AIOOperation.read(5, fd)
    with pytest.raises(OSError, match=f"read of 5 .*eventfd, {number}, is closed") as raised:
        op.submit(ctx, number)
    assert raised.value.errno == errno.EBADF


def test_a_closed_file_is_not_blamed_on_the_eventfd(ctx: AIOContext, efd: EventFD) -> None:
    op = AIOOperation.read(5, 1 << 20)
    with pytest.raises(OSError, match="is it open, and for reading") as raised:
        op.submit(ctx, efd)
    assert raised.value.errno == errno.EBADF
    assert "eventfd" not in str(raised.value)


def test_a_closed_eventfd_is_a_value_error(ctx: AIOContext, fd: int) -> None:
    closed = EventFD()
    closed.close()
    op = AIOOperation.read(5, fd)
    with pytest.raises(ValueError, match="closed"):
        op.prepare(closed)
    with pytest.raises(ValueError, match="closed"):
        op.submit(ctx, closed)
    assert op.eventfd is None
    assert op.context is None


def test_an_eventfd_closed_since_it_was_named_is_a_value_error(ctx: AIOContext, fd: int) -> None:
    first, second = AIOOperation.read(5, fd), AIOOperation.read(5, fd)
    with EventFD() as efd:
        second.prepare(efd)
    with pytest.raises(ValueError, match="closed"):
        ctx.submit(first, second)
    assert ctx.in_flight == 0
    assert first.context is second.context is None


def test_a_refused_submission_leaves_what_was_prepared(
    ctx: AIOContext, fd: int, efd: EventFD, other_efd: EventFD
) -> None:
    op = AIOOperation.read(5, -1)
    op.prepare(efd)
    with pytest.raises(OSError, match="of fd -1"):
        op.submit(ctx, other_efd)
    assert op.eventfd is efd
    assert op.context is None


def test_prepare_is_a_value_error_in_flight(ctx: AIOContext, efd: EventFD) -> None:
    with Gate() as gate:
        op = AIOOperation.poll(gate, select.POLLIN)
        op.submit(ctx)
        with pytest.raises(ValueError, match="in flight"):
            op.prepare(efd)
        assert op.eventfd is None
        gate.open()
        ctx.getevents()


def test_submit_wants_a_context(fd: int, efd: EventFD) -> None:
    op: Any = AIOOperation.read(5, fd)
    for arguments in ((), (None,), (efd,), (1, efd)):
        with pytest.raises(TypeError):
            op.submit(*arguments)


# An EventFD that is closed or dropped meanwhile


def test_an_operation_in_flight_completes_though_its_eventfd_is_closed(ctx: AIOContext) -> None:
    with Gate() as gate:
        op = AIOOperation.poll(gate, select.POLLIN)
        with EventFD() as efd:
            op.submit(ctx, efd)
        gate.open()
        assert ctx.getevents() == [op]
        assert op.eventfd is efd


def test_an_operation_in_flight_keeps_its_eventfd_open(ctx: AIOContext) -> None:
    with Gate() as gate:
        op = AIOOperation.poll(gate, select.POLLIN)
        op.submit(ctx, EventFD())
        gate.open()
        assert isinstance(op.eventfd, EventFD)
        assert op.eventfd.read() == 1


# What an operation can act on: an EventFD, too


def test_an_eventfd_can_be_polled(ctx: AIOContext, efd: EventFD) -> None:
    op = AIOOperation.poll(efd, select.POLLIN)
    op.submit(ctx)
    assert not op.done
    efd.write()
    assert ctx.getevents() == [op]
    assert op.fileno == efd.fileno


def test_a_closed_eventfd_is_no_file(efd: EventFD) -> None:
    efd.close()
    with pytest.raises(ValueError, match="closed"):
        AIOOperation.poll(efd, select.POLLIN)
