# SPDX-License-Identifier: Apache-2.0
"""AIOContext: its limits, what it can't be made with, and its end."""

from __future__ import annotations

import errno
import gc
import os
import select
import sys
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from linux_aio import AIOContext, AIOOperation, EventFD
from support.engines import ENGINE
from support.files import Gate, file_in_memory
from support.measure import mapped_rings, open_fds, soon
from support.operations import wait_done, wait_idle
from support.rings import wait_for_destroyed
from support.signals import AlarmError, raising_alarm

pytest_plugins = ["support.fixtures"]


def poll_of(gate: Gate) -> AIOOperation:
    """An operation that stays in flight until the gate is opened."""
    return AIOOperation.poll(gate, select.POLLIN)


# Making one


def test_it_takes_128_requests_if_nothing_is_said() -> None:
    with AIOContext() as ctx:
        assert ctx.max_requests == 128


@pytest.mark.parametrize("max_requests", [1, 2, 8, 127, 1000])
def test_it_shows_its_max_requests(max_requests: int) -> None:
    with AIOContext(max_requests) as ctx:
        assert ctx.max_requests == max_requests
        assert ctx.in_flight == 0
        assert not ctx.closed


@pytest.mark.parametrize("engine", [None, ENGINE])
def test_its_engine_is_that_of_this_run(engine: str | None) -> None:
    with AIOContext(8, engine=engine) as ctx:
        assert ctx.engine == ENGINE


def test_arguments_have_names() -> None:
    with AIOContext(max_requests=3, engine=ENGINE) as ctx:
        assert ctx.max_requests == 3


@pytest.mark.parametrize(
    ("name", "values", "error"),
    [
        ("max_requests", [0, -1, -(2**64), 2**31, 2**64], ValueError),
        ("max_requests", ["x", 1.0, None, b"1", []], TypeError),
        ("engine", ["", "AIO", "aio ", "posix", "a\0io", "\ud800"], ValueError),
        ("engine", [1, b"aio"], TypeError),
        ("requests", [8], TypeError),
    ],
)
def test_a_bad_argument_is_refused_and_nothing_leaks(
    name: str, values: list[Any], error: type[Exception]
) -> None:
    check_nothing_leaks(name, values, error)


@pytest.mark.engine("aio")
def test_more_than_the_kernel_can_queue_is_refused_and_nothing_leaks() -> None:
    check_nothing_leaks("max_requests", [2**31 - 1], OSError)


def check_nothing_leaks(name: str, values: list[Any], error: type[Exception]) -> None:
    fds, rings = open_fds(), mapped_rings()
    for value in values:
        with pytest.raises(error):
            AIOContext(**{name: value})
    assert soon(lambda: open_fds() <= fds)
    assert soon(lambda: mapped_rings() <= rings)


def test_engine_is_given_by_name_only() -> None:
    make: Any = AIOContext
    with pytest.raises(TypeError):
        make(8, "aio")


@pytest.mark.engine("aio")
def test_more_than_the_kernel_can_queue_is_its_error() -> None:
    with pytest.raises(OSError, match=str(2**31 - 1)) as raised:
        AIOContext(2**31 - 1)
    assert raised.value.errno == errno.EINVAL


def test_an_unknown_engine_is_named_and_so_are_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"'posix'.*'aio'"):
        AIOContext(engine="posix")


@pytest.mark.parametrize(
    "name", ["max_requests", "in_flight", "engine", "closed", "fileno", "anything"]
)
def test_attributes_can_not_be_set(name: str) -> None:
    with AIOContext(8) as ctx, pytest.raises(AttributeError):
        setattr(ctx, name, 1)


def test_every_context_equals_only_itself() -> None:
    with AIOContext(1) as one, AIOContext(1) as other:
        assert one != other
        assert {one: 1, other: 2}[one] == 1


def test_repr_tells_the_limit_and_whether_it_is_closed() -> None:
    with AIOContext(5) as ctx:
        assert "max_requests=5" in repr(ctx)
        assert "closed" not in repr(ctx)
    assert "closed" in repr(ctx)


# What is in flight


def test_in_flight_counts_what_was_submitted_and_is_not_done(gate: Gate) -> None:
    with AIOContext(8) as ctx, file_in_memory() as fd:
        ctx.submit(poll_of(gate), poll_of(gate), AIOOperation.fsync(fd))
        ctx.getevents()  # the fsync
        assert ctx.in_flight == 2
        gate.open()
        wait_idle(ctx)
        assert len(ctx.getevents(2)) == 2


# Closing


def test_with_gives_the_context_and_closes_it() -> None:
    ctx = AIOContext(8)
    with ctx as entered:
        assert entered is ctx
        assert not ctx.closed
    assert ctx.closed


def test_with_closes_and_passes_on_an_exception() -> None:
    ctx = AIOContext(8)
    with pytest.raises(KeyError), ctx:
        raise KeyError
    assert ctx.closed


def test_closing_twice_is_harmless() -> None:
    ctx = AIOContext(8)
    ctx.close()
    ctx.close()
    assert ctx.closed


USES: dict[str, Callable[[AIOContext, AIOOperation], object]] = {
    "submit": lambda ctx, op: ctx.submit(op),
    "submit nothing": lambda ctx, _: ctx.submit(),
    "operation.submit": lambda ctx, op: op.submit(ctx),
    "getevents": lambda ctx, _: ctx.getevents(),
    "getevents at once": lambda ctx, _: ctx.getevents(0, timeout=0),
    "fileno": lambda ctx, _: ctx.fileno,
    "with": lambda ctx, _: ctx.__enter__(),
    "poll": lambda ctx, _: AIOOperation.poll(ctx, select.POLLIN),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_use_of_a_closed_context_is_a_value_error(
    use: Callable[[AIOContext, AIOOperation], object],
) -> None:
    ctx = AIOContext(8)
    ctx.close()
    op = AIOOperation.fsync(2)
    with pytest.raises(ValueError, match="closed"):
        use(ctx, op)
    assert op.context is None
    assert not op.done


def test_closing_cancels_polls(gate: Gate) -> None:
    with AIOContext(8) as ctx:
        poll = poll_of(gate)
        poll.submit(ctx)
    wait_done(poll)
    with pytest.raises(OSError, match="poll of fd") as raised:
        poll.get_result()
    assert raised.value.errno == errno.ECANCELED
    assert poll.context is ctx


def test_a_cancelled_one_signals_its_eventfd_too(gate: Gate) -> None:
    with EventFD() as efd:
        with AIOContext(8) as ctx:
            poll_of(gate).submit(ctx, efd)
        assert efd.read() == 1


def test_a_cancelled_one_can_be_submitted_elsewhere(gate: Gate) -> None:
    poll = poll_of(gate)
    with AIOContext(8) as ctx:
        poll.submit(ctx)
    with AIOContext(8) as other:
        poll.submit(other)
        gate.open()
        assert other.getevents() == [poll]
        assert poll.get_result() & select.POLLIN


def test_closing_loses_no_results() -> None:
    with file_in_memory(b"Hello world") as fd, EventFD() as efd:
        asked, unasked, signalled = (AIOOperation.read(5, fd, offset) for offset in (0, 3, 6))
        with AIOContext(8) as ctx:
            ctx.submit(asked, unasked)
            signalled.submit(ctx, efd)
            wait_done(asked)
            assert asked.get_result() == b"Hello"
        assert asked.get_result() == b"Hello"
        assert unasked.get_result() == b"lo wo"
        assert signalled.get_result() == b"world"


def test_a_handler_that_raises_leaves_a_context_that_can_be_closed(gate: Gate) -> None:
    ctx = AIOContext(8)
    poll_of(gate).submit(ctx)
    with pytest.raises(AlarmError), raising_alarm():
        ctx.getevents()
    ctx.close()
    assert ctx.closed


def test_closing_gives_back_the_descriptors() -> None:
    before = open_fds()
    ctx = AIOContext(8)
    assert ctx.fileno in open_fds() - before
    ctx.close()
    assert soon(lambda: open_fds() <= before)


@pytest.mark.engine("auto", "aio")
def test_closing_gives_back_the_kernels_queue() -> None:
    gc.collect()
    wait_for_destroyed()
    before = mapped_rings()
    with AIOContext(8) as small, AIOContext(500) as large, EventFD() as never:
        for context in (small, large):  # `auto` asks for a queue when it first needs one
            AIOOperation.poll(never, select.POLLIN).submit(context)
        assert mapped_rings() == before + 2
    assert soon(lambda: mapped_rings() <= before)  # a thread of ours destroys them


@pytest.mark.engine("auto", "aio")
def test_contexts_that_follow_one_another_use_few_queues() -> None:
    """The kernel destroys a queue in some 30 ms, and limits those of the whole machine."""
    with EventFD() as never:
        before = mapped_rings()
        for _ in range(1000):
            with AIOContext(20) as context:
                poll = AIOOperation.poll(never, select.POLLIN)
                context.submit(poll)
            with pytest.raises(OSError, match="poll"):
                poll.get_result()
        assert mapped_rings() - before < 100


# Being dropped


def test_one_that_is_dropped_while_open_warns() -> None:
    dropped = [AIOContext(5)]
    with pytest.warns(ResourceWarning, match=r"unclosed.*AIOContext.*max_requests=5"):
        dropped.clear()


def test_one_that_is_dropped_while_open_where_warnings_are_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ignored: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: ignored.append(what.exc_value))
    before = open_fds()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AIOContext(5)
    assert [type(error) for error in ignored] == [ResourceWarning]
    assert "max_requests=5" in str(ignored[0])
    assert soon(lambda: open_fds() <= before)


def test_one_that_is_collected_while_open_warns() -> None:
    with file_in_memory() as fd:
        ctx = AIOContext(5)
        ctx.submit(AIOOperation.fsync(fd))  # which refers to the context, that keeps it
        del ctx
        with pytest.warns(ResourceWarning, match=r"unclosed.*AIOContext.*max_requests=5"):
            gc.collect()


def test_one_that_was_closed_does_not_warn() -> None:
    before = open_fds()
    ctx = AIOContext(8)
    alive = weakref.ref(ctx)
    ctx.close()
    del ctx
    gc.collect()
    assert alive() is None
    assert soon(lambda: open_fds() <= before)


def test_dropping_one_that_is_open_leaks_nothing(gate: Gate) -> None:
    fds, rings = open_fds(), mapped_rings()
    ctx = AIOContext(8)
    poll_of(gate).submit(ctx)
    del ctx
    with pytest.warns(ResourceWarning):
        gc.collect()

    def is_swept_up() -> bool:
        """What had to be cancelled first goes when the next one is made."""
        AIOContext(1).close()  # what it had takes a moment, too
        gc.collect()
        return soon(lambda: open_fds() <= fds and mapped_rings() <= rings, 1)

    assert soon(is_swept_up)


def test_one_in_a_cycle_with_what_it_keeps_is_collected() -> None:
    with file_in_memory(b"Hello world") as fd:
        ctx = AIOContext(8)
        ctx.submit(*(AIOOperation.read(5, fd) for _ in range(3)))  # each refers to the context
        ctx.close()
        alive = weakref.ref(ctx)
        del ctx
        gc.collect()
        assert alive() is None


def test_an_operation_keeps_its_context() -> None:
    with file_in_memory(b"Hello world") as fd:
        op = AIOOperation.read(5, fd)
        with AIOContext(8) as ctx:
            op.submit(ctx)
            ctx.getevents()
        number = id(ctx)
        del ctx
        gc.collect()
        assert op.context is not None
        assert id(op.context) == number
        assert op.context.closed


def test_a_closed_one_does_not_close_anybody_elses_file() -> None:
    ctx = AIOContext(8)
    ctx.close()
    others = {os.dup(2) for _ in range(5)}  # with numbers that are free again, if any are
    ctx.close()
    del ctx
    gc.collect()
    assert others <= open_fds()
    for fd in others:
        os.close(fd)
