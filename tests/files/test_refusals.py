# SPDX-License-Identifier: Apache-2.0
"""Arguments that are none: refused as the twins in the standard library do, and nothing is lost."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import linux_aio
from linux_aio import AIOContext, bulk, fs
from support.loops import run

pytestmark = pytest.mark.engine_independent


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "file").write_bytes(bytes(100))
    number = os.open(tmp_path / "file", os.O_RDWR)
    yield number
    os.close(number)


CALLS: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "no offset": lambda fd: fs.posix_fallocate(fd, None, 5),  # type: ignore[arg-type]
    "no length": lambda fd: fs.posix_fallocate(fd, 0, None),  # type: ignore[arg-type]
    "a path": lambda _: fs.posix_fallocate("file", 0, 5),  # type: ignore[arg-type]
    "no count": lambda fd: fs.sendfile(fd, fd, 0, None),  # type: ignore[arg-type]
    "no source": lambda fd: fs.sendfile(fd, None, 0, 5),  # type: ignore[arg-type]
    "a float": lambda fd: fs.sendfile(fd, fd, 0, 1.5),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_numbers_that_are_none(fd: int, call: Callable[[Any], Awaitable[Any]]) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="integer"):
            await call(fd)

    run(main())
    assert os.fstat(fd).st_size == 100


def test_calls_of_a_file(fd: int, tmp_path: Path) -> None:
    class Number:
        def __index__(self) -> int:
            return fd

    async def main() -> None:
        number: Any = Number()
        file: Any = await linux_aio.open(number, "r+b", closefd=False)
        for call in (file.seek(0, None), file.peek(1.5)):
            with pytest.raises(TypeError):
                await call
        with pytest.raises(OSError, match="too large") as raised:
            await file.truncate(1 << 62)
        assert raised.value.filename is None
        strided = memoryview(bytearray(10))[::2]
        with pytest.raises(BufferError):
            await file.preadinto(strided, 0)
        with pytest.raises(BufferError):
            await linux_aio.write_bytes(tmp_path / "other", strided)
        await file.close()

    run(main())


@pytest.mark.parametrize("name", ["readinto", "readinto1", "preadinto"])
def test_memory_that_is_read_only(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")

    async def main() -> None:
        async with linux_aio.open(tmp_path / "file", "rb") as file:
            call: Any = getattr(file, name)
            arguments = (0,) if name == "preadinto" else ()
            for begin in (file.tell, file.peek, file.read):  # the buffer is empty, full, empty
                await begin()
                for memory in (b"four", b"", memoryview(b"four")):
                    with pytest.raises(TypeError, match=rf"^{name}\(\) argument must be"):
                        await call(memory, *arguments)

    run(main())


def test_what_has_no_disk_is_written_durably() -> None:
    assert run(linux_aio.write_bytes("/dev/null", b"data", durable=True)) == 4


@pytest.mark.parametrize("given", [False, None, 1.5])
def test_files_that_are_none(given: Any) -> None:
    with pytest.raises(TypeError, match="path, an int or an object"):
        bulk.checksum(given)


def test_what_a_file_object_holds_is_flushed(tmp_path: Path) -> None:
    with (tmp_path / "new").open("w+b") as file:
        file.write(b"buffered")
        into = bytearray(8)
        assert bulk.load_into(file, [(0, into)]).nbytes == 8
        assert into == b"buffered"
    with tempfile.NamedTemporaryFile() as named:
        named.write(b"buffered")
        assert bulk.checksum(named, "md5") == bulk.checksum(tmp_path / "new", "md5")


def test_what_a_file_of_ours_holds_is_not_passed_by(tmp_path: Path) -> None:
    path = tmp_path / "new"

    async def main() -> None:
        async with AIOContext() as context, linux_aio.open(path, "w+b") as file:
            await file.write(b"header\n")
            with pytest.raises(ValueError, match=r"not written yet: await flush"):
                await context.write(b"body\n", file, None)
            with pytest.raises(ValueError, match=r"not written yet: await flush"):
                await context.read(8, file)
            with pytest.raises(ValueError, match=r"not written yet: await flush"):
                bulk.checksum(file)
            await file.flush()
            assert await context.read(8, file, 0) == b"header\n"
            await file.seek(0)
            await file.read(2)
            with pytest.raises(ValueError, match=r"holds 5 bytes which it has read ahead"):
                await context.read(8, file)
            assert await context.read(8, file.fileno(), 0) == b"header\n"
            async with linux_aio.open(path) as text:
                with pytest.raises(ValueError, match="text mode"):
                    await context.read(8, text)
            async with linux_aio.open(path, "r+b", buffering=0) as plain:
                assert await context.read(8, plain, 0) == b"header\n"

    run(main())


def test_errors_of_copies_name_the_target(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    target = str(tmp_path / "no" / "such")
    with pytest.raises(FileNotFoundError) as raised:
        bulk.copy(tmp_path / "file", target)
    assert raised.value.filename == target


@pytest.mark.filterwarnings("ignore")
def test_a_temporary_folder_that_became_a_link(tmp_path: Path) -> None:
    async def main() -> None:
        async with fs.TemporaryDirectory(dir=tmp_path) as name:
            shutil.rmtree(name)
            os.symlink(tmp_path, name)

    with pytest.raises(OSError, match="symbolic link"):
        run(main())


@pytest.mark.needs_root
def test_a_checksum_of_the_kernel_s_log_is_cancelled() -> None:
    try:
        Path("/proc/kmsg").open("rb", buffering=0).close()
    except OSError:
        pytest.skip("the kernel's log is not to be read here")

    async def main() -> None:
        task = asyncio.ensure_future(bulk.achecksum("/proc/kmsg"))
        await asyncio.sleep(0.5)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=20)
        assert done

    run(main())
