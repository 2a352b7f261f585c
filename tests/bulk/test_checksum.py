# SPDX-License-Identifier: Apache-2.0
"""checksum and achecksum beside hashlib; read_many beside the bytes themselves."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import random
import threading
import time
from pathlib import Path
from typing import Literal

import pytest

from linux_aio.bulk import ShortFileError, achecksum, checksum, checksum_from, read_many
from support.any_loop import AnyLoop
from support.forked import in_child
from support.loops import LOOP_FACTORIES, LoopFactory, run
from support.stalls import beats
from support.workers import finish, start

pytest_plugins = ["support.fixtures"]

SIZE = 5_234_567
DATA = random.Random(2).randbytes(SIZE)


@pytest.fixture(name="path")
def file_with_data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    with path.open("rb") as file:
        os.fsync(file)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return path


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 65535, 65536, 65537, 1 << 20, SIZE])
@pytest.mark.parametrize("direct", ["auto", False])
def test_digests(size: int, direct: Literal["auto"] | bool, path: Path) -> None:
    os.truncate(path, size)
    for algorithm in ("sha256", "md5", "blake2b"):
        expected = hashlib.new(algorithm, DATA[:size]).hexdigest()
        assert checksum(path, algorithm, direct=direct) == expected
        assert checksum(path, algorithm, direct=direct, chunk=65536, depth=2) == expected


@pytest.mark.parametrize("direct", ["auto", True, False])
@pytest.mark.parametrize("start", [1, 4096, 1_000_001, SIZE - 1, SIZE, SIZE + 1])
def test_from_an_offset_on(start: int, direct: Literal["auto"] | bool, path: Path) -> None:
    calls: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        calls.append((done, total))

    found = checksum_from(start, path, "md5", direct=direct, progress=progress)
    assert found == hashlib.md5(DATA[start:]).hexdigest()
    assert calls[-1] == (len(DATA[start:]), len(DATA[start:]))


def test_files_without_a_size(tmp_path: Path) -> None:
    expected = hashlib.sha256(Path("/proc/version").read_bytes()).hexdigest()
    assert checksum("/proc/version") == expected
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = start(fifo.write_bytes, DATA)
    with fifo.open("rb") as file:
        assert checksum(file) == hashlib.sha256(DATA).hexdigest()
    finish(writer)


def test_wrong_arguments(path: Path) -> None:
    with pytest.raises(ValueError, match="nonsense"):
        checksum(path, "nonsense")
    with pytest.raises(ValueError, match="fixed size"):
        checksum(path, "shake_128")
    with pytest.raises(FileNotFoundError):
        checksum(path.parent / "missing")


def test_progress_that_raises_ends_the_threads(path: Path) -> None:
    class Enough(Exception):  # noqa: N818
        pass

    def stop(done: int, total: int) -> None:
        raise Enough

    with pytest.raises(Enough):
        checksum(path, progress=stop)
    assert not [thread for thread in threading.enumerate() if "linux_aio" in thread.name]


@pytest.mark.parametrize("factory", LOOP_FACTORIES)
def test_awaited(path: Path, factory: LoopFactory) -> None:
    async def main() -> None:
        expected = hashlib.sha256(DATA).hexdigest()
        assert await asyncio.gather(*(achecksum(path) for _ in range(3))) == [expected] * 3

    run(main(), factory)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(("max_gap", "max_merge"), [(0, 0), (16384, 1 << 20), (SIZE, SIZE)])
def test_ranges(ordered: bool, max_gap: int, max_merge: int, path: Path) -> None:
    dice = random.Random(3)
    ranges = []
    for _ in range(3000):
        length = dice.choice((0, 1, 100, 4096, 4097, 20_000))
        ranges.append((dice.randrange(SIZE - length), length))

    async def main() -> None:
        seen = []
        async for index, data in read_many(
            path, ranges, max_gap=max_gap, max_merge=max_merge, ordered=ordered, memory=1 << 20
        ):
            offset, length = ranges[index]
            assert data == DATA[offset : offset + length]
            seen.append(index)
        assert (seen if ordered else sorted(seen)) == list(range(len(ranges)))

    run(main())


def test_ranges_beyond_the_end(path: Path) -> None:
    async def main() -> None:
        seen: list[int] = []

        async def read(*ranges: tuple[int, int]) -> None:
            async for index, _ in read_many(path, ranges, max_gap=0):
                seen.append(index)

        with pytest.raises(ShortFileError):
            await read((0, 10), (SIZE - 5, 10))
        assert seen == [0]
        with pytest.raises(ValueError, match="negative"):
            await read((-1, 10))

    run(main())


def test_ranges_that_are_given_up(path: Path) -> None:
    async def main() -> None:
        ranges = [(i * 4096, 4096) for i in range(1000)]
        reading = read_many(path, ranges, memory=100_000)
        async for index, _ in reading:
            if index > 10:
                break
        await reading.aclose()
        for thread in threading.enumerate():
            if "linux_aio" in thread.name:
                thread.join(10)
                assert not thread.is_alive()

    run(main())


@pytest.mark.parametrize("ordered", [True, False])
def test_others_run_between_ranges_that_came_together(
    ordered: bool, any_loop: AnyLoop, path: Path
) -> None:
    turns: list[int] = []
    count = 0

    async def read() -> None:
        async for _ in read_many(path, [(i * 20, 16) for i in range(1000)], ordered=ordered):
            turns.append(count)
            end = time.monotonic() + 50e-6
            while time.monotonic() < end:
                pass

    async def main() -> None:
        nonlocal count
        async with any_loop.group() as group:
            group.start(read)
            while len(turns) < 1000:
                await any_loop.sleep(0)
                count += 1

    any_loop.run(main)
    assert turns[-1] - turns[0] >= 10


def test_many_ranges_that_came_together_do_not_stop_the_loop(path: Path) -> None:
    """Neither those that were taken nor those that wait are looked through again and again."""
    count = 60_000

    async def read() -> int:
        ranges = [(i * 20, 16) for i in range(count)]
        return len([index async for index, _ in read_many(path, ranges)])

    assert run(beats(read(), 1)) == count


def test_a_fifo_that_nobody_writes_to_yet(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    digest = start(lambda: checksum(tmp_path / "fifo"))
    time.sleep(0.1)
    (tmp_path / "fifo").write_bytes(b"data")
    assert finish(digest) == [hashlib.sha256(b"data").hexdigest()]


def test_direct_io_of_a_pipe_is_refused(tmp_path: Path) -> None:
    """It is not opened again, which would wait for a writer."""
    os.mkfifo(tmp_path / "fifo")
    reader, writer = os.pipe()
    os.write(writer, b"data")
    os.close(writer)

    def errors() -> list[tuple[int | None, object]]:
        found: list[tuple[int | None, object]] = []
        for file in (tmp_path / "fifo", reader):
            with pytest.raises(OSError, match="Invalid") as refused:
                checksum(file, direct=True)
            found.append((refused.value.errno, refused.value.filename))
        return found

    fifo = str(tmp_path / "fifo")
    assert in_child(errors) == [(errno.EINVAL, fifo), (errno.EINVAL, f"fd {reader}")]
    assert checksum(reader) == hashlib.sha256(b"data").hexdigest()
    os.close(reader)
