# SPDX-License-Identifier: Apache-2.0
"""Files opened with direct=True: any offset and size, on each file system."""

from __future__ import annotations

import errno
import fcntl
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import linux_aio
from support import mounts
from support.direct import direct_reason
from support.loops import run
from support.open_files import settle_below
from support.page_cache import cached_pages

PAGE = os.sysconf("SC_PAGESIZE")


@pytest.fixture(scope="module", params=["here", "ext4", "xfs", "btrfs", "tmpfs"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Path]:
    """A folder on each file system that direct I/O works on."""
    path: Path = tmp_path_factory.mktemp("direct")
    kind = request.param
    if kind in mounts.SMALLEST_MIB:
        reason = mounts.loop_mount_reason(kind)
        if reason is not None:
            pytest.skip(reason)
        with mounts.loop_mount(path, kind, mounts.SMALLEST_MIB[kind]) as mounted:
            yield Path(mounted or path)
        return
    if kind == "tmpfs":
        reason = mounts.tmpfs_mount_reason()
        if reason is not None:
            pytest.skip(reason)
        with mounts.tmpfs_mount(path, 16 << 20) as mounted:
            reason = direct_reason(Path(mounted or path))
            if reason is not None:
                pytest.skip(reason)
            yield Path(mounted or path)
        return
    reason = direct_reason(path)
    if reason is not None:
        pytest.skip(reason)
    yield path


def cached_pages_are_right(path: Path, expected: bytes) -> None:
    assert path.read_bytes() == expected


def test_reads_of_any_size_and_offset(folder: Path) -> None:
    chance = random.Random(1)
    data = chance.randbytes(5 * PAGE + 777)
    path = folder / "read"
    path.write_bytes(data)

    async def main() -> None:
        async with linux_aio.open(path, "rb", direct=True) as file:
            assert file.direct
            assert fcntl.fcntl(file.fileno(), fcntl.F_GETFL) & os.O_DIRECT
            assert await file.read() == data
            for _ in range(60):
                offset = chance.randrange(len(data) + 100)
                size = chance.randrange(3 * PAGE)
                expected = data[offset : offset + size]
                assert await file.pread(size, offset) == expected
                assert await file.seek(offset) == offset
                assert await file.read(size) == expected
                buffer = bytearray(size)
                count = await file.preadinto(buffer, offset)
                assert bytes(buffer[:count]) == expected
                aligned = linux_aio.aligned_buffer(size)
                await file.seek(offset)
                assert aligned[: await file.readinto(aligned)] == expected
            await file.seek(0)
            assert [line async for line in file] == data.splitlines(keepends=True) or b"\r" in data

    run(main())


@pytest.mark.parametrize("buffering", [-1, 0, 1000])
def test_random_writes(folder: Path, buffering: int) -> None:
    """What was written is there, and what is beside it is as it was."""
    chance = random.Random(buffering)
    path = folder / "written"

    async def main() -> None:
        expected = bytearray(chance.randbytes(4 * PAGE + 13))
        path.write_bytes(expected)
        async with linux_aio.open(path, "r+b", buffering, direct=True) as file:
            for _ in range(60):
                offset = chance.randrange(len(expected) + 1)
                data = chance.randbytes(chance.choice([1, 100, PAGE, 2 * PAGE, 3 * PAGE + 5]))
                offset = chance.choice([offset, offset - offset % PAGE])
                if chance.random() < 0.3:
                    assert await file.pwrite(data, offset) == len(data)
                else:
                    await file.seek(offset)
                    assert await file.write(data) == len(data)
                    if chance.random() < 0.5:
                        more = chance.randbytes(chance.randrange(2 * PAGE))
                        await file.write(bytearray(more))
                        data += more
                expected[offset : offset + len(data)] = data
                if chance.random() < 0.3:
                    await file.flush()
                    cached_pages_are_right(path, bytes(expected))
                if chance.random() < 0.3:
                    await file.seek(0)
                    assert await file.read() == expected
                if chance.random() < 0.1:
                    size = chance.randrange(len(expected))
                    await file.truncate(size)
                    del expected[size:]
        cached_pages_are_right(path, bytes(expected))

    run(main())


@pytest.mark.parametrize("nbytes", [0, 1, PAGE - 1, PAGE, 3_000_001])
def test_a_new_file(folder: Path, nbytes: int) -> None:
    data = random.Random(nbytes).randbytes(nbytes)
    path = folder / "new"

    async def main() -> None:
        async with linux_aio.open(path, "wb", direct=True) as file:
            done = 0
            while done < nbytes:
                done += await file.write(data[done : done + 70_001])
            await file.fsync()
            assert os.stat(path).st_size == nbytes
        async with linux_aio.open(path, "rb", direct=True) as file:
            assert await file.read() == data

    run(main())
    assert path.read_bytes() == data


def test_text(folder: Path) -> None:
    path = folder / "text"
    lines = [f"{number} ä€\n" for number in range(3000)]

    async def main() -> None:
        async with linux_aio.open(path, "w", encoding="utf-8", direct=True) as file:
            assert file.direct
            await file.writelines(lines)
        async with linux_aio.open(path, encoding="utf-8", direct=True) as file:
            assert [line async for line in file] == lines

    run(main())


def test_only_parts_of_pages_are_cached(tmp_path: Path) -> None:
    """Whole pages go past the page cache: mincore() of a new file finds none of them."""
    reason = direct_reason(tmp_path)
    if reason is not None:
        pytest.skip(reason)
    path = tmp_path / "file"

    async def main() -> None:
        async with linux_aio.open(path, "wb", direct=True) as file:
            await file.write(b"x" * (100 * PAGE + 10))

    run(main())
    with path.open("r+b") as file:
        assert set(cached_pages(file.fileno())) <= {100}


def test_descriptors_that_the_program_opened(folder: Path) -> None:
    path = folder / "given"
    data = os.urandom(2 * PAGE + 9)
    path.write_bytes(data)

    async def main() -> None:
        for flags in (0, os.O_DIRECT):
            fd = os.open(path, os.O_RDWR | flags)
            async with linux_aio.open(fd, "r+b", closefd=False, direct=True) as file:
                assert file.direct
                assert await file.read(5) == data[:5]
                await file.seek(1)
                await file.write(data[1:])
            await settle_below(folder, 1)
            os.fstat(fd)
            os.close(fd)

    run(main())
    assert path.read_bytes() == data


def test_no_descriptor_is_left(folder: Path) -> None:
    path = folder / "counted"

    async def main() -> None:
        for _ in range(10):
            async with linux_aio.open(path, "wb", direct=True) as file:
                await file.write(b"x" * (PAGE + 1))
        await settle_below(folder)

    run(main())


def test_refusals(tmp_path: Path) -> None:
    async def main() -> None:
        for mode in ("a", "ab", "a+b"):
            with pytest.raises(ValueError, match="append"):
                linux_aio.open(tmp_path / "file", mode, direct=True)
        os.mkfifo(tmp_path / "fifo")
        fd = os.open(tmp_path / "fifo", os.O_RDWR)
        with pytest.raises(OSError, match="Direct") as caught:
            await linux_aio.open(fd, "rb", closefd=False, direct=True)
        assert caught.value.errno == errno.EINVAL
        with pytest.raises(OSError, match="status") as caught:
            await linux_aio.open("/proc/self/status", "rb", direct=True)
        assert caught.value.errno == errno.EINVAL
        os.close(fd)
        await settle_below(tmp_path)

    run(main())


def test_not_direct_unless_asked(tmp_path: Path) -> None:
    async def main() -> None:
        async with linux_aio.open(tmp_path / "file", "wb") as file:
            assert not file.direct

    run(main())
