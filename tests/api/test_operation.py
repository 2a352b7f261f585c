# SPDX-License-Identifier: Apache-2.0
"""AIOOperation: making one, what it shows, and its results from never submitted to asked twice."""

from __future__ import annotations

import array
import errno
import mmap
import os
import re
import select
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from linux_aio import AIOContext, AIOOperation, EventFD
from support.files import Gate, Numbered, contents, file_in_memory, refuse_writes
from support.operations import in_flight_elsewhere, perform, wait_done

pytest_plugins = ["support.fixtures"]

# The most that the kernel transfers in one request.
LIMIT = 0x7FFFF000

MAKERS: dict[str, Callable[[int], AIOOperation]] = {
    "read": lambda fd: AIOOperation.read(32, fd, 7),
    "write": lambda fd: AIOOperation.write(b"payload", fd, 7),
    "fsync": AIOOperation.fsync,
    "fdsync": AIOOperation.fdsync,
    "poll": lambda fd: AIOOperation.poll(fd, select.POLLIN),
}

# How errors name them; "{fd}" is the number.
DESCRIPTIONS = {
    "read": "read of 32 bytes at offset 7 of fd {fd}",
    "write": "write of 7 bytes at offset 7 of fd {fd}",
    "fsync": "fsync of fd {fd}",
    "fdsync": "fdsync of fd {fd}",
    "poll": "poll of fd {fd}",
}

each_kind = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@pytest.fixture
def ctx() -> Iterator[AIOContext]:
    with AIOContext(8) as context:
        yield context


@pytest.fixture
def fd() -> Iterator[int]:
    with file_in_memory(b"Hello world") as number:
        yield number


# Making one


def test_the_class_itself_makes_none() -> None:
    make: Any = AIOOperation
    with pytest.raises(TypeError):
        make()


@pytest.mark.parametrize(
    ("name", "opcode"), [("read", 0), ("write", 1), ("fsync", 2), ("fdsync", 3), ("poll", 5)]
)
def test_opcode_is_the_kernels(name: str, opcode: int, fd: int) -> None:
    assert MAKERS[name](fd).opcode == opcode


def test_attributes_of_a_read_are_its_arguments(fd: int) -> None:
    op = AIOOperation.read(32, fd, 7, 0x4005, os.RWF_HIPRI)
    assert (op.nbytes, op.fileno, op.offset) == (32, fd, 7)
    assert (op.priority, op.flags) == (0x4005, os.RWF_HIPRI)


def test_attributes_of_a_write_are_its_arguments(fd: int) -> None:
    payload = b"payload"
    op = AIOOperation.write(payload, fd, 7, 0x4005, os.RWF_DSYNC)
    assert op.payload is payload
    assert (op.nbytes, op.fileno, op.offset) == (len(payload), fd, 7)
    assert (op.priority, op.flags) == (0x4005, os.RWF_DSYNC)


def test_arguments_have_names(fd: int) -> None:
    reading = AIOOperation.read(nbytes=3, fd=fd, offset=4, priority=5, flags=6)
    writing = AIOOperation.write(payload=b"abc", fd=fd, offset=4, priority=5, flags=6)
    for op in (reading, writing):
        assert (op.nbytes, op.fileno, op.offset, op.priority, op.flags) == (3, fd, 4, 5, 6)
    assert AIOOperation.fsync(fd=fd).fileno == fd
    assert AIOOperation.fdsync(fd=fd).fileno == fd
    assert AIOOperation.poll(fd=fd, events=select.POLLIN).fileno == fd


@pytest.mark.parametrize("name", ["read", "write"])
def test_offset_priority_and_flags_are_zero_if_left_out(name: str, fd: int) -> None:
    op = AIOOperation.read(3, fd) if name == "read" else AIOOperation.write(b"abc", fd)
    assert (op.offset, op.priority, op.flags) == (0, 0, 0)


@each_kind
def test_a_new_one_was_not_submitted_and_has_no_result(
    make: Callable[[int], AIOOperation], fd: int
) -> None:
    op = make(fd)
    assert not op.done
    assert op.context is None
    assert op.eventfd is None
    with pytest.raises(RuntimeError, match="never submitted"):
        op.get_result()


class Integer:
    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


def test_numbers_may_be_any_kind_of_integer(fd: int) -> None:
    op = AIOOperation.read(Integer(32), fd, Integer(7), Integer(5), Integer(1))
    assert (op.nbytes, op.offset, op.priority, op.flags) == (32, 7, 5, 1)


# Arguments that are refused

BAD_NUMBERS: list[tuple[str, Any, type[Exception]]] = [
    *(("nbytes", value, ValueError) for value in (-1, LIMIT + 1, 2**31, 2**32, 2**40, 2**64)),
    *(("offset", value, ValueError) for value in (-1, -(2**64), 2**63, 2**64)),
    *(("priority", value, ValueError) for value in (-1, 2**16, 2**64)),
    *(("flags", value, ValueError) for value in (-1, 2**31, 2**64)),
    *((name, "1", TypeError) for name in ("nbytes", "offset", "priority", "flags")),
    *((name, 1.0, TypeError) for name in ("nbytes", "offset", "priority", "flags")),
    *((name, None, TypeError) for name in ("nbytes", "priority", "flags")),
]


@pytest.mark.parametrize(("name", "value", "error"), BAD_NUMBERS)
def test_a_bad_number_is_refused_by_read(
    name: str, value: Any, error: type[Exception], fd: int
) -> None:
    with pytest.raises(error):
        AIOOperation.read(**{"nbytes": 32, "fd": fd, name: value})


@pytest.mark.parametrize(
    ("name", "value", "error"), [bad for bad in BAD_NUMBERS if bad[0] != "nbytes"]
)
def test_a_bad_number_is_refused_by_write(
    name: str, value: Any, error: type[Exception], fd: int
) -> None:
    arguments: dict[str, Any] = {"payload": b"x", "fd": fd, name: value}
    with pytest.raises(error):
        AIOOperation.write(**arguments)


@pytest.mark.parametrize(
    ("events", "error"),
    [(-1, ValueError), (2**16, ValueError), (2**64, ValueError), ("", TypeError), (1.0, TypeError)],
)
def test_bad_events_are_refused(events: Any, error: type[Exception], fd: int) -> None:
    with pytest.raises(error):
        AIOOperation.poll(fd, events)


@each_kind
@pytest.mark.parametrize(
    ("file", "error"),
    [
        (None, TypeError),
        ("file", TypeError),
        (1.0, TypeError),
        (Numbered("1"), TypeError),
        (Numbered(None), TypeError),
        (2**31, ValueError),
        (2**64, ValueError),
        (-(2**31) - 1, ValueError),
        (Numbered(2**31), ValueError),
    ],
)
def test_what_names_no_file_is_refused(
    make: Callable[[Any], AIOOperation], file: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        make(file)


@pytest.mark.parametrize("payload", ["text", 5, None, [1, 2], AIOOperation])
def test_a_payload_that_is_no_buffer_is_refused(payload: Any, fd: int) -> None:
    with pytest.raises(TypeError):
        AIOOperation.write(payload, fd)


def test_a_payload_with_gaps_is_refused(fd: int) -> None:
    with pytest.raises(BufferError):
        AIOOperation.write(memoryview(b"abcdef")[::2], fd)


@pytest.mark.parametrize(
    ("maker", "arguments", "keywords"),
    [
        ("read", (), {}),
        ("read", (32,), {}),
        ("read", (32, 0, 0, 0, 0, 0), {}),
        ("read", (32, 0), {"nbytes": 32}),
        ("read", (32, 0), {"eventfd": 0}),
        ("write", (b"x",), {}),
        ("write", (b"x", 0), {"nbytes": 1}),
        ("fsync", (), {}),
        ("fsync", (0, 0), {}),
        ("fdsync", (), {}),
        ("fdsync", (0,), {"offset": 0}),
        ("poll", (0,), {}),
        ("poll", (0, 1, 0), {}),
    ],
)
def test_wrong_arguments_are_a_type_error(
    maker: str, arguments: tuple[object, ...], keywords: dict[str, object]
) -> None:
    with pytest.raises(TypeError, match=rf"{maker}\(\)"):
        getattr(AIOOperation, maker)(*arguments, **keywords)


# The limit of one request


NAMES_THE_LIMIT = f"{LIMIT}|{LIMIT:#x}"


def test_the_largest_read_is_made_and_takes_no_memory_before_it_is_submitted(fd: int) -> None:
    tracemalloc.start()
    try:
        assert AIOOperation.read(LIMIT, fd).nbytes == LIMIT
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("nbytes", [LIMIT + 1, 2**31, 2**40, 2**64])
def test_a_larger_read_is_an_error_that_names_the_limit(nbytes: int, fd: int) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=NAMES_THE_LIMIT):
            AIOOperation.read(nbytes, fd)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(sys.maxsize < 2**32, reason="no buffer can be larger on a 32-bit machine")
def test_a_larger_write_is_an_error_that_names_the_limit(fd: int) -> None:
    with file_in_memory() as sparse:
        os.truncate(sparse, LIMIT + 1)
        with (
            mmap.mmap(sparse, LIMIT + 1, access=mmap.ACCESS_READ) as payload,
            pytest.raises(ValueError, match=NAMES_THE_LIMIT),
        ):
            AIOOperation.write(payload, fd)


# Attributes


@each_kind
@pytest.mark.parametrize(
    "name", ["opcode", "fileno", "nbytes", "priority", "flags", "eventfd", "context", "done"]
)
def test_an_attribute_that_can_not_be_set(
    make: Callable[[int], AIOOperation], name: str, fd: int
) -> None:
    op = make(fd)
    with pytest.raises(AttributeError):
        setattr(op, name, 1)


def test_an_operation_has_no_other_attributes(fd: int) -> None:
    op: Any = AIOOperation.fsync(fd)
    with pytest.raises(AttributeError):
        op.result = 5


def test_offset_can_be_set(ctx: AIOContext, fd: int) -> None:
    op = AIOOperation.read(5, fd)
    op.offset = 6
    assert op.offset == 6
    assert perform(ctx, op) == b"world"


@pytest.mark.parametrize(
    ("offset", "error"),
    [
        (-1, ValueError),
        (2**63, ValueError),
        (2**64, ValueError),
        ("1", TypeError),
        (1.0, TypeError),
    ],
)
def test_a_bad_offset_is_not_set(offset: Any, error: type[Exception], fd: int) -> None:
    op = AIOOperation.read(5, fd, 6)
    with pytest.raises(error):
        op.offset = offset
    assert op.offset == 6


@pytest.mark.parametrize("name", ["fsync", "fdsync", "poll"])
def test_what_has_no_offset_is_not_given_one(name: str, fd: int) -> None:
    op = MAKERS[name](fd)
    with pytest.raises(AttributeError):
        op.offset = 5


def test_payload_of_a_write_can_be_set(ctx: AIOContext, fd: int) -> None:
    op = AIOOperation.write(b"first", fd)
    payload = b"other and longer"
    op.payload = payload
    assert op.payload is payload
    assert op.nbytes == len(payload)
    assert perform(ctx, op) == len(payload)
    assert contents(fd) == payload


def test_a_bad_payload_is_not_set(fd: int) -> None:
    op = AIOOperation.write(b"first", fd)
    with pytest.raises(TypeError):
        op.payload = "text"  # type: ignore[assignment,unused-ignore]
    assert op.payload == b"first"
    assert op.nbytes == 5


def test_a_payload_that_was_replaced_is_no_longer_held(fd: int) -> None:
    first = bytearray(b"first")
    op = AIOOperation.write(first, fd)
    op.payload = b"second"
    first.append(1)  # which an exported bytearray refuses


@pytest.mark.parametrize("name", ["read", "fsync", "fdsync", "poll"])
def test_only_a_write_is_given_a_payload(name: str, fd: int) -> None:
    op = MAKERS[name](fd)
    with pytest.raises(AttributeError):
        op.payload = b"x"
    assert op.payload is None


@pytest.mark.parametrize("attribute", ["offset", "payload"])
def test_attributes_can_not_be_deleted(attribute: str, fd: int) -> None:
    op = AIOOperation.write(b"x", fd)
    with pytest.raises(AttributeError):
        delattr(op, attribute)


def test_payload_of_a_read_is_its_result(ctx: AIOContext, fd: int) -> None:
    op = AIOOperation.read(32, fd)
    assert op.payload is None
    perform(ctx, op)
    assert op.payload == b"Hello world"


# Results


def test_read_gives_the_bytes(ctx: AIOContext, fd: int) -> None:
    assert perform(ctx, AIOOperation.read(5, fd, 6)) == b"world"


@pytest.mark.parametrize(("nbytes", "offset"), [(0, 0), (0, 5), (32, 11), (32, 2**40)])
def test_read_of_nothing_gives_no_bytes(nbytes: int, offset: int, ctx: AIOContext, fd: int) -> None:
    assert perform(ctx, AIOOperation.read(nbytes, fd, offset)) == b""


@pytest.mark.parametrize("nbytes", [1, 2, 10, 11, 12, 4096, 1 << 20])
def test_read_gives_no_more_than_is_there(nbytes: int, ctx: AIOContext, fd: int) -> None:
    result = perform(ctx, AIOOperation.read(nbytes, fd))
    assert type(result) is bytes
    assert result == b"Hello world"[:nbytes]


PAYLOADS: dict[str, Callable[[], Any]] = {
    "bytes": lambda: b"payload",
    "bytearray": lambda: bytearray(b"payload"),
    "memoryview": lambda: memoryview(b"a payload")[2:],
    "array": lambda: array.array("H", [1, 2, 3]),
    "matrix": lambda: memoryview(bytes(range(6))).cast("B", (2, 3)),
    "empty": lambda: b"",
}


@pytest.mark.parametrize("make_payload", PAYLOADS.values(), ids=PAYLOADS)
def test_write_takes_any_buffer_and_gives_its_size(
    make_payload: Callable[[], Any], ctx: AIOContext
) -> None:
    payload = make_payload()
    expected = memoryview(payload).tobytes()
    with file_in_memory() as fd:
        assert perform(ctx, AIOOperation.write(payload, fd)) == len(expected)
        assert contents(fd) == expected


def test_write_takes_a_memory_map(ctx: AIOContext, fd: int) -> None:
    with mmap.mmap(-1, mmap.PAGESIZE) as payload:
        payload[:4] = b"head"
        assert perform(ctx, AIOOperation.write(payload, fd)) == mmap.PAGESIZE
        assert contents(fd) == payload[:]


def test_write_goes_to_its_offset(ctx: AIOContext, fd: int) -> None:
    assert perform(ctx, AIOOperation.write(b"there", fd, 6)) == 5
    assert contents(fd) == b"Hello there"


def test_write_beyond_the_end_leaves_a_hole(ctx: AIOContext) -> None:
    with file_in_memory() as fd:
        assert perform(ctx, AIOOperation.write(b"x", fd, 10_000)) == 1
        assert contents(fd) == bytes(10_000) + b"x"


def test_write_takes_the_buffer_itself_not_a_copy(ctx: AIOContext) -> None:
    payload = bytearray(b"early")
    with file_in_memory() as fd:
        op = AIOOperation.write(payload, fd)
        payload[:] = b"later"
        perform(ctx, op)
        assert contents(fd) == b"later"


@pytest.mark.parametrize("make", [AIOOperation.fsync, AIOOperation.fdsync])
def test_sync_gives_none(make: Callable[[int], AIOOperation], ctx: AIOContext, fd: int) -> None:
    op = make(fd)
    assert perform(ctx, op) is None
    assert op.done


def test_poll_gives_the_events_that_are_there(ctx: AIOContext, gate: Gate) -> None:
    gate.open()
    assert perform(ctx, AIOOperation.poll(gate, select.POLLIN | select.POLLPRI)) == select.POLLIN


def test_poll_gives_the_same_when_the_events_come_later(ctx: AIOContext, gate: Gate) -> None:
    op = AIOOperation.poll(gate, select.POLLIN | select.POLLPRI)
    op.submit(ctx)
    gate.open()
    assert ctx.getevents() == [op]
    assert op.get_result() == select.POLLIN


def test_poll_tells_of_a_hang_up_unasked(ctx: AIOContext, gate: Gate) -> None:
    gate.hang_up()
    assert perform(ctx, AIOOperation.poll(gate, select.POLLIN)) == select.POLLHUP


def test_append_flag_writes_at_the_end(ctx: AIOContext, fd: int) -> None:
    assert perform(ctx, AIOOperation.write(b"!", fd, 0, flags=os.RWF_APPEND)) == 1
    assert contents(fd) == b"Hello world!"


def test_a_priority_is_taken(ctx: AIOContext, fd: int) -> None:
    best_effort_5 = 2 << 13 | 5
    assert perform(ctx, AIOOperation.read(5, fd, priority=best_effort_5)) == b"Hello"


@pytest.mark.parametrize(
    ("keyword", "value", "error"),
    [("priority", 7 << 13, errno.EINVAL), ("flags", 1 << 30, errno.EOPNOTSUPP)],
)
def test_what_the_kernel_does_not_know_is_its_error(
    keyword: str, value: int, error: int, ctx: AIOContext, fd: int
) -> None:
    with pytest.raises(OSError, match="read of 5 bytes") as raised:
        perform(ctx, AIOOperation.read(5, fd, **{keyword: value}))
    assert raised.value.errno == error


# In flight


def test_in_flight_there_is_no_result_yet(ctx: AIOContext, gate: Gate) -> None:
    op = AIOOperation.poll(gate, select.POLLIN)
    op.submit(ctx)
    assert not op.done
    with pytest.raises(BlockingIOError, match="poll of fd") as raised:
        op.get_result()
    assert raised.value.errno == errno.EINPROGRESS
    gate.open()
    assert ctx.getevents() == [op]
    assert op.done
    assert op.get_result() & select.POLLIN


def test_offset_can_not_be_set_in_flight(ctx: AIOContext) -> None:
    read_end, write_end = os.pipe()
    op = AIOOperation.read(1, read_end)
    with in_flight_elsewhere(ctx, op, write_end), pytest.raises(ValueError, match="in flight"):
        op.offset = 5
    assert op.offset == 0
    assert op.get_result() == b"!"
    os.close(read_end)
    os.close(write_end)


def test_payload_of_a_read_is_none_in_flight(ctx: AIOContext) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"?")
    op = AIOOperation.read(1, read_end)
    assert perform(ctx, op) == b"?"
    with in_flight_elsewhere(ctx, op, write_end):
        assert op.payload is None
    assert op.get_result() == b"!"
    os.close(read_end)
    os.close(write_end)


# As soon as it has completed, though nobody collected it: here its EventFD says so


@pytest.fixture
def completed(ctx: AIOContext, fd: int) -> AIOOperation:
    op = AIOOperation.read(5, fd)
    with EventFD() as efd:
        op.submit(ctx, efd)
        assert efd.read() == 1
        return op


def test_done_is_true_at_once(completed: AIOOperation) -> None:
    assert completed.done


def test_result_is_there_at_once(completed: AIOOperation) -> None:
    assert completed.get_result() == b"Hello"


def test_payload_is_there_at_once(completed: AIOOperation) -> None:
    assert completed.payload == b"Hello"


def test_offset_can_be_set_at_once(completed: AIOOperation) -> None:
    completed.offset = 6
    assert completed.offset == 6


def test_payload_can_be_set_at_once(ctx: AIOContext, fd: int) -> None:
    op = AIOOperation.write(b"first", fd)
    with EventFD() as efd:
        op.submit(ctx, efd)
        efd.read()
        op.payload = b"second"
    assert op.payload == b"second"


def test_it_can_be_prepared_at_once(completed: AIOOperation) -> None:
    with EventFD() as other:
        completed.prepare(other)
        assert completed.eventfd is other


def test_it_can_be_submitted_at_once(ctx: AIOContext, completed: AIOOperation) -> None:
    with EventFD() as efd:
        assert completed.submit(ctx, efd) == 1


def test_it_can_be_submitted_to_another_context_at_once(completed: AIOOperation) -> None:
    with AIOContext(1) as other, EventFD() as efd:
        assert completed.submit(other, efd) == 1
        assert completed.context is other


def test_a_buffer_is_given_back_when_done_is_asked(ctx: AIOContext, fd: int) -> None:
    payload = bytearray(b"payload")
    op = AIOOperation.write(payload, fd)
    op.submit(ctx)
    wait_done(op)
    payload.append(1)  # which an exported bytearray refuses


# Afterwards


def test_the_result_may_be_asked_again(ctx: AIOContext, fd: int) -> None:
    op = AIOOperation.read(5, fd)
    result = perform(ctx, op)
    assert op.get_result() is result
    assert op.payload is result


def test_the_error_may_be_asked_again(ctx: AIOContext, fd: int) -> None:
    refuse_writes(fd)
    op = AIOOperation.write(b"x", fd)
    op.submit(ctx)
    assert ctx.getevents() == [op]
    assert op.done
    for _ in range(2):
        with pytest.raises(PermissionError, match="write of 1 bytes"):
            op.get_result()


def test_a_result_stays_when_the_file_and_the_context_are_closed(fd: int) -> None:
    with AIOContext(8) as ctx, open(os.dup(fd), "rb") as file:
        op = AIOOperation.read(5, file)
        op.submit(ctx)
        ctx.getevents()
    assert op.done
    assert op.get_result() == b"Hello"
    assert op.context is ctx


@each_kind
def test_context_stays_after_completion(
    make: Callable[[int], AIOOperation], ctx: AIOContext, fd: int
) -> None:
    op = make(fd)
    perform(ctx, op)
    assert op.context is ctx


# What errors and repr say


@pytest.mark.parametrize("name", MAKERS)
def test_an_error_names_operation_size_offset_and_fd(name: str, ctx: AIOContext) -> None:
    closed = os.dup(2)
    os.close(closed)
    text = re.escape(DESCRIPTIONS[name].format(fd=closed))
    with pytest.raises(OSError, match=rf"{text}\b") as raised:
        perform(ctx, MAKERS[name](closed))
    assert raised.value.errno == errno.EBADF


@pytest.mark.parametrize("name", MAKERS)
def test_repr_names_operation_size_offset_and_fd(name: str, fd: int) -> None:
    assert DESCRIPTIONS[name].format(fd=fd) in repr(MAKERS[name](fd))


def test_repr_tells_how_far_it_is(ctx: AIOContext, gate: Gate) -> None:
    op = AIOOperation.poll(gate, select.POLLIN)
    assert "not submitted" in repr(op)
    op.submit(ctx)
    assert "in flight" in repr(op)
    gate.open()
    ctx.getevents()
    assert "done" in repr(op)
