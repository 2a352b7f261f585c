# SPDX-License-Identifier: Apache-2.0
"""The caller's own memory: buffers of any kind, alone and in vectors, and what becomes of them."""

from __future__ import annotations

import array
import asyncio
import contextlib
import ctypes
import errno
import mmap
import os
import resource
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from linux_aio import AIOContext, AIOOperation
from support.files import contents, file_in_memory, refuse_writes
from support.fusefs import HoldingFS
from support.operations import perform

pytest_plugins = ["support.fixtures"]

DATA = bytes(range(1, 49))
IOV_MAX = os.sysconf("SC_IOV_MAX")
LARGEST = 0x7FFFF000  # bytes that the kernel transfers in one request

Buffer = Any


def mapped(data: bytes) -> mmap.mmap:
    memory = mmap.mmap(-1, len(data))
    memory[:] = data
    return memory


# Each makes a writable buffer of these bytes, of which there are a multiple of 24.
WRITABLE: dict[str, Callable[[bytes], Buffer]] = {
    "bytearray": bytearray,
    "memoryview": lambda data: memoryview(bytearray(data)),
    "part of one": lambda data: memoryview(bytearray(b"<" + data + b">"))[1:-1],
    "two-dimensional": lambda data: memoryview(bytearray(data)).cast("B", (4, len(data) // 4)),
    "items of 2": lambda data: array.array("H", data),
    "items of 8": lambda data: array.array("d", data),
    "two-dimensional items": lambda data: memoryview(bytearray(data)).cast(
        "I", (2, len(data) // 8)
    ),
    "mmap": mapped,
    "ctypes": lambda data: (ctypes.c_char * len(data)).from_buffer_copy(data),
    "structure": lambda data: (ctypes.c_uint64 * (len(data) // 8)).from_buffer_copy(data),
}
READ_ONLY: dict[str, Callable[[bytes], Buffer]] = {
    "bytes": bytes,
    "memoryview of bytes": memoryview,
    "read-only memoryview": lambda data: memoryview(bytearray(data)).toreadonly(),
}
NOT_CONTIGUOUS: dict[str, Callable[[], Buffer]] = {
    "every other": lambda: memoryview(bytearray(8))[::2],
    "reversed": lambda: memoryview(bytearray(8))[::-1],
    "every other item": lambda: memoryview(array.array("I", range(8)))[::2],
}
ONE_BUFFER: list[Callable[..., AIOOperation]] = [AIOOperation.readinto, AIOOperation.write]
SEVERAL_BUFFERS: list[Callable[..., AIOOperation]] = [AIOOperation.readv, AIOOperation.writev]
NO_BUFFERS: dict[str, Any] = {"str": "text", "int": 5, "None": None, "list": [1, 2]}


@pytest.fixture
def fd() -> Iterator[int]:
    with file_in_memory(DATA) as number:
        yield number


@contextlib.contextmanager
def file_size_limit(nbytes: int) -> Iterator[None]:
    """Inside the block no write goes beyond so many bytes of a file: it is short."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def is_exported(buffer: bytearray) -> bool:
    try:
        buffer.append(0)
    except BufferError:
        return True
    buffer.pop()
    return False


# --- one buffer


@pytest.mark.parametrize("kind", WRITABLE)
def test_readinto_any_writable_buffer(kind: str, ctx: AIOContext, fd: int) -> None:
    buffer = WRITABLE[kind](bytes(len(DATA)))
    op = AIOOperation.readinto(buffer, fd)
    assert op.nbytes == len(DATA)
    assert perform(ctx, op) == len(DATA)
    assert memoryview(buffer).tobytes() == DATA


@pytest.mark.parametrize("kind", [*WRITABLE, *READ_ONLY])
def test_write_of_any_buffer(kind: str, ctx: AIOContext) -> None:
    buffer = {**WRITABLE, **READ_ONLY}[kind](DATA)
    with file_in_memory() as fd:
        op = AIOOperation.write(buffer, fd, 3)
        assert op.nbytes == len(DATA)
        assert perform(ctx, op) == len(DATA)
        assert contents(fd) == bytes(3) + DATA


def test_readinto_at_an_offset(ctx: AIOContext, fd: int) -> None:
    buffer = bytearray(5)
    assert perform(ctx, AIOOperation.readinto(buffer, fd, 7)) == 5
    assert buffer == DATA[7:12]


def test_readinto_writes_no_further_than_it_read(ctx: AIOContext, fd: int) -> None:
    buffer = bytearray(b"x" * 100)
    assert perform(ctx, AIOOperation.readinto(buffer, fd)) == len(DATA)
    assert buffer == DATA + b"x" * (100 - len(DATA))


def test_readinto_of_a_part_leaves_what_is_around_it(ctx: AIOContext, fd: int) -> None:
    buffer = bytearray(b"x" * 10)
    assert perform(ctx, AIOOperation.readinto(memoryview(buffer)[2:5], fd)) == 3
    assert buffer == b"xx" + DATA[:3] + b"xxxxx"


def test_readinto_at_the_end(ctx: AIOContext, fd: int) -> None:
    buffer = bytearray(b"xyz")
    assert perform(ctx, AIOOperation.readinto(buffer, fd, len(DATA))) == 0
    assert buffer == b"xyz"


def test_readinto_part_of_an_item(ctx: AIOContext) -> None:
    numbers = array.array("I", [0, 0xFFFFFFFF])
    with file_in_memory(b"\x01\x02\x03\x04\x05\x06") as fd:
        assert perform(ctx, AIOOperation.readinto(numbers, fd)) == 6
    assert numbers.tobytes() == b"\x01\x02\x03\x04\x05\x06\xff\xff"


@pytest.mark.parametrize("make", ONE_BUFFER)
def test_an_empty_buffer(make: Callable[..., AIOOperation], ctx: AIOContext, fd: int) -> None:
    assert perform(ctx, make(bytearray(), fd)) == 0
    assert contents(fd) == DATA


def test_a_short_write(ctx: AIOContext) -> None:
    with file_in_memory() as fd, file_size_limit(10):
        assert perform(ctx, AIOOperation.write(DATA, fd, 4)) == 6
        assert contents(fd) == bytes(4) + DATA[:6]


# --- what is no buffer for it


@pytest.mark.parametrize("kind", READ_ONLY)
def test_reading_into_read_only_memory(kind: str, fd: int) -> None:
    buffer = READ_ONLY[kind](DATA)
    with pytest.raises(BufferError):
        AIOOperation.readinto(buffer, fd)
    with pytest.raises(BufferError):
        AIOOperation.readv([bytearray(1), buffer], fd)


@pytest.mark.parametrize("kind", NOT_CONTIGUOUS)
def test_memory_that_is_not_contiguous(kind: str, fd: int) -> None:
    buffer = NOT_CONTIGUOUS[kind]()
    for make in ONE_BUFFER:
        with pytest.raises(BufferError):
            make(buffer, fd)
    for make in SEVERAL_BUFFERS:
        with pytest.raises(BufferError):
            make([bytearray(1), buffer], fd)


@pytest.mark.parametrize("kind", NO_BUFFERS)
def test_what_is_no_buffer(kind: str, fd: int) -> None:
    thing = NO_BUFFERS[kind]
    for make in ONE_BUFFER:
        with pytest.raises(TypeError):
            make(thing, fd)
    for make in SEVERAL_BUFFERS:
        with pytest.raises(TypeError):
            make([bytearray(1), thing], fd)


@pytest.mark.parametrize("thing", [None, 5, b"bytes are no sequence of buffers"])
@pytest.mark.parametrize("make", SEVERAL_BUFFERS)
def test_what_is_no_sequence_of_buffers(
    make: Callable[..., AIOOperation], thing: Any, fd: int
) -> None:
    with pytest.raises(TypeError):
        make(thing, fd)


def test_a_memoryview_that_was_released(fd: int) -> None:
    view = memoryview(bytearray(4))
    view.release()
    with pytest.raises(ValueError, match="released"):
        AIOOperation.readinto(view, fd)


# --- vectors


def test_readv_fills_one_after_the_other(ctx: AIOContext, fd: int) -> None:
    buffers: list[Buffer] = [bytearray(3), bytearray(1), array.array("H", [0] * 4)]
    op = AIOOperation.readv(buffers, fd, 2)
    assert op.nbytes == 12
    assert perform(ctx, op) == 12
    assert b"".join(map(bytes, buffers)) == DATA[2:14]


def test_writev_writes_one_after_the_other(ctx: AIOContext) -> None:
    with file_in_memory() as fd:
        op = AIOOperation.writev([b"one", bytearray(b"two"), memoryview(b"three")], fd, 1)
        assert op.nbytes == 11
        assert perform(ctx, op) == 11
        assert contents(fd) == b"\0onetwothree"


def test_readv_into_a_vector_with_empty_buffers(ctx: AIOContext, fd: int) -> None:
    buffers = [bytearray(size) for size in (0, 2, 0, 0, 3, 0)]
    assert perform(ctx, AIOOperation.readv(buffers, fd)) == 5
    assert b"".join(buffers) == DATA[:5]
    assert [len(buffer) for buffer in buffers] == [0, 2, 0, 0, 3, 0]


def test_writev_of_a_vector_with_empty_buffers(ctx: AIOContext) -> None:
    with file_in_memory() as fd:
        assert perform(ctx, AIOOperation.writev([b"", b"ab", bytearray(), b"c", b""], fd)) == 3
        assert contents(fd) == b"abc"


@pytest.mark.parametrize("buffers", [[], [bytearray()], [bytearray(), bytearray()]])
@pytest.mark.parametrize("make", SEVERAL_BUFFERS)
def test_a_vector_of_nothing(
    make: Callable[..., AIOOperation], buffers: list[bytearray], ctx: AIOContext, fd: int
) -> None:
    op = make(buffers, fd)
    assert op.nbytes == 0
    assert perform(ctx, op) == 0
    assert perform(ctx, op) == 0
    assert contents(fd) == DATA


def test_the_longest_vectors(ctx: AIOContext) -> None:
    data = os.urandom(IOV_MAX)
    with file_in_memory() as fd:
        assert perform(ctx, AIOOperation.writev([bytes([byte]) for byte in data], fd)) == IOV_MAX
        assert contents(fd) == data
        buffers = [bytearray(1) for _ in data]
        assert perform(ctx, AIOOperation.readv(buffers, fd)) == IOV_MAX
        assert b"".join(buffers) == data


@pytest.mark.parametrize("make", SEVERAL_BUFFERS)
def test_a_vector_that_is_too_long(make: Callable[..., AIOOperation], fd: int) -> None:
    buffers = [bytearray(1)] * (IOV_MAX + 1)
    with pytest.raises(ValueError, match=rf"{IOV_MAX} .*IOV_MAX.*{IOV_MAX + 1}"):
        make(buffers, fd)
    assert not is_exported(buffers[0])


def test_the_same_buffer_more_than_once(ctx: AIOContext) -> None:
    again = bytearray(b"again ")
    with file_in_memory() as fd:
        assert perform(ctx, AIOOperation.writev([again, again, again], fd)) == 18
        assert contents(fd) == b"again again again "
    assert not is_exported(again)


def test_parts_of_one_buffer_in_another_order(ctx: AIOContext, fd: int) -> None:
    buffer = bytearray(6)
    view = memoryview(buffer)
    assert perform(ctx, AIOOperation.readv([view[3:], view[:3]], fd)) == 6
    assert buffer == DATA[3:6] + DATA[:3]


@pytest.mark.parametrize("gather", [list, tuple, iter, lambda given: (part for part in given)])
def test_any_iterable_of_buffers(gather: Callable[..., Any], ctx: AIOContext) -> None:
    with file_in_memory() as fd:
        op = AIOOperation.writev(gather([b"a", b"b"]), fd)
        assert perform(ctx, op) == 2
        assert contents(fd) == b"ab"
        os.ftruncate(fd, 0)
        assert perform(ctx, op) == 2  # an iterator would be at its end now
        assert contents(fd) == b"ab"


def test_a_list_that_changes_later_is_not_looked_at_again(ctx: AIOContext) -> None:
    buffers: list[Buffer] = [b"a", b"b"]
    with file_in_memory() as fd:
        op = AIOOperation.writev(buffers, fd)
        buffers.clear()
        assert perform(ctx, op) == 2
        assert contents(fd) == b"ab"


# --- short in the middle of a vector


def test_a_read_that_ends_within_a_buffer(ctx: AIOContext, fd: int) -> None:
    buffers = [bytearray(b"x" * 20) for _ in range(4)]
    assert perform(ctx, AIOOperation.readv(buffers, fd)) == len(DATA) == 48
    assert b"".join(buffers) == DATA + b"x" * 32


def test_a_read_that_ends_between_two_buffers(ctx: AIOContext, fd: int) -> None:
    buffers = [bytearray(b"x" * 24) for _ in range(3)]
    assert perform(ctx, AIOOperation.readv(buffers, fd)) == 48
    assert b"".join(buffers) == DATA + b"x" * 24


def test_a_write_that_ends_within_a_buffer(ctx: AIOContext) -> None:
    with file_in_memory() as fd:
        op = AIOOperation.writev([b"abcd", b"efgh", b"ijkl"], fd, 1)
        with file_size_limit(7):
            assert perform(ctx, op) == 6
        assert contents(fd) == b"\0abcdef"
        assert perform(ctx, op) == 12
        assert contents(fd) == b"\0abcdefghijkl"


def test_a_write_that_can_not_even_begin(ctx: AIOContext) -> None:
    with file_in_memory() as fd, file_size_limit(7):
        with pytest.raises(OSError, match="writev of 4 bytes at offset 7") as caught:
            perform(ctx, AIOOperation.writev([b"ab", b"cd"], fd, 7))
        assert caught.value.errno == errno.EFBIG


# --- how much at once


def largest_and(more: int) -> list[Buffer]:
    """Buffers, all of the same memory, that have together as much as can be, and so much more."""
    piece = 1 << 24
    memory = mmap.mmap(-1, piece)
    count, rest = divmod(LARGEST + more, piece)
    return [memory] * count + [memoryview(memory)[:rest]]


@pytest.mark.parametrize("make", SEVERAL_BUFFERS)
def test_more_than_can_be_in_one_vector(make: Callable[..., AIOOperation], fd: int) -> None:
    with pytest.raises(ValueError, match=f" {LARGEST} .* {LARGEST + 1}"):
        make(largest_and(1), fd)


@pytest.mark.skipif(sys.maxsize < 1 << 32, reason="no room for so large a buffer")
@pytest.mark.parametrize("make", ONE_BUFFER)
def test_more_than_can_be_in_one_buffer(make: Callable[..., AIOOperation], fd: int) -> None:
    with (
        mmap.mmap(-1, LARGEST + 1, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory,
        pytest.raises(ValueError, match=f" {LARGEST} .* {LARGEST + 1}"),
    ):
        make(memory, fd)


def test_as_much_as_can_be_in_one_vector(ctx: AIOContext, fd: int) -> None:
    buffers = largest_and(0)
    op = AIOOperation.readv(buffers, fd)
    assert op.nbytes == LARGEST
    assert perform(ctx, op) == len(DATA)
    assert buffers[0][: len(DATA)] == DATA


# --- the payload


@pytest.mark.parametrize("make", ONE_BUFFER)
def test_the_payload_is_the_buffer(
    make: Callable[..., AIOOperation], ctx: AIOContext, fd: int
) -> None:
    buffer = bytearray(DATA)
    op = make(buffer, fd)
    assert op.payload is buffer
    perform(ctx, op)
    assert op.payload is buffer


@pytest.mark.parametrize("make", SEVERAL_BUFFERS)
def test_the_payload_of_a_vector_is_the_tuple_of_its_buffers(
    make: Callable[..., AIOOperation], ctx: AIOContext, fd: int
) -> None:
    first, second = bytearray(DATA[:2]), bytearray(DATA[2:5])
    op = make([first, second], fd)
    for _ in range(2):
        payload: Any = op.payload
        assert isinstance(payload, tuple)
        assert payload[0] is first
        assert payload[1] is second
        assert len(payload) == 2
        perform(ctx, op)


@pytest.mark.parametrize("make", SEVERAL_BUFFERS)
def test_the_payload_of_a_vector_can_not_be_set(make: Callable[..., AIOOperation], fd: int) -> None:
    op = make([bytearray(1)], fd)
    with pytest.raises(AttributeError):
        op.payload = bytearray(2)


def test_readinto_again_into_another_buffer(ctx: AIOContext, fd: int) -> None:
    first, second = bytearray(4), bytearray(6)
    op = AIOOperation.readinto(first, fd)
    assert perform(ctx, op) == 4
    op.payload = second
    op.offset = 10
    assert op.nbytes == 6
    assert perform(ctx, op) == 6
    assert first == DATA[:4]
    assert second == DATA[10:16]


def test_write_again_of_another_buffer(ctx: AIOContext) -> None:
    with file_in_memory() as fd:
        op = AIOOperation.write(b"first", fd)
        perform(ctx, op)
        op.payload = bytearray(b"2nd")
        op.offset = 5
        assert perform(ctx, op) == 3
        assert contents(fd) == b"first2nd"


def test_a_payload_that_is_refused_changes_nothing(ctx: AIOContext, fd: int) -> None:
    buffer = bytearray(4)
    op = AIOOperation.readinto(buffer, fd)
    for refused in (b"read-only", memoryview(bytearray(8))[::2]):
        with pytest.raises(BufferError):
            op.payload = refused
    with pytest.raises(TypeError):
        op.payload = "no buffer"  # type: ignore[assignment]
    assert op.payload is buffer
    assert op.nbytes == 4
    assert perform(ctx, op) == 4
    assert buffer == DATA[:4]


def test_the_payload_can_not_be_set_in_flight(fs: HoldingFS, ctx: AIOContext) -> None:
    with held_readinto(fs, ctx, buffer := bytearray(100)) as op:
        with pytest.raises(ValueError, match="in flight"):
            op.payload = bytearray(1)
        assert op.payload is buffer
        assert op.nbytes == 100


def test_a_buffer_that_was_resized_in_between(ctx: AIOContext, fd: int) -> None:
    buffer = bytearray(3)
    one, several = AIOOperation.readinto(buffer, fd), AIOOperation.readv([buffer, buffer], fd, 20)
    assert perform(ctx, one) == 3
    assert perform(ctx, several) == 6
    buffer.extend(bytes(7))
    assert perform(ctx, one) == one.nbytes == 10
    assert buffer == DATA[:10]
    assert perform(ctx, several) == several.nbytes == 20
    assert buffer == DATA[30:40]


# --- exports and references: back to where they were


@contextlib.contextmanager
def held_readinto(fs: HoldingFS, ctx: AIOContext, buffer: bytearray) -> Iterator[AIOOperation]:
    """In flight inside the block, and completed at its end."""
    fs.create("data", bytes(4096))
    fs.hold()
    fd = os.open(fs.path("data"), os.O_RDONLY | os.O_DIRECT)
    try:
        op = AIOOperation.readinto(buffer, fd)
        op.submit(ctx)
        fs.wait_held(1)
        yield op
        fs.unhold()
        while not op.done:
            ctx.getevents()
    finally:
        fs.unhold()
        os.close(fd)


VECTORS: dict[str, Callable[[bytearray, int], AIOOperation]] = {
    "readinto": AIOOperation.readinto,
    "write": AIOOperation.write,
    "readv": lambda buffer, fd: AIOOperation.readv([buffer, buffer], fd),
    "writev": lambda buffer, fd: AIOOperation.writev([b"", buffer], fd),
}


@pytest.mark.parametrize("kind", VECTORS)
def test_after_success(kind: str, ctx: AIOContext, fd: int) -> None:
    buffer = bytearray(8)
    before = sys.getrefcount(buffer)
    op = VECTORS[kind](buffer, fd)
    for _ in range(3):
        op.submit(ctx)
        assert ctx.getevents() == [op]
        assert not is_exported(buffer)
        op.get_result()
    del op
    assert sys.getrefcount(buffer) == before


@pytest.mark.parametrize("kind", VECTORS)
def test_after_an_operation_that_was_never_submitted(kind: str, fd: int) -> None:
    buffer = bytearray(8)
    before = sys.getrefcount(buffer)
    VECTORS[kind](buffer, fd)
    assert not is_exported(buffer)
    assert sys.getrefcount(buffer) == before


@pytest.mark.parametrize("kind", VECTORS)
def test_after_a_submission_that_was_refused(kind: str, ctx: AIOContext) -> None:
    buffer = bytearray(8)
    before = sys.getrefcount(buffer)
    with open(os.devnull) as reading, open(os.devnull, "wb") as writing:
        op = VECTORS[kind](buffer, (writing if kind.startswith("read") else reading).fileno())
        for _ in range(2):
            with pytest.raises(OSError, match=f"{kind} of ") as caught:
                perform(ctx, op)
            assert caught.value.errno == errno.EBADF
    assert not is_exported(buffer)
    del op, caught
    assert sys.getrefcount(buffer) == before


@pytest.mark.parametrize("kind", ["write", "writev"])
def test_after_an_error_of_the_kernel(kind: str, ctx: AIOContext) -> None:
    buffer = bytearray(8)
    before = sys.getrefcount(buffer)
    with file_in_memory() as fd:
        refuse_writes(fd)
        op = VECTORS[kind](buffer, fd)
        op.submit(ctx)
        assert ctx.getevents() == [op]
        assert not is_exported(buffer)
        with pytest.raises(PermissionError):
            op.get_result()
    del op
    assert sys.getrefcount(buffer) == before


@pytest.mark.parametrize("make", SEVERAL_BUFFERS)
def test_after_a_vector_that_was_refused_half_way(
    make: Callable[..., AIOOperation], fd: int
) -> None:
    buffer = bytearray(8)
    before = sys.getrefcount(buffer)
    with pytest.raises((BufferError, TypeError)):
        make([buffer, buffer, memoryview(bytearray(8))[::2]], fd)
    assert not is_exported(buffer)
    assert sys.getrefcount(buffer) == before


def test_in_flight_and_after(fs: HoldingFS, ctx: AIOContext) -> None:
    buffer = bytearray(4096)
    before = sys.getrefcount(buffer)
    with held_readinto(fs, ctx, buffer) as op:
        assert is_exported(buffer)
        assert not ctx.cancel(op)
        assert is_exported(buffer)
    assert not is_exported(buffer)
    assert op.get_result() == 4096
    del op
    assert sys.getrefcount(buffer) == before


@pytest.mark.parametrize("made", [AIOContext.readinto, AIOContext.readv])
def test_after_a_task_was_cancelled(made: Callable[..., Any], fs: HoldingFS) -> None:
    """One in flight, when the kernel has let go; one that is queued, at once."""
    buffers = bytearray(4096), bytearray(4096)
    before = [sys.getrefcount(buffer) for buffer in buffers]
    fs.create("data", DATA * 100)
    fs.hold()
    fd = os.open(fs.path("data"), os.O_RDONLY | os.O_DIRECT)

    async def main() -> None:
        async with AIOContext(1) as ctx:
            one_or_more: Callable[[bytearray], Any] = (
                (lambda buffer: buffer)
                if made is AIOContext.readinto
                else (lambda buffer: [buffer])
            )
            flying, queued = (
                asyncio.ensure_future(made(ctx, one_or_more(buffer), fd)) for buffer in buffers
            )
            await asyncio.to_thread(fs.wait_held, 1)
            queued.cancel()
            with pytest.raises(asyncio.CancelledError):
                await queued
            assert not is_exported(buffers[1])
            flying.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert is_exported(buffers[0])
            fs.unhold()
            with pytest.raises(asyncio.CancelledError):
                await flying
            assert not is_exported(buffers[0])

    try:
        asyncio.run(main())
    finally:
        fs.unhold()
        os.close(fd)
    assert buffers[0] == (DATA * 100)[:4096]
    assert buffers[1] == bytes(4096)
    assert [sys.getrefcount(buffer) for buffer in buffers] == before
