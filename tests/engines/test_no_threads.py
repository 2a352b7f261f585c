# SPDX-License-Identifier: Apache-2.0
"""Where no thread can be started, the work is done all the same, or an error says why not."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import resource
import select
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import linux_aio
import linux_aio.fs
from linux_aio import AIOContext, AIOOperation
from linux_aio.bulk import load_into
from support.forked import in_child
from support.operations import perform
from support.seccomp import refuse

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.engine("threads", "uring", "auto")

LARGE = 1 << 20
# A user who has no other processes, nor have tests that run at the same time.
NOBODY_ELSE = 1_000_000 + os.getpid()


def test_no_thread_at_all() -> None:
    def attempt() -> tuple[int | None, str]:
        refuse(["clone", "clone3"], errno.EAGAIN)
        with AIOContext() as context:
            try:
                perform(context, AIOOperation.write(bytes(LARGE), os.memfd_create("data")))
            except OSError as error:
                return error.errno, str(error)
        return None, ""

    number, text = in_child(attempt)
    assert number == errno.EUSERS
    assert "no thread can be started" in text


@pytest.mark.needs_root
@pytest.mark.parametrize("threads", [2, 3])
def test_no_thread_but_one(threads: int) -> None:
    """The process may have the first of ours, and maybe one more."""

    def use() -> bool:
        with tempfile.TemporaryFile() as file:
            fd = file.fileno()
            resource.setrlimit(resource.RLIMIT_NPROC, (threads, threads))
            os.setresuid(NOBODY_ELSE, NOBODY_ELSE, NOBODY_ELSE)
            data = os.urandom(LARGE)
            with AIOContext(64) as context:
                for _ in range(3):
                    assert perform(context, AIOOperation.write(data, fd)) == LARGE
                    assert perform(context, AIOOperation.read(LARGE, fd)) == data
                    assert perform(context, AIOOperation.fsync(fd)) is None
                many = [AIOOperation.fdsync(fd) for _ in range(40)]
                context.submit(*many)
                assert len(context.getevents(len(many))) == len(many)
                assert all(operation.get_result() is None for operation in many)
        return True

    assert in_child(use)


@pytest.mark.needs_root
@pytest.mark.parametrize("threads", [2, 3])
def test_paths_with_no_thread_but_one(threads: int) -> None:
    async def work_in(folder: Path) -> bytes:
        file, fifo = folder / "file", folder / "fifo"
        assert await linux_aio.write_bytes(file, b"data") == 4
        await linux_aio.fs.rename(file, folder / "renamed")
        assert await linux_aio.fs.listdir(folder) == ["renamed"]
        os.mkfifo(fifo)
        opening = asyncio.create_task(open_fifo(fifo))
        await asyncio.sleep(0.1)  # it most likely waits for the other side by then
        writer = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        os.write(writer, b"piped")
        file = await opening
        assert await file.read(5) == b"piped"
        with contextlib.suppress(OSError):  # only a thread may close it, for that may wait
            await file.close()
        os.close(writer)
        return await linux_aio.read_bytes(folder / "renamed")

    async def open_fifo(fifo: Path) -> Any:
        return await linux_aio.open(fifo, "rb", buffering=0)

    def use() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o777)
            resource.setrlimit(resource.RLIMIT_NPROC, (threads, threads))
            os.setresuid(NOBODY_ELSE + 1, NOBODY_ELSE + 1, 0)
            try:
                return asyncio.run(asyncio.wait_for(work_in(Path(folder)), 60))
            finally:
                os.setresuid(0, 0, 0)

    assert in_child(use) == b"data"


@pytest.mark.engine("auto", "aio", "uring", "threads")
def test_no_thread_with_the_rights_of_the_caller() -> None:
    """Threads with other rights, which there may be by then, do nothing for it."""

    async def make(path: str) -> int | None:
        try:
            await asyncio.wait_for(linux_aio.fs.mkdir(path), 20)
        except OSError as error:
            return error.errno
        return None

    # Both have other rights than our threads, and each has them alone.
    def make_without_privileges() -> int | None:
        assert ctypes.CDLL(None).prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS, of this thread
        return asyncio.run(make("/proc/no folder"))

    def make_without_threads() -> int | None:
        refuse(["clone", "clone3"], errno.EAGAIN)
        return asyncio.run(make("/proc/no folder"))

    def attempt() -> list[int | None]:
        async def both() -> list[int | None]:
            await make("/proc/no folder")
            loop = asyncio.get_running_loop()
            with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
                return [
                    await loop.run_in_executor(first, make_without_privileges),
                    await loop.run_in_executor(second, make_without_threads),
                ]

        return asyncio.run(both())

    assert in_child(attempt) == [errno.ENOENT, errno.EUSERS]


@pytest.mark.engine("auto", "aio", "uring", "threads")
def test_no_thread_is_no_answer_about_a_path() -> None:
    """A file that can't be looked for is not said to be missing."""
    fs = linux_aio.fs
    path = "/proc/self/status"

    async def walk() -> list[Any]:
        return [found async for found in fs.walk("/proc/self/task", onerror=lambda _: None)]

    async def numbers() -> list[int | None]:
        found: list[int | None] = []
        questions = (fs.exists, fs.lexists, fs.isfile, fs.isdir, fs.islink, fs.ismount)
        calls: list[Callable[[], Any]] = [partial(question, path) for question in questions]
        for start in [*calls, walk, copy, move]:
            try:
                await start()
            except OSError as error:
                found.append(error.errno)
            else:
                found.append(None)
        return found

    async def copy() -> None:
        await fs.copyfile(path, path)

    async def move() -> None:
        await fs.move(path, "/proc/self/task")

    def attempt() -> list[int | None]:
        refuse(["clone", "clone3"], errno.EAGAIN)
        return asyncio.run(numbers())

    assert in_child(attempt) == [errno.EUSERS] * 9


@pytest.mark.needs_root  # for whom the limit counts for the kernel's threads only
@pytest.mark.engine("auto")
def test_a_limit_that_leaves_the_kernel_no_threads(tmp_path: Path) -> None:
    """io_uring would let a read or poll of a file in /proc wait for ever."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(LARGE))

    def use() -> tuple[int, int, bytes]:
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        fd = os.open("/proc/self/maps", os.O_RDONLY)
        with AIOContext(engine="auto") as context:
            read = perform(context, AIOOperation.read(4096, fd))
            events = perform(context, AIOOperation.poll(fd, select.POLLIN))
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        buffer = bytearray(1000)
        load_into(path, [(LARGE // 2, buffer)], direct=False)
        with pytest.raises(OSError, match="ulimit -u"):
            AIOContext(engine="uring")
        return len(read), events & select.POLLIN, bytes(buffer)

    length, events, data = in_child(use)
    assert length > 0
    assert events == select.POLLIN
    assert data == path.read_bytes()[LARGE // 2 :][:1000]
