# SPDX-License-Identifier: Apache-2.0
"""Direct I/O: what it needs, reads that need not care, and what the kernel refuses, explained."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import fcntl
import gc
import os
import random
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from linux_aio import AIOContext, AIOOperation, EventFD, aligned_buffer, direct_alignment
from support.direct import PAGE, address_of, buffer_at, direct_file, direct_reason
from support.files import Numbered, file_in_memory
from support.mounts import (
    SMALLEST_MIB,
    loop_mount,
    loop_mount_reason,
    tmpfs_mount,
    tmpfs_mount_reason,
)
from support.operations import perform, wait_done

LENGTH = 3 * PAGE + 1234
DATA = bytes(number * 7 % 251 for number in range(LENGTH))

FILE_SYSTEMS = [
    "the disk here",
    pytest.param("tmpfs", marks=pytest.mark.needs_root),
    *(
        pytest.param(name, marks=[pytest.mark.needs_root, pytest.mark.xdist_group("loop devices")])
        for name in SMALLEST_MIB
    ),
]


@pytest.fixture(scope="module", params=FILE_SYSTEMS)
def folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A folder on each of the file systems."""
    path = tmp_path_factory.mktemp("direct")
    name: str = request.param
    if name == "the disk here":
        skip_for(direct_reason(path))
        yield path
    elif name == "tmpfs":
        skip_for(tmpfs_mount_reason())
        with tmpfs_mount(path, 4096) as mounted:
            skip_for(direct_reason(mounted))
            yield mounted
    else:
        skip_for(loop_mount_reason(name))
        with loop_mount(path, name, SMALLEST_MIB[name]) as mounted:
            yield mounted


@pytest.fixture
def fd(folder: Path) -> Iterator[int]:
    """A file of `DATA`, open for direct I/O."""
    with direct_file(folder / "data", DATA) as number:
        yield number


@pytest.fixture
def ctx() -> Iterator[AIOContext]:
    with AIOContext(16) as context:
        yield context


def skip_for(reason: str | None) -> None:
    if reason is not None:
        pytest.skip(reason)


def past(distance: int, alignment: int) -> str:
    return f"is {distance} bytes past a multiple of {alignment}"


def on_disk(fd: int) -> bytes:
    """What is in the file, read without O_DIRECT."""
    return Path(f"/proc/self/fd/{fd}").read_bytes()


# --- reads


RANGES = [
    (0, 0),
    (0, 1),
    (1, 0),
    (1, 1),
    (0, 512),
    (511, 2),
    (512, 512),
    (513, 4000),
    (PAGE - 1, 2),
    (PAGE, PAGE),
    (PAGE, 2 * PAGE),
    (1, LENGTH - 1),
    (0, LENGTH),
    (0, LENGTH + 1),
    (0, 1 << 20),
    (LENGTH - 1, 1),
    (LENGTH - 1, 2),
    (LENGTH - 700, 1 << 20),
    (LENGTH, 1),
    (LENGTH + 1, 1),
    (LENGTH + 5, PAGE),
    (4 * PAGE, PAGE),
    (4 * PAGE + 3, 5),
    ((1 << 40) + 1, 10),
]


@pytest.mark.parametrize(("offset", "nbytes"), RANGES)
def test_a_read_of_any_range(offset: int, nbytes: int, ctx: AIOContext, fd: int) -> None:
    result = perform(ctx, op := AIOOperation.read(nbytes, fd, offset))
    assert type(result) is bytes
    assert result == DATA[offset : offset + nbytes]
    assert op.payload is result
    assert op.get_result() is result
    assert (op.offset, op.nbytes) == (offset, nbytes)


def test_the_same_ranges_all_at_once(ctx: AIOContext, fd: int) -> None:
    ops = [AIOOperation.read(nbytes, fd, offset) for offset, nbytes in RANGES[:16]]
    assert ctx.submit(*ops) == 16
    got = ctx.getevents(16)
    assert sorted(map(id, got)) == sorted(map(id, ops))
    for op, (offset, nbytes) in zip(ops, RANGES, strict=False):
        assert op.get_result() == DATA[offset : offset + nbytes]


def test_the_same_ranges_one_after_the_other_with_one_operation(ctx: AIOContext, fd: int) -> None:
    op = AIOOperation.read(700, fd)
    expected = [DATA[offset : offset + 700] for offset, _ in RANGES]
    results = []
    for op.offset, _ in RANGES:
        results.append(perform(ctx, op))
    assert results == expected


def test_the_same_ranges_awaited(fd: int) -> None:
    async def main() -> list[bytes]:
        async with AIOContext(4) as ctx:
            return await asyncio.gather(
                *(ctx.read(nbytes, fd, offset) for offset, nbytes in RANGES)
            )

    assert asyncio.run(main()) == [DATA[offset : offset + nbytes] for offset, nbytes in RANGES]


def test_a_read_of_an_empty_file(ctx: AIOContext, folder: Path) -> None:
    with direct_file(folder / "empty") as fd:
        assert perform(ctx, AIOOperation.read(10, fd)) == b""
        assert perform(ctx, AIOOperation.read(10, fd, 3)) == b""


def test_a_read_of_a_hole(ctx: AIOContext, folder: Path) -> None:
    with direct_file(folder / "hole", b"x") as fd:
        os.truncate(fd, 10 * PAGE)
        assert perform(ctx, AIOOperation.read(3 * PAGE, fd, 5 * PAGE + 7)) == bytes(3 * PAGE)


def test_a_read_again_of_a_file_that_grew(ctx: AIOContext, folder: Path) -> None:
    with direct_file(folder / "growing", b"short") as fd:
        op = AIOOperation.read(2 * PAGE, fd, 1)
        assert perform(ctx, op) == b"hort"
        Path(folder / "growing").write_bytes(DATA)
        assert perform(ctx, op) == DATA[1 : 1 + 2 * PAGE]
        os.truncate(fd, 3)
        assert perform(ctx, op) == DATA[1:3]


def test_a_read_signals_its_eventfd(ctx: AIOContext, fd: int) -> None:
    with EventFD() as efd:
        op = AIOOperation.read(10, fd, 3)
        op.submit(ctx, efd)
        assert efd.read() == 1
        assert op.done
        assert op.get_result() == DATA[3:13]


@pytest.mark.parametrize("looked_at", ["result", "payload", "view"])
def test_a_read_again_leaves_what_it_returned_before(
    looked_at: str, ctx: AIOContext, folder: Path
) -> None:
    path = folder / "changing"
    with direct_file(path, DATA) as fd:
        op = AIOOperation.read(1000, fd, 100)
        op.submit(ctx)
        ctx.getevents()
        earlier: Any = op.payload if looked_at == "payload" else op.get_result()
        if looked_at == "view":
            earlier = memoryview(earlier)
        path.write_bytes(bytes(reversed(DATA)))
        assert perform(ctx, op) == bytes(reversed(DATA))[100:1100]
        assert earlier == DATA[100:1100]


def test_results_that_nobody_looked_at_do_not_mix(ctx: AIOContext, folder: Path) -> None:
    path = folder / "changing"
    with direct_file(path, DATA) as fd:
        op = AIOOperation.read(1000, fd, 100)
        for contents in (bytes(reversed(DATA)), DATA[:300], b"", DATA):
            path.write_bytes(contents)
            op.submit(ctx)
            assert ctx.getevents() == [op]
        assert op.get_result() == DATA[100:1100]


def test_a_file_that_is_opened_for_direct_io_only_later(ctx: AIOContext, folder: Path) -> None:
    with direct_file(folder / "data", DATA) as fd:
        direct = fcntl.fcntl(fd, fcntl.F_GETFL)
        op = AIOOperation.read(1000, fd, 100)
        for flags in (direct & ~os.O_DIRECT, direct, direct & ~os.O_DIRECT):
            fcntl.fcntl(fd, fcntl.F_SETFL, flags)
            assert perform(ctx, op) == DATA[100:1100]


def test_the_same_for_awaited_reads(folder: Path) -> None:
    async def main(fd: int) -> None:
        direct = fcntl.fcntl(fd, fcntl.F_GETFL)
        async with AIOContext() as ctx:
            for flags in (direct & ~os.O_DIRECT, direct, direct & ~os.O_DIRECT):
                fcntl.fcntl(fd, fcntl.F_SETFL, flags)
                for _ in range(10):  # what is found out once is remembered for a while
                    assert await ctx.read(1000, fd, 100) == DATA[100:1100]

    with direct_file(folder / "data", DATA) as fd:
        asyncio.run(main(fd))


# --- direct_alignment


def test_a_number_that_was_just_a_cached_files(folder: Path) -> None:
    """What is known of a number may be about another file, for a moment.

    A misaligned read of two extents is refused late, if the memory happens to be aligned.
    """
    gap = 512 * PAGE
    nbytes = gap + PAGE + 100
    holes = folder / "holes"
    with holes.open("wb") as file:
        file.write(b"a" * (gap - PAGE))
        file.seek(gap)
        file.write(b"b" * PAGE * 2)
        file.flush()
        os.fsync(file.fileno())
    chance = random.Random(1)
    bytes(8 << 20)  # malloc(3) has no mappings of their own for less from now on
    kept: list[bytearray] = []  # they move the memory of the next read

    async def main() -> None:
        expected = b"a" * (gap - PAGE) + bytes(PAGE) + b"b" * (nbytes - gap)
        with file_in_memory() as cached, AIOContext(16) as ctx:
            for _ in range(200):
                fd = os.dup(cached)
                await ctx.read(100, fd)
                direct = os.open(holes, os.O_RDONLY | os.O_DIRECT)
                try:
                    os.dup2(direct, fd)  # the number is closed, and is the other file's
                    assert await ctx.read(nbytes, fd) == expected
                finally:
                    os.close(direct)
                    os.close(fd)
                kept.append(bytearray(100_000 + 16 * chance.randrange(64)))

    asyncio.run(main())


def test_what_is_needed_is_the_same_without_o_direct(folder: Path) -> None:
    with direct_file(folder / "data", DATA) as fd, open(folder / "data", "rb") as file:
        assert direct_alignment(fd) == direct_alignment(file) == direct_alignment(file.fileno())


def test_what_is_needed_are_powers_of_two(fd: int) -> None:
    assert all(value.bit_count() == 1 for value in direct_alignment(fd))
    assert max(direct_alignment(fd)) <= 1 << 16


def test_no_more_is_needed(ctx: AIOContext, fd: int) -> None:
    """Memory, offset and length that are aligned to that, and to nothing more."""
    memory, transfer = direct_alignment(fd)
    source, target = buffer_at(memory, transfer), buffer_at(memory, transfer)
    source[:] = bytes(number % 255 + 1 for number in range(transfer))
    assert perform(ctx, AIOOperation.write(source, fd, 3 * transfer)) == transfer
    assert perform(ctx, AIOOperation.readinto(target, fd, 3 * transfer)) == transfer
    assert target == source
    expected = bytearray(DATA)
    expected[3 * transfer : 4 * transfer] = source
    assert on_disk(fd) == expected


@pytest.mark.xdist_group("loop devices")
@pytest.mark.needs_root
def test_a_block_device(ctx: AIOContext, tmp_path: Path) -> None:
    skip_for(loop_mount_reason("ext4"))
    with loop_mount(tmp_path, "ext4", SMALLEST_MIB["ext4"]) as mounted:
        number = mounted.stat().st_dev
        device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()
        skip_for(None if device.exists() else "/sys does not have the device")
        fd = os.open(Path("/dev", device.name), os.O_RDONLY | os.O_DIRECT)
        try:
            memory, transfer = direct_alignment(fd)
            assert transfer == int((device / "queue" / "logical_block_size").read_text())
            assert 1 <= memory <= PAGE
            magic = perform(ctx, AIOOperation.read(2, fd, 1024 + 0x38))  # in ext4's superblock
            assert magic == b"\x53\xef"
        finally:
            os.close(fd)


def test_what_has_no_alignment() -> None:
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)) as caught:
        direct_alignment(1 << 20)
    assert caught.value.errno == errno.EBADF
    with open(os.devnull) as file:
        pass
    with pytest.raises(ValueError, match="closed"):
        direct_alignment(file)
    with pytest.raises(TypeError):
        direct_alignment("path")  # type: ignore[arg-type]


# --- the caller's own memory


def test_aligned_memory(ctx: AIOContext, fd: int) -> None:
    buffer = aligned_buffer(LENGTH + 4 * PAGE - LENGTH % PAGE)
    assert perform(ctx, AIOOperation.readinto(buffer, fd)) == LENGTH
    assert buffer[:LENGTH] == DATA
    assert perform(ctx, AIOOperation.readinto(buffer[:PAGE], fd, 3 * PAGE)) == LENGTH - 3 * PAGE
    assert buffer[: LENGTH - 3 * PAGE] == DATA[3 * PAGE :]
    assert perform(ctx, AIOOperation.readinto(buffer, fd, 4 * PAGE)) == 0


def test_vectors_of_aligned_memory(ctx: AIOContext, folder: Path) -> None:
    parts = [aligned_buffer(PAGE) for _ in range(3)]
    for number, part in enumerate(parts):
        part[:] = bytes([number + 1]) * PAGE
    with direct_file(folder / "vectors") as fd:
        assert perform(ctx, AIOOperation.writev(parts, fd, PAGE)) == 3 * PAGE
        assert on_disk(fd) == bytes(PAGE) + b"".join(parts)
        others = [aligned_buffer(2 * PAGE) for _ in range(3)]
        assert perform(ctx, AIOOperation.readv(others, fd)) == 4 * PAGE
        assert b"".join(others) == bytes(PAGE) + b"".join(parts) + bytes(2 * PAGE)


# Each: how far the memory, the offset and the length are from being aligned.
MISALIGNED = [(1, 0, 0), (3, 0, 0), (0, 1, 0), (0, 0, 7), (0, 5, 7), (1, 5, 7)]


def findings(fd: int, buffer: str, wrong: tuple[int, int, int]) -> list[str]:
    """What the error has to name."""
    memory, transfer = direct_alignment(fd)
    address, offset, length = wrong
    found = []
    if offset % transfer:
        found.append(f"the offset {past(offset, transfer)}")
    if address % memory:
        found.append(f"the address of {buffer} {past(address, memory)}")
    if length % transfer:
        found.append(f"the length of {buffer} {past(length, transfer)}")
    return found


def assert_served_or_explained(
    ctx: AIOContext, op: AIOOperation, expected: list[str]
) -> int | None:
    """What was transferred; None if the kernel refused, and the error says why."""
    if not expected:
        result: int = perform(ctx, op)
        return result
    with pytest.raises(OSError, match=re.escape(f"(O_DIRECT: {', '.join(expected)})")) as caught:
        perform(ctx, op)
    assert caught.value.errno == errno.EINVAL
    assert re.match(rf"\[Errno 22\] .*{op.nbytes} bytes at offset {op.offset}", str(caught.value))
    return None


@pytest.mark.parametrize("wrong", MISALIGNED)
def test_a_misaligned_write(wrong: tuple[int, int, int], ctx: AIOContext, fd: int) -> None:
    address, offset, length = wrong
    buffer = buffer_at(address, PAGE + length)
    buffer[:] = b"w" * len(buffer)
    op = AIOOperation.write(buffer, fd, PAGE + offset)
    written = assert_served_or_explained(ctx, op, findings(fd, "the buffer", wrong))
    expected = bytearray(DATA)
    if written is not None:
        assert written == PAGE + length
        expected[PAGE + offset : PAGE + offset + written] = buffer
    assert on_disk(fd) == expected


@pytest.mark.parametrize("wrong", MISALIGNED)
def test_a_misaligned_readinto(wrong: tuple[int, int, int], ctx: AIOContext, fd: int) -> None:
    address, offset, length = wrong
    buffer = buffer_at(address, PAGE + length)
    op = AIOOperation.readinto(buffer, fd, PAGE + offset)
    read = assert_served_or_explained(ctx, op, findings(fd, "the buffer", wrong))
    if read is None:
        assert buffer == bytes(PAGE + length)
    else:
        assert read == PAGE + length
        assert buffer == DATA[PAGE + offset :][: PAGE + length]


@pytest.mark.parametrize("wrong", MISALIGNED)
@pytest.mark.parametrize("make", [AIOOperation.readv, AIOOperation.writev])
def test_a_misaligned_buffer_in_a_vector(
    make: Callable[..., AIOOperation], wrong: tuple[int, int, int], ctx: AIOContext, fd: int
) -> None:
    address, offset, length = wrong
    buffers = [aligned_buffer(PAGE), buffer_at(address, PAGE + length)]
    op = make(buffers, fd, offset)
    taken = assert_served_or_explained(ctx, op, findings(fd, "buffer 1", wrong))
    assert taken in (None, 2 * PAGE + length)


def test_the_kernel_is_asked_not_second_guessed(ctx: AIOContext, fd: int) -> None:
    """Whatever it is that the kernel takes, we take too: compared with preadv(2) and pwritev(2)."""
    for distance in (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024):
        buffer = buffer_at(distance, PAGE)
        for offset in (0, distance):
            for make, call in (
                (AIOOperation.readinto, os.preadv),
                (AIOOperation.write, os.pwritev),
            ):
                try:
                    wanted: Any = call(fd, [buffer], offset)
                except OSError as error:
                    wanted = error.errno
                try:
                    got = perform(ctx, make(buffer, fd, offset))
                except OSError as error:
                    got = error.errno
                assert got == wanted, (make.__name__, distance, offset)


def address_of_bytes(payload: bytes) -> int:
    return id(payload) + bytes.__basicsize__ - 1


def test_bytes_that_lie_anywhere(ctx: AIOContext, folder: Path) -> None:
    with direct_file(folder / "bytes") as fd:
        memory, _ = direct_alignment(fd)
        # At one place in 32, bytes are aligned by chance. Made at run time, each has its own place.
        some = [bytes([number]) * PAGE for number in range(1, 65)]
        payload = next(p for p in some if memory == 1 or address_of_bytes(p) % memory != 0)
        op = AIOOperation.write(payload, fd)
        if memory == 1:
            assert perform(ctx, op) == PAGE
            assert on_disk(fd) == payload
        else:
            with pytest.raises(OSError, match=past(address_of_bytes(payload) % memory, memory)):
                perform(ctx, op)


def test_an_error_that_is_no_matter_of_alignment(ctx: AIOContext, fd: int) -> None:
    op = AIOOperation.readinto(aligned_buffer(PAGE), fd, 0, 0xE000)
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)) as caught:
        perform(ctx, op)
    assert caught.value.errno == errno.EINVAL
    assert "O_DIRECT" not in str(caught.value)


def test_an_error_of_a_file_without_o_direct(ctx: AIOContext) -> None:
    with file_in_memory(DATA) as fd:
        op = AIOOperation.readinto(buffer_at(1, 5), fd, 3, 0xE000)
        with pytest.raises(OSError, match=os.strerror(errno.EINVAL)) as caught:
            perform(ctx, op)
        assert "O_DIRECT" not in str(caught.value)


# --- aligned_buffer


@pytest.mark.parametrize("alignment", [1, 2, 8, 64, 512, 4096, 1 << 16, 1 << 21])
@pytest.mark.parametrize("nbytes", [0, 1, 511, 4096, 100_000])
def test_an_aligned_buffer(nbytes: int, alignment: int) -> None:
    buffer = aligned_buffer(nbytes, alignment)
    assert type(buffer) is memoryview
    assert (buffer.format, buffer.itemsize, buffer.ndim, buffer.readonly) == ("B", 1, 1, False)
    assert buffer.nbytes == nbytes
    assert buffer == bytes(nbytes)
    if nbytes:
        assert address_of(buffer) % alignment == 0


def test_memory_that_was_used_before_is_zero() -> None:
    for _ in range(20):
        buffer = aligned_buffer(5000)
        assert buffer == bytes(5000)
        buffer[:] = b"x" * 5000


def test_it_is_aligned_to_4096_by_default() -> None:
    buffers = [aligned_buffer(nbytes=100) for _ in range(20)]
    assert {address_of(buffer) % 4096 for buffer in buffers} == {0}
    assert len({address_of(buffer) for buffer in buffers}) == 20


def test_a_part_keeps_the_memory() -> None:
    part = aligned_buffer(1 << 20)[-10:]
    gc.collect()
    part[:] = b"0123456789"
    others = [aligned_buffer(1 << 20) for _ in range(5)]
    assert bytes(part) == b"0123456789"
    assert all(other == bytes(1 << 20) for other in others)


def test_memory_that_is_let_go_is_given_back() -> None:
    libc = ctypes.CDLL(None)
    size = 1 << 24

    def mapped() -> int:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")

    libc.malloc_trim(0)
    before = mapped()
    for _ in range(50):
        assert len(aligned_buffer(size)) == size
    assert mapped() < before + 30 * size  # AddressSanitizer keeps some for a while


@pytest.mark.parametrize("alignment", [0, -1, -4096, 3, 4095, 4097, 1 << 62, 1 << 70])
def test_what_is_no_alignment(alignment: int) -> None:
    with pytest.raises(ValueError, match=f"alignment must be .*{alignment}"):
        aligned_buffer(10, alignment)


def test_wrong_arguments() -> None:
    wrong: Any = aligned_buffer
    with pytest.raises(TypeError, match=r"aligned_buffer\(\) missing required argument 'nbytes'"):
        wrong()
    with pytest.raises(TypeError, match=r"aligned_buffer\(\) takes at most 2 arguments"):
        wrong(1, 2, 3)
    with pytest.raises(TypeError, match=r"aligned_buffer\(\) got an unexpected keyword"):
        wrong(1, nonsense=2)


def test_what_is_no_size() -> None:
    with pytest.raises(ValueError, match="nbytes"):
        aligned_buffer(-1)
    with pytest.raises(TypeError):
        aligned_buffer("1")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        aligned_buffer(1, 512.0)  # type: ignore[arg-type]
    has_64_bits = sys.maxsize > 1 << 32
    with pytest.raises(MemoryError if has_64_bits else ValueError):
        aligned_buffer((1 << 62) - 1)


@pytest.mark.parametrize(("nbytes", "offset"), [(1, 2**63 - 2), (2, 2**63 - 513), (0, 2**63 - 1)])
def test_the_end_of_all_offsets_is_past_the_end_of_the_file(
    nbytes: int, offset: int, tmp_path: Path
) -> None:
    """The aligned range around such a read would end beyond what the kernel can count."""
    reason = direct_reason(tmp_path)
    if reason is not None:
        pytest.skip(reason)
    path = tmp_path / "short"
    path.write_bytes(b"x" * 4096)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        with AIOContext(1) as context:
            operation = AIOOperation.read(nbytes, fd, offset)
            operation.submit(context)
            context.getevents()
            assert operation.get_result() == b""
    finally:
        os.close(fd)


@pytest.mark.parametrize("looked_at", [False, True])
@pytest.mark.parametrize("refusal", ["a number that is closed", "only for writing", "a folder"])
def test_a_result_that_nobody_looked_at_and_then_a_file_that_refuses(
    refusal: str, looked_at: bool, ctx: AIOContext, folder: Path
) -> None:
    path = folder / "file"
    with direct_file(path, DATA) as fd:
        file = Numbered(fd)
        op = AIOOperation.read(PAGE, file, 3)
        for _ in range(3):
            file.number = fd
            op.submit(ctx)
            wait_done(op)
            if looked_at:
                assert op.get_result() == DATA[3 : PAGE + 3]
            file.number = refusing_number(refusal, path)
            try:
                op.submit(ctx)
            except OSError:  # not taken: it is as it was before
                assert op.get_result() == DATA[3 : PAGE + 3]
            else:
                wait_done(op)
                assert op.payload is None
                with pytest.raises(OSError, match="read of 4096 bytes at offset 3"):
                    op.get_result()
            finally:
                if file.number >= 0:
                    os.close(file.number)
        file.number = fd
        assert perform(ctx, op) == DATA[3 : PAGE + 3]


def refusing_number(refusal: str, path: Path) -> int:
    if refusal == "a number that is closed":
        return -1
    if refusal == "only for writing":
        return os.open(path, os.O_WRONLY | os.O_DIRECT)
    return os.open(path.parent, os.O_RDONLY)


def test_large_aligned_memory_costs_nothing_until_it_is_used() -> None:
    before = resident_bytes()
    buffers = [aligned_buffer(1 << 30, alignment) for alignment in (1, 4096, 1 << 21)]
    assert resident_bytes() - before < 64 << 20
    for buffer in buffers:
        buffer[-1] = 1
        assert bytes(buffer[-2:]) == b"\0\1"
        assert not any(buffer[:PAGE])
    assert address_of(buffers[2]) % (1 << 21) == 0


@pytest.mark.parametrize("alignment", [1, 512, 4096, 1 << 16, 1 << 22])
@pytest.mark.parametrize("nbytes", [(128 << 10) - 1, 128 << 10, (128 << 10) + 1, 3 << 20])
def test_all_of_an_aligned_buffer_can_be_used(nbytes: int, alignment: int) -> None:
    for _ in range(3):  # memory that is given back is not anybody else's
        buffer = aligned_buffer(nbytes, alignment)
        assert address_of(buffer) % alignment == 0
        assert buffer.nbytes == nbytes
        assert not any(buffer)
        buffer[:] = b"x" * nbytes


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
