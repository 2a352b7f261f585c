# SPDX-License-Identifier: Apache-2.0
"""The private operations on paths, on which linux_aio.fs and linux_aio.open are built."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from typing import TYPE_CHECKING, Any

import pytest

from linux_aio import AIOContext, _core

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def run(use: Callable[[Any], Any]) -> Any:
    async def main() -> Any:
        async with AIOContext() as context:
            return await use(context)

    return asyncio.run(main())


def numbers() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def is_open(fd: int, path: Path) -> bool:
    """Whether the number still names the file: a thread of another test may take a free number."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        return False


def test_opens_reads_and_closes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"text")

    async def use(context: Any) -> None:
        for _ in range(3):  # first by a worker, then at once
            fd = await context._open(path, os.O_RDONLY)
            assert os.read(fd, 10) == b"text"
            assert not os.get_inheritable(fd)
            await context._close(fd)
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(fd)

    run(use)


def test_open_creates_with_mode_and_umask(tmp_path: Path) -> None:
    async def use(context: Any) -> None:
        fd = await context._open(tmp_path / "new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        assert os.write(fd, b"abc") == 3
        await context._close(fd)
        with pytest.raises(FileExistsError) as caught:
            await context._open(tmp_path / "new", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        assert caught.value.filename == str(tmp_path / "new")

    before = os.umask(0o027)
    try:
        run(use)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


def test_open_relative_to_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    directory = os.open(tmp_path, os.O_RDONLY)

    async def use(context: Any) -> None:
        for flags in (os.O_RDONLY, os.O_RDWR):
            fd = await context._open("file", flags, 0, directory)
            assert os.fstat(fd).st_size == 1
            await context._close(fd)

    try:
        run(use)
    finally:
        os.close(directory)


@pytest.mark.parametrize("name", ["missing", "file/below", "x" * 300, "loop"])
def test_errors_are_those_of_os(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    path = str(tmp_path / name)

    async def use(context: Any) -> None:
        pairs: list[tuple[Callable[[], Any], Callable[[], object]]] = [
            (lambda: context._open(path, os.O_RDONLY), lambda: os.open(path, os.O_RDONLY)),
            (lambda: context._stat(path), lambda: os.stat(path)),
            (lambda: context._listdir(path), lambda: os.listdir(path)),
        ]
        for operation, twin in pairs:
            for _ in range(2):
                with pytest.raises(OSError) as ours:  # noqa: PT011
                    await operation()
                with pytest.raises(OSError) as theirs:  # noqa: PT011
                    twin()
                assert repr(ours.value) == repr(theirs.value)
                assert ours.value.filename == theirs.value.filename

    run(use)


def test_stat_is_os_stat(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    os.utime(tmp_path / "file", ns=(123456789012345678, 987654321987654321))
    (tmp_path / "link").symlink_to("file")

    async def use(context: Any) -> None:
        for path in (tmp_path, tmp_path / "file", os.fsencode(tmp_path / "link"), "/dev/null"):
            for follows in (True, False):
                for _ in range(2):
                    ours = await context._stat(path, None, follows)
                    theirs = os.stat(path, follow_symlinks=follows)
                    assert type(ours) is os.stat_result
                    names = [name for name in dir(theirs) if name.startswith("st_")]
                    for name in names:
                        assert getattr(ours, name) == getattr(theirs, name), name
                    assert ours == theirs

    run(use)


def test_a_cancelled_open_of_a_fifo_leaves_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    async def use(context: Any) -> None:
        fd = await context._open(tmp_path, os.O_RDONLY)  # the threads are there
        await context._close(fd)
        before = numbers()
        for flags in (os.O_RDONLY, os.O_WRONLY):
            tasks = [
                asyncio.ensure_future(context._open(tmp_path / "fifo", flags)) for _ in range(60)
            ]
            await asyncio.sleep(0.02)
            assert not any(task.done() for task in tasks)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(result, asyncio.CancelledError) for result in results)
            while context.in_flight:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert numbers() == before

    run(use)


def test_a_fifo_opens_when_its_other_side_comes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    async def use(context: Any) -> None:
        for first, second in ((os.O_RDONLY, os.O_WRONLY), (os.O_WRONLY, os.O_RDONLY)):
            task = asyncio.ensure_future(context._open(tmp_path / "fifo", first))
            await asyncio.sleep(0.01)
            assert not task.done()
            other = await context._open(tmp_path / "fifo", second)
            fd = await task
            reader, writer = (fd, other) if first == os.O_RDONLY else (other, fd)
            assert os.get_blocking(reader)
            assert os.get_blocking(writer)
            os.write(writer, b"through")
            assert os.read(reader, 10) == b"through"
            os.close(reader)
            os.close(writer)

    run(use)


def test_closing_a_context_ends_opens_of_fifos(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    async def use(context: Any) -> None:
        task = asyncio.ensure_future(context._open(tmp_path / "fifo", os.O_RDONLY))
        await asyncio.sleep(0.01)
        await context.aclose()
        with pytest.raises(OSError, match="cancel"):
            await task

    run(use)


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
def test_closing_ends_opens_of_fifos_that_no_thread_has_begun(tmp_path: Path, turns: int) -> None:
    os.mkfifo(tmp_path / "fifo")

    async def main() -> None:
        for _ in range(20):
            context: Any = AIOContext()
            task = asyncio.ensure_future(context._open(tmp_path / "fifo", os.O_RDONLY))
            for _ in range(turns):
                await asyncio.sleep(0)
            await context.aclose()
            with pytest.raises((OSError, ValueError), match=r"cancel|closed"):
                await task

    asyncio.run(main())


@pytest.mark.parametrize("gap", [0, 0.004])
def test_a_fifo_is_opened_though_other_requests_keep_coming(tmp_path: Path, gap: float) -> None:
    os.mkfifo(tmp_path / "fifo")

    async def write(context: AIOContext, fd: int) -> None:
        while True:
            await context.write(b"x" * 100, fd, 0)
            await asyncio.sleep(gap)

    async def use(context: Any) -> None:
        opening = asyncio.ensure_future(context._open(tmp_path / "fifo", os.O_RDONLY))
        await asyncio.sleep(0.15)  # by now its thread looks each 16 ms
        fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
        writing = asyncio.ensure_future(write(context, fd))
        await asyncio.sleep(0.05)
        writer = os.open(tmp_path / "fifo", os.O_WRONLY | os.O_NONBLOCK)
        os.close(await asyncio.wait_for(opening, 20))
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        os.close(writer)
        os.close(fd)

    run(use)


def test_opens_cancelled_at_random_leave_nothing(tmp_path: Path) -> None:
    paths = [tmp_path / str(i) for i in range(20)]
    for path in paths:
        path.touch()

    async def one(context: Any, i: int) -> None:
        flags = os.O_RDWR if i % 2 else os.O_RDONLY
        fd = await context._open(paths[i % 20], flags)
        await context._close(fd)

    async def use(context: Any) -> None:
        await one(context, 1)
        before = numbers()
        for round_number in range(30):
            tasks = [asyncio.ensure_future(one(context, i)) for i in range(40)]
            for _ in range(round_number % 5):
                await asyncio.sleep(0)
            for task in tasks[::3]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(500):
            if numbers() == before:
                break
            await asyncio.sleep(0.01)
        assert numbers() == before

    run(use)


def test_a_cancelled_close_closes(tmp_path: Path) -> None:
    async def use(context: Any) -> None:
        fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
        task = asyncio.ensure_future(context._close(fd))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for _ in range(500):
            if not is_open(fd, tmp_path / "file"):
                break
            await asyncio.sleep(0.01)
        assert not is_open(fd, tmp_path / "file")

    run(use)


def test_close_lets_go_of_the_programs_locks(tmp_path: Path) -> None:
    import fcntl

    async def use(context: Any) -> None:
        fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
        fcntl.lockf(fd, fcntl.LOCK_EX)
        await context._close(fd)
        child = os.fork()
        if child == 0:
            other = os.open(tmp_path / "file", os.O_RDWR)
            try:
                fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os._exit(1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0  # noqa: ASYNC222

    run(use)


def test_close_soon(tmp_path: Path) -> None:
    fds = [os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT) for _ in range(50)]
    for fd in fds:
        _core._close_soon(fd)
    for _ in range(500):
        if not any(is_open(fd, tmp_path / "file") for fd in fds):
            break
        time.sleep(0.01)
    assert not any(is_open(fd, tmp_path / "file") for fd in fds)


def test_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    data = os.urandom(700_000)

    async def use(context: Any) -> None:
        assert await context._write_file(path, data) == len(data)
        assert path.read_bytes() == data
        assert await context._read_file(path) == len(data)  # too large without its size
        assert await context._read_file(path, len(data)) == data
        assert await context._write_file(path, bytearray(b"short")) == 5
        for _ in range(3):
            assert await context._read_file(path) == b"short"
        path.write_bytes(b"")
        assert await context._read_file(path) == b""
        status = await context._read_file("/proc/self/status")
        assert status.startswith(b"Name:")

    run(use)


def test_a_thread_with_fewer_rights_opens_with_its_own(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    import ctypes

    (tmp_path / "secret").write_bytes(b"for root")
    (tmp_path / "secret").chmod(0o600)
    setfsuid = ctypes.CDLL(None, use_errno=True).setfsuid

    async def use(context: Any) -> None:
        fd = await context._open(tmp_path / "secret", os.O_RDWR)
        await context._close(fd)
        setfsuid(12345)  # of this thread alone
        try:
            for flags in (os.O_RDONLY, os.O_RDWR):
                with pytest.raises(PermissionError):
                    await context._open(tmp_path / "secret", flags)
        finally:
            setfsuid(0)
        fd = await context._open(tmp_path / "secret", os.O_RDWR)
        await context._close(fd)

    run(use)
