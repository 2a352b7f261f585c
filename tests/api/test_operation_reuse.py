# SPDX-License-Identifier: Apache-2.0
"""An operation that is submitted again: it forgets its last result, and disturbs no earlier one."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Iterator

import pytest

from linux_aio import AIOContext, AIOOperation
from support.files import Gate, Numbered, contents, file_in_memory, refuse_writes
from support.operations import in_flight_elsewhere, perform, wait_done


@pytest.fixture
def ctx() -> Iterator[AIOContext]:
    with AIOContext(8) as context:
        yield context


@pytest.fixture
def fd() -> Iterator[int]:
    with file_in_memory(b"first") as number:
        yield number


def test_a_read_again_gives_what_is_there_then(ctx: AIOContext, fd: int) -> None:
    op = AIOOperation.read(5, fd)
    assert perform(ctx, op) == b"first"
    os.pwrite(fd, b"other", 0)
    assert perform(ctx, op) == b"other"


def test_an_earlier_result_stays_as_it_was(ctx: AIOContext, fd: int) -> None:
    op = AIOOperation.read(5, fd)
    earlier = perform(ctx, op)
    os.pwrite(fd, b"other", 0)
    perform(ctx, op)
    assert earlier == b"first"


def test_an_earlier_result_that_only_a_view_holds_stays_as_it_was(ctx: AIOContext, fd: int) -> None:
    op = AIOOperation.read(5, fd)
    with memoryview(perform(ctx, op)) as earlier:
        os.pwrite(fd, b"other", 0)
        perform(ctx, op)
        assert earlier.tobytes() == b"first"


def test_the_hash_of_a_result_is_that_of_its_bytes(ctx: AIOContext, fd: int) -> None:
    op = AIOOperation.read(5, fd)
    assert hash(perform(ctx, op)) == hash(b"first")  # which bytes objects remember
    os.pwrite(fd, b"other", 0)
    assert hash(perform(ctx, op)) == hash(b"other")


@pytest.mark.parametrize("sizes", [(5, 3, 5), (3, 5), (0, 5, 0), (1, 5), (5, 1, 0, 1)])
def test_each_result_is_as_long_as_what_was_read(
    sizes: tuple[int, ...], ctx: AIOContext, fd: int
) -> None:
    op = AIOOperation.read(5, fd)
    for size in sizes:
        os.truncate(fd, 0)
        os.pwrite(fd, b"12345"[:size], 0)
        assert perform(ctx, op) == b"12345"[:size]


def test_memory_that_was_cut_to_a_short_result_is_not_read_into(ctx: AIOContext) -> None:
    whole = os.urandom(1 << 20)
    with file_in_memory(whole[:100]) as fd:
        op = AIOOperation.read(len(whole), fd)
        assert perform(ctx, op) == whole[:100]
        os.pwrite(fd, whole, 0)
        assert perform(ctx, op) == whole  # or the kernel wrote far beyond 100 bytes of ours


@pytest.mark.parametrize("looked_at", [True, False])
def test_a_short_result_that_nobody_looked_at_leaves_nothing_behind(
    looked_at: bool, ctx: AIOContext, fd: int
) -> None:
    op = AIOOperation.read(32, fd)
    op.submit(ctx)
    assert ctx.getevents() == [op]
    if looked_at:
        assert op.payload == b"first"
    os.truncate(fd, 2)
    assert perform(ctx, op) == b"fi"


def test_a_read_at_another_offset(ctx: AIOContext, fd: int) -> None:
    op = AIOOperation.read(2, fd)
    results = []
    for op.offset in (0, 2, 4, 6):
        results.append(perform(ctx, op))
    assert results == [b"fi", b"rs", b"t", b""]


def test_a_write_again_writes_what_its_buffer_holds_then(ctx: AIOContext) -> None:
    buffer = bytearray(b"first")
    with file_in_memory() as fd:
        op = AIOOperation.write(buffer, fd)
        assert perform(ctx, op) == 5
        buffer[:] = b"second, and longer"
        assert perform(ctx, op) == len(buffer)
        assert op.nbytes == len(buffer)
        assert contents(fd) == buffer


def test_a_success_after_a_failure(ctx: AIOContext, fd: int) -> None:
    with file_in_memory() as sealed:
        refuse_writes(sealed)
        file = Numbered(sealed)
        op = AIOOperation.write(b"F", file)
        with pytest.raises(PermissionError):
            perform(ctx, op)
        file.number = fd
        assert perform(ctx, op) == 1
        assert contents(fd) == b"First"


def test_a_failed_read_has_no_payload_though_an_earlier_one_had(ctx: AIOContext, fd: int) -> None:
    with socket.socket() as unconnected:
        file = Numbered(fd)
        op = AIOOperation.read(5, file)
        assert perform(ctx, op) == b"first"
        file.number = unconnected.fileno()
        with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)):
            perform(ctx, op)
        assert op.done
        assert op.payload is None


def test_in_flight_again_the_last_result_is_forgotten(ctx: AIOContext) -> None:
    with Gate() as gate:
        op = AIOOperation.poll(gate, select.POLLIN)
        gate.open()
        assert perform(ctx, op) & select.POLLIN
        gate.shut()
        op.submit(ctx)
        assert not op.done
        with pytest.raises(BlockingIOError):
            op.get_result()
        gate.open()
        assert ctx.getevents() == [op]
        assert op.get_result() & select.POLLIN


def test_a_read_in_flight_again_does_not_show_the_last_bytes(ctx: AIOContext) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"?")
    op = AIOOperation.read(1, read_end)
    earlier = perform(ctx, op)
    with in_flight_elsewhere(ctx, op, write_end):
        assert op.payload is None
        assert earlier == b"?"
    assert op.get_result() == b"!"
    os.close(read_end)
    os.close(write_end)


def test_in_another_context(ctx: AIOContext, fd: int) -> None:
    op = AIOOperation.read(5, fd)
    perform(ctx, op)
    with AIOContext(1) as other:
        assert perform(other, op) == b"first"
        assert op.context is other


def test_resubmitting_takes_it_out_of_the_first_contexts_getevents(
    ctx: AIOContext, fd: int
) -> None:
    op = AIOOperation.read(5, fd)
    op.submit(ctx)
    with AIOContext(1) as other:
        wait_done(op)
        op.submit(other)
        assert ctx.getevents(0) == []
        assert other.getevents() == [op]


def test_thousands_of_times(ctx: AIOContext) -> None:
    with file_in_memory(bytes(range(256))) as fd:
        op = AIOOperation.read(1, fd)
        for i in range(5000):
            op.offset = i % 256
            assert perform(ctx, op)[0] == i % 256


def test_a_refused_submission_keeps_the_last_result(ctx: AIOContext, fd: int) -> None:
    file = open(os.dup(fd), "rb")  # noqa: SIM115 - it is closed on purpose
    op = AIOOperation.read(5, file)
    perform(ctx, op)
    file.close()
    with pytest.raises(ValueError, match="closed"):
        op.submit(ctx)
    wait_done(op)
    assert op.get_result() == b"first"
    assert op.payload == b"first"


def test_a_result_not_collected_stays_collectable_when_a_submission_is_refused(
    ctx: AIOContext, fd: int
) -> None:
    file = open(os.dup(fd), "rb")  # noqa: SIM115 - it is closed on purpose
    op = AIOOperation.read(5, file)
    op.submit(ctx)
    wait_done(op)
    file.close()
    with pytest.raises(ValueError, match="closed"):
        op.submit(ctx)
    assert ctx.getevents(0) == [op]
    assert op.get_result() == b"first"
