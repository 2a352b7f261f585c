# SPDX-License-Identifier: Apache-2.0
"""AIOOperation.poll: it says what poll(2) says, once, and waits until there is something to say."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from linux_aio import AIOContext, AIOOperation, EventFD
from support.files import Gate, file_in_memory, is_readable
from support.operations import perform
from support.workers import PATIENCE, finish, start, stays_blocked

POLLIN, POLLOUT, POLLPRI = select.POLLIN, select.POLLOUT, select.POLLPRI
ANYTHING = POLLIN | POLLOUT | POLLPRI | select.POLLRDHUP

Setting = Callable[[contextlib.ExitStack], Any]


@pytest.fixture
def ctx() -> Iterator[AIOContext]:
    with AIOContext(16) as context:
        yield context


def says_poll(file: Any, events: int) -> int:
    """What poll(2) says at once."""
    poll = select.poll()
    poll.register(file, events)
    return next((mask for _, mask in poll.poll(0)), 0)


def is_pending(context: AIOContext, operation: AIOOperation) -> bool:
    return context.getevents(timeout=0.02) == [] and not operation.done


# --- files, as they are, and what poll(2) says of them


def pipe(stack: contextlib.ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    for fd in ends:
        stack.callback(close_if_open, fd)
    return ends


def close_if_open(fd: int) -> None:
    with contextlib.suppress(OSError):
        os.close(fd)


def sockets(stack: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    left, right = socket.socketpair()
    stack.enter_context(left)
    stack.enter_context(right)
    return left, right


def tcp(stack: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = stack.enter_context(socket.create_connection(server.getsockname()))
        accepted = stack.enter_context(server.accept()[0])
    return client, accepted


def readable_pipe(stack: contextlib.ExitStack) -> Any:
    read_end, write_end = pipe(stack)
    os.write(write_end, b"!")
    return read_end


def hung_up_pipe(stack: contextlib.ExitStack) -> Any:
    read_end, write_end = pipe(stack)
    os.close(write_end)
    return read_end


def hung_up_pipe_with_data(stack: contextlib.ExitStack) -> Any:
    read_end, write_end = pipe(stack)
    os.write(write_end, b"!")
    os.close(write_end)
    return read_end


def pipe_that_nobody_reads(stack: contextlib.ExitStack) -> Any:
    read_end, write_end = pipe(stack)
    os.close(read_end)
    return write_end


def readable_socket(stack: contextlib.ExitStack) -> Any:
    left, right = sockets(stack)
    right.send(b"!")
    return left


def half_closed_socket(stack: contextlib.ExitStack) -> Any:
    left, right = sockets(stack)
    right.shutdown(socket.SHUT_WR)
    return left


def closed_socket(stack: contextlib.ExitStack) -> Any:
    left, right = sockets(stack)
    right.close()
    return left


def urgent_socket(stack: contextlib.ExitStack) -> Any:
    client, accepted = tcp(stack)
    client.send(b"!", socket.MSG_OOB)
    assert select.select([], [], [accepted], 30)[2]
    return accepted


def server_with_a_caller(stack: contextlib.ExitStack) -> Any:
    server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    stack.enter_context(socket.create_connection(server.getsockname()))
    return server


def null_device(stack: contextlib.ExitStack) -> Any:
    return stack.enter_context(open(os.devnull))


def context_with_a_result(stack: contextlib.ExitStack) -> Any:
    context = stack.enter_context(AIOContext(1))
    assert context.fileno >= 0
    fd = stack.enter_context(file_in_memory(b"data"))
    AIOOperation.read(4, fd).submit(context)
    return context


SETTINGS: dict[str, Setting] = {
    "pipe with data": readable_pipe,
    "pipe to write to": lambda stack: pipe(stack)[1],
    "pipe hung up": hung_up_pipe,
    "pipe hung up with data": hung_up_pipe_with_data,
    "pipe that nobody reads": pipe_that_nobody_reads,
    "socket": lambda stack: sockets(stack)[0],
    "socket with data": readable_socket,
    "socket half closed": half_closed_socket,
    "socket closed": closed_socket,
    "socket with urgent data": urgent_socket,
    "server": server_with_a_caller,
    "eventfd": lambda stack: stack.enter_context(EventFD()),
    "eventfd with a count": lambda stack: stack.enter_context(EventFD(1)),
}
# They are always readable and writable, and nobody can wait for more.
ALWAYS_READY: dict[str, Setting] = {
    "regular file": lambda stack: stack.enter_context(file_in_memory(b"data")),
    "device": null_device,
}


def number_of(file: Any) -> int:
    if isinstance(file, int):
        return file
    return int(file.fileno if isinstance(file, (EventFD, AIOContext)) else file.fileno())


@pytest.mark.parametrize("events", [ANYTHING, POLLIN, POLLOUT, POLLPRI, select.POLLRDHUP, 0])
@pytest.mark.parametrize("setting", SETTINGS)
def test_what_is_there(setting: str, events: int, ctx: AIOContext) -> None:
    with contextlib.ExitStack() as stack:
        file = SETTINGS[setting](stack)
        wanted = says_poll(number_of(file), events)
        op = AIOOperation.poll(file, events)
        op.submit(ctx)
        if wanted:
            assert ctx.getevents() == [op]
            assert op.get_result() == wanted
        else:
            assert is_pending(ctx, op)


@pytest.mark.parametrize("events", [ANYTHING, POLLIN, POLLOUT, POLLPRI, select.POLLRDHUP, 0])
@pytest.mark.parametrize("setting", ALWAYS_READY)
def test_what_is_always_ready(setting: str, events: int, ctx: AIOContext) -> None:
    with contextlib.ExitStack() as stack:
        file = ALWAYS_READY[setting](stack)
        wanted = says_poll(number_of(file), events)
        op = AIOOperation.poll(file, events)
        if wanted:
            assert perform(ctx, op) == wanted
        else:  # kernel AIO refuses what would wait for ever
            with pytest.raises(OSError, match=f"poll of fd .* for events {events:#x}") as caught:
                perform(ctx, op)
            assert caught.value.errno == errno.EINVAL


def test_there_is_something_of_everything() -> None:
    """Or the comparison above would compare less than it seems."""
    seen = 0
    for setting in SETTINGS.values():
        with contextlib.ExitStack() as stack:
            seen |= says_poll(number_of(setting(stack)), ANYTHING)
    assert seen == ANYTHING | select.POLLHUP | select.POLLERR


def test_a_context_of_ours(ctx: AIOContext) -> None:
    with contextlib.ExitStack() as stack:
        assert perform(ctx, AIOOperation.poll(context_with_a_result(stack), POLLIN)) == POLLIN


# --- waiting


def test_until_there_is_data(ctx: AIOContext) -> None:
    with Gate() as gate:
        op = AIOOperation.poll(gate, POLLIN)
        op.submit(ctx)
        assert is_pending(ctx, op)
        gate.open()
        assert ctx.getevents() == [op]
        assert op.get_result() == POLLIN


def test_until_the_other_end_hangs_up(ctx: AIOContext) -> None:
    with Gate() as gate:
        op = AIOOperation.poll(gate, POLLIN)
        op.submit(ctx)
        assert is_pending(ctx, op)
        gate.hang_up()
        assert ctx.getevents() == [op]
        assert op.get_result() == select.POLLHUP


def test_until_there_is_room_in_a_pipe(ctx: AIOContext) -> None:
    with contextlib.ExitStack() as stack:
        read_end, write_end = pipe(stack)
        os.set_blocking(write_end, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(write_end, bytes(1 << 16))
        op = AIOOperation.poll(write_end, POLLOUT)
        op.submit(ctx)
        assert is_pending(ctx, op)
        os.read(read_end, 1 << 20)
        assert ctx.getevents() == [op]
        assert op.get_result() == POLLOUT


def test_until_a_socket_gets_data(ctx: AIOContext) -> None:
    with contextlib.ExitStack() as stack:
        left, right = sockets(stack)
        op = AIOOperation.poll(left, POLLIN)
        op.submit(ctx)
        assert is_pending(ctx, op)
        right.send(b"!")
        assert ctx.getevents() == [op]
        assert op.get_result() == POLLIN


def test_until_somebody_calls(ctx: AIOContext) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        op = AIOOperation.poll(server, POLLIN)
        op.submit(ctx)
        assert is_pending(ctx, op)
        with socket.create_connection(server.getsockname()):
            assert ctx.getevents() == [op]
        assert op.get_result() == POLLIN


def test_until_an_eventfd_is_written_to(ctx: AIOContext) -> None:
    with EventFD() as efd:
        op = AIOOperation.poll(efd, POLLIN)
        op.submit(ctx)
        assert is_pending(ctx, op)
        efd.write(3)
        assert ctx.getevents() == [op]
        assert op.get_result() == POLLIN
        assert efd.read() == 3  # to look is not to read


def test_only_for_what_was_asked_for(ctx: AIOContext) -> None:
    with contextlib.ExitStack() as stack:
        left, right = sockets(stack)
        # Not POLLPRI: a socket wakes those who wait for that, too, and kernel AIO believes it.
        op = AIOOperation.poll(left, select.POLLRDHUP)
        op.submit(ctx)
        right.send(b"!")  # readable and writable now
        assert is_pending(ctx, op)
        right.shutdown(socket.SHUT_WR)
        assert ctx.getevents() == [op]
        assert op.get_result() == select.POLLRDHUP


def test_while_another_thread_waits_for_it(ctx: AIOContext) -> None:
    with Gate() as gate:
        op = AIOOperation.poll(gate, POLLIN)
        op.submit(ctx)
        waiter = start(ctx.getevents)
        assert stays_blocked(waiter)
        gate.open()
        assert finish(waiter) == [[op]]


def test_one_that_tells_of_another(ctx: AIOContext) -> None:
    """A poll of the EventFD that another poll signals."""
    with Gate() as gate, EventFD() as efd:
        first, second = AIOOperation.poll(gate, POLLIN), AIOOperation.poll(efd, POLLIN)
        first.submit(ctx, efd)
        second.submit(ctx)
        assert is_pending(ctx, second)
        gate.open()
        assert sorted(map(id, ctx.getevents(2))) == sorted([id(first), id(second)])
        assert (first.get_result(), second.get_result()) == (POLLIN, POLLIN)
        assert efd.read() == 1


# --- once


def test_it_completes_once(ctx: AIOContext) -> None:
    with Gate() as gate, EventFD(flags=os.EFD_NONBLOCK) as efd:
        op = AIOOperation.poll(gate, POLLIN)
        op.submit(ctx, efd)
        gate.open()
        assert ctx.getevents() == [op]
        gate.open()
        gate.hang_up()
        assert ctx.getevents(0) == []
        assert op.get_result() == POLLIN
        assert is_readable(efd.fileno, PATIENCE)
        assert efd.read() == 1
        with pytest.raises(BlockingIOError):
            efd.read()


def test_many_of_one_file_all_complete(ctx: AIOContext) -> None:
    with Gate() as gate:
        ops = [AIOOperation.poll(gate, POLLIN) for _ in range(16)]
        assert ctx.submit(*ops) == 16
        gate.open()
        assert sorted(map(id, ctx.getevents(16))) == sorted(map(id, ops))
        assert [op.get_result() for op in ops] == [POLLIN] * 16


def test_those_of_others_stay(ctx: AIOContext) -> None:
    with Gate() as gate, Gate() as other:
        op, pending = AIOOperation.poll(gate, POLLIN), AIOOperation.poll(other, POLLIN)
        ctx.submit(pending, op)
        gate.open()
        assert ctx.getevents() == [op]
        assert is_pending(ctx, pending)


def test_submitted_again_it_waits_again(ctx: AIOContext) -> None:
    with Gate() as gate:
        op = AIOOperation.poll(gate, POLLIN)
        for _ in range(3):
            op.submit(ctx)
            assert is_pending(ctx, op)
            gate.open()
            assert ctx.getevents() == [op]
            assert op.get_result() == POLLIN
            gate.shut()


# --- what can't be polled


def test_a_file_that_is_not_open(ctx: AIOContext) -> None:
    op = AIOOperation.poll(1 << 20, POLLIN)
    with pytest.raises(OSError, match=rf"poll of fd {1 << 20} for events 0x1") as caught:
        perform(ctx, op)
    assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize("events", [-1, 1 << 16, 1 << 64])
def test_what_is_no_mask(events: int) -> None:
    with pytest.raises(ValueError, match=f"events must be from 0 to 65535, not {events}"):
        AIOOperation.poll(0, events)


def test_it_transfers_nothing(ctx: AIOContext) -> None:
    with Gate() as gate:
        op = AIOOperation.poll(gate, POLLIN)
        assert (op.nbytes, op.payload, op.flags, op.priority) == (0, None, 0, 0)
        with pytest.raises(AttributeError):
            op.offset = 1
        with pytest.raises(AttributeError):
            op.payload = bytearray(1)
        gate.open()
        assert perform(ctx, op) == POLLIN
        assert op.payload is None


@pytest.mark.engine("auto", "uring", "threads")
def test_a_fifo_that_is_open_for_reading_and_writing(ctx: AIOContext, tmp_path: Path) -> None:
    """Kernel AIO refuses its poll: it has two wait queues."""
    os.mkfifo(tmp_path / "fifo")
    fd = os.open(tmp_path / "fifo", os.O_RDWR)
    try:
        assert perform(ctx, AIOOperation.poll(fd, POLLOUT)) == POLLOUT
        poll = AIOOperation.poll(fd, POLLIN)
        poll.submit(ctx)
        assert is_pending(ctx, poll)
        os.write(fd, b"!")
        assert ctx.getevents(1) == [poll]
        assert poll.get_result() == POLLIN
    finally:
        os.close(fd)
