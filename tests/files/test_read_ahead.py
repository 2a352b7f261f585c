# SPDX-License-Identifier: Apache-2.0
"""Read-ahead of files that are read in order: what is asked for, and that the bytes are right."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import linux_aio
from linux_aio import _read_ahead
from linux_aio._loop_context import loop_context
from support.forked import in_child
from support.fusefs import HoldingFS, fs_available, mounted
from support.loops import LOOP_FACTORIES, LoopFactory, run, until

KIB = 1024
MIB = 1024 * KIB


def pattern(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.fixture
def fuse(tmp_path: Path) -> Iterator[HoldingFS]:
    if reason := fs_available():
        pytest.skip(reason)
    with mounted(tmp_path, direct_io=True) as file_system:
        yield file_system


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = _read_ahead.budget.taken
    yield
    assert _read_ahead.budget.taken == before


def asked(fuse: HoldingFS) -> list[tuple[int, int]]:
    return [(entry.offset, entry.size) for entry in fuse.log() if entry.kind == "read"]


async def read_all(file: Any, size: int) -> bytes:
    pieces = []
    while data := await file.read(size):
        pieces.append(data)
    return b"".join(pieces)


def drop_cache(path: Path) -> None:
    fd = os.open(path, os.O_RDWR)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


@pytest.mark.parametrize("factory", LOOP_FACTORIES)
@pytest.mark.parametrize("direct", [False, True])
def test_all_sizes_of_reads(tmp_path: Path, factory: LoopFactory, direct: bool) -> None:
    data = pattern(7 * MIB + 12_345)
    path = tmp_path / "file"
    path.write_bytes(data)

    async def main() -> None:
        for size in (1000, 64 * KIB, 100_001, MIB, 3 * MIB, 16 * MIB):
            drop_cache(path)
            async with linux_aio.open(path, "rb", direct=direct) as file:
                assert await read_all(file, size) == data, size
                assert await file.tell() == len(data)
        drop_cache(path)
        async with linux_aio.open(path, "rb", direct=direct) as file:
            parts = []
            buffer = bytearray(128 * KIB)
            while count := await file.readinto(buffer):
                parts.append(bytes(buffer[:count]))
            assert b"".join(parts) == data

    run(main(), factory)


def test_trio(tmp_path: Path) -> None:
    trio = pytest.importorskip("trio")
    data = pattern(5 * MIB + 1)
    (tmp_path / "file").write_bytes(data)
    drop_cache(tmp_path / "file")

    async def main() -> None:
        async with linux_aio.open(tmp_path / "file", "rb") as file:
            assert await read_all(file, 256 * KIB) == data

    trio.run(main)


@pytest.mark.parametrize("direct", [False, True])
def test_a_mixture_of_calls_as_io(tmp_path: Path, direct: bool) -> None:
    data = pattern(6 * MIB).replace(b"\n", b"", 20_000)
    path = tmp_path / "file"
    path.write_bytes(data)
    drop_cache(path)
    chance = random.Random(17)

    async def main() -> None:
        theirs = io.BytesIO(data)
        async with linux_aio.open(path, "rb", direct=direct) as ours:
            for _ in range(400):
                call = chance.choice(["read"] * 4 + ["readline", "seek", "tell", "read1", "into"])
                size = chance.choice([1, 5000, 64 * KIB, 200_000, MIB])
                if call == "read":
                    assert await ours.read(size) == theirs.read(size)
                elif call == "readline":
                    assert await ours.readline() == theirs.readline()
                elif call == "seek":
                    place = chance.randrange(len(data))
                    assert await ours.seek(place) == theirs.seek(place)
                elif call == "read1":
                    got = await ours.read1(size)
                    assert 0 < len(got) <= size or theirs.tell() == len(data)
                    assert got == theirs.read(len(got))
                elif call == "into":
                    buffer = bytearray(128 * KIB)
                    count = await ours.readinto(buffer)
                    assert buffer[:count] == theirs.read(len(buffer))
                assert await ours.tell() == theirs.tell()

    run(main())


def test_more_is_in_flight_while_reads_wait(fuse: HoldingFS) -> None:
    data = pattern(8 * MIB)
    path = fuse.create("file", data)

    async def main() -> None:
        async with linux_aio.open(path, "rb") as file:
            assert await file.read(256 * KIB) == data[: 256 * KIB]
            first = sum(size for _, size in asked(fuse))
            assert first == 256 * KIB  # one read is no order yet
            fuse.hold()
            task = asyncio.create_task(read_all(file, 256 * KIB))
            await until(lambda: fuse.held() >= 2)
            fuse.unhold()
            assert data[: 256 * KIB] + await task == data
        requests = [request for request in asked(fuse) if request[0] < len(data)]
        assert max(offset + size for offset, size in requests) == len(data)
        assert sum(size for _, size in requests) == len(data)  # each byte once

    run(main())


def test_large_reads_are_left_to_the_kernel_where_the_disk_is_local(
    tmp_path: Path, fuse: HoldingFS
) -> None:
    data = pattern(6 * MIB)
    path = tmp_path / "file"
    path.write_bytes(data)
    of_server = fuse.create("file", data)

    async def main() -> None:
        fd = os.open(path, os.O_RDONLY)
        is_local = (await loop_context()._describe(fd))[-1]
        os.close(fd)
        if is_local:
            for size, most in ((256 * KIB, 2 * MIB), (512 * KIB, 0), (MIB, 0)):
                largest = 0
                drop_cache(path)
                async with linux_aio.open(path, "rb") as file:
                    while await file.read(size):
                        assert file._ahead is not None
                        largest = max(largest, sum(count for _, count, *_ in file._ahead.requests))
                assert largest <= most, size
        async with linux_aio.open(of_server, "rb") as file:
            assert await file.read(MIB) == data[:MIB]
            fuse.hold()
            task = asyncio.create_task(read_all(file, MIB))
            await until(lambda: any(offset >= 2 * MIB for offset, _ in asked(fuse)))
            fuse.unhold()
            assert data[:MIB] + await task == data

    run(main())


def test_the_largest_read_that_is_read_ahead(fuse: HoldingFS) -> None:
    data = pattern(4 * MIB)
    path = fuse.create("file", data)

    async def main() -> None:
        for size, more in ((256 * KIB, True), (256 * KIB + 1, False)):
            async with linux_aio.open(path, "rb") as file:
                assert file._ahead is not None
                file._ahead.largest_read = 256 * KIB
                got = await file.read(size)
                fuse.hold()
                task = asyncio.create_task(file.read(size))
                await until(lambda: fuse.held() >= 1)
                await asyncio.sleep(0.05)
                assert (len(file._ahead.requests) > 1) == more, size
                fuse.unhold()
                assert got + await task == data[: 2 * size]

    run(main())


def test_a_read_of_more_than_a_request_can_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No request asks for more, whichever way it goes."""
    monkeypatch.setattr("linux_aio._file.MOST_BYTES", MIB)
    asked_for = []
    read = _read_ahead.ReadAhead.read

    async def note(self: _read_ahead.ReadAhead, offset: int, size: int) -> bytes:
        asked_for.append(size)
        return await read(self, offset, size)

    monkeypatch.setattr(_read_ahead.ReadAhead, "read", note)
    data = pattern(5 * MIB)
    path = tmp_path / "file"
    path.write_bytes(data)

    async def main() -> None:
        for direct in (False, True):
            drop_cache(path)
            async with linux_aio.open(path, "rb", direct=direct) as file:
                assert await file.read(3 * MIB) == data[: 3 * MIB]
                assert await file.read() == data[3 * MIB :]

    run(main())
    assert asked_for
    assert max(asked_for) <= MIB


def test_nothing_ahead_of_a_small_file_nor_of_reads_here_and_there(fuse: HoldingFS) -> None:
    data = pattern(8 * MIB)
    small = fuse.create("small", data[: 100 * KIB])
    large = fuse.create("large", data)

    async def main() -> None:
        async with linux_aio.open(small, "rb") as file:
            assert await read_all(file, 4 * KIB) == data[: 100 * KIB]
        # each byte once, and then the end
        offsets = [offset for offset, _ in asked(fuse)]
        assert offsets in ([0, 64 * KIB], [0, 64 * KIB, 100 * KIB])
        before = len(asked(fuse))
        async with linux_aio.open(large, "rb") as file:
            for place in (7, 3, 5, 1, 6):
                await file.seek(place * MIB)
                assert await file.read(64 * KIB) == data[place * MIB :][: 64 * KIB]
        assert sum(size for _, size in asked(fuse)[before:]) == 5 * 64 * KIB

    run(main())


@pytest.mark.engine("auto", "uring", "threads")  # kernel AIO may have read all when it returns
def test_a_seek_drops_the_window(fuse: HoldingFS) -> None:
    data = pattern(8 * MIB)
    path = fuse.create("file", data)

    async def main() -> None:
        async with linux_aio.open(path, "rb") as file:
            while file._ahead is None or not file._ahead.requests:
                assert await file.read(128 * KIB)
            await file.seek(1000)
            assert not file._ahead.requests
            assert await file.read(10) == data[1000:1010]

    run(main())


def test_an_error_is_raised_where_it_is(fuse: HoldingFS) -> None:
    data = pattern(2 * MIB)
    path = fuse.create("file", data)

    async def main() -> None:
        async with linux_aio.open(path, "rb") as file:
            got = await file.read(128 * KIB)
            got += await file.read(128 * KIB)
            fuse.fail(errno.EIO, kinds=["read"])
            failures = 0
            for _ in range(20):
                try:
                    got += await file.read(128 * KIB)
                except OSError:
                    failures += 1
                    if failures == 3:
                        fuse.reset()
            assert failures == 3
            assert got + await file.read() == data

    run(main())


def test_a_cancelled_read_moves_nothing(fuse: HoldingFS) -> None:
    data = pattern(4 * MIB)
    path = fuse.create("file", data)

    async def main() -> None:
        chance = random.Random(3)
        async with linux_aio.open(path, "rb") as file:
            got = b""
            fuse.delay(0.002)
            while len(got) < len(data):
                task = asyncio.create_task(file.read(128 * KIB))
                await asyncio.sleep(chance.random() * 0.004)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    got += await task
                assert await file.tell() == len(got)
            assert got == data

    run(main())


def test_a_file_that_is_cut_and_extended_meanwhile(tmp_path: Path) -> None:
    data = pattern(6 * MIB)
    path = tmp_path / "file"
    path.write_bytes(data)
    drop_cache(path)

    async def main() -> None:
        async with linux_aio.open(path, "rb") as file:
            got = [await file.read(MIB) for _ in range(2)]
            os.truncate(path, 3 * MIB)
            while piece := await file.read(MIB):
                got.append(piece)
            read = b"".join(got)
            assert data.startswith(read)
            with path.open("ab") as writer:
                writer.write(b"more" * 1000)
            os.truncate(path, len(read))
            with path.open("ab") as writer:
                writer.write(b"more" * 1000)
            assert await file.read() == b"more" * 1000

    run(main())


def test_own_writes_are_read(tmp_path: Path) -> None:
    data = pattern(6 * MIB)
    path = tmp_path / "file"
    path.write_bytes(data)

    async def main() -> None:
        for direct in (False, True):
            drop_cache(path)
            async with linux_aio.open(path, "r+b", direct=direct) as file:
                expected = bytearray(path.read_bytes())
                drop_cache(path)
                for number in range(3):
                    await file.read(256 * KIB)
                    await file.pwrite(b"%d" % number * 1000, (number + 1) * MIB)
                    expected[(number + 1) * MIB :][:1000] = b""
                    expected[(number + 1) * MIB : (number + 1) * MIB + 1000] = b"%d" % number * 1000
                rest = await file.read()
                assert rest == expected[3 * 256 * KIB :]

    run(main())


def test_a_thousand_readers(tmp_path: Path) -> None:
    data = pattern(MIB + 4096)
    path = tmp_path / "file"
    path.write_bytes(data)
    drop_cache(path)

    async def read() -> None:
        async with linux_aio.open(path, "rb", direct=True) as file:
            most = 0
            for offset in range(0, len(data), 128 * KIB):
                assert await file.read(128 * KIB) == data[offset : offset + 128 * KIB]
                most = max(most, _read_ahead.budget.taken)
            assert most <= _read_ahead.MOST_OF_PROCESS

    async def main() -> None:
        await asyncio.gather(*(read() for _ in range(1000)))

    run(main())


@pytest.mark.engine("auto", "uring", "threads")  # kernel AIO may have read all when it returns
def test_a_dropped_file_gives_its_budget_back(fuse: HoldingFS) -> None:
    path = fuse.create("file", pattern(4 * MIB))
    fuse.delay(0.02)  # else the kernel's own reading ahead may be faster

    async def main() -> None:
        file = await linux_aio.open(path, "rb")
        for _ in range(24):
            await file.read(128 * KIB)
            if _read_ahead.budget.taken:
                break
        assert _read_ahead.budget.taken
        with pytest.warns(ResourceWarning):
            del file
        assert not _read_ahead.budget.taken

    run(main())


def test_a_child_reads_ahead_though_a_thread_was_counting() -> None:
    """That thread has the lock, and does not exist in the child."""

    def take() -> None:
        assert _read_ahead.budget.take(1)
        _read_ahead.budget.give_back(1)

    with _read_ahead.budget._lock:
        in_child(take)
