# SPDX-License-Identifier: Apache-2.0
"""linux_aio.fs on a file system whose server refuses, fails or hangs."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import linux_aio
from linux_aio import fs
from support.fusefs import HoldingFS
from support.loops import run, until

pytest_plugins = ["support.fixtures"]


def outcome(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except OSError as error:
        return type(error), error.errno, error.filename, error.filename2


async def awaited_outcome(function: Callable[[], Any]) -> Any:
    try:
        return await function()
    except OSError as error:
        return type(error), error.errno, error.filename, error.filename2


def calls(module: Any, folder: Path) -> dict[str, Callable[[], Any]]:
    """The same calls of os or of linux_aio.fs; most of them the server does not know."""
    file, missing, new = (str(folder / name) for name in ("file", "missing", "new"))
    return {
        "stat": partial(module.stat, missing),
        "lstat": partial(module.lstat, missing),
        "access": partial(module.access, file, os.R_OK),
        "listdir": partial(module.listdir, str(folder)),
        "listdir of a file": partial(module.listdir, file),
        "mkdir": partial(module.mkdir, new),
        "makedirs": partial(module.makedirs, f"{new}/below"),
        "rmdir": partial(module.rmdir, file),
        "unlink": partial(module.unlink, missing),
        "link": partial(module.link, file, new),
        "symlink": partial(module.symlink, "file", new),
        "readlink": partial(module.readlink, file),
        "chmod": partial(module.chmod, file, 0o600),
        "chown": partial(module.chown, file, 1, 2),
        "utime": partial(module.utime, file, (1.5, 2.5)),
        "truncate": partial(module.truncate, file, 10),
        "rename": partial(module.rename, missing, new),
        "replace": partial(module.replace, missing, new),
        "removedirs": partial(module.removedirs, missing),
        "renames": partial(module.renames, missing, new),
    }


def test_what_the_server_refuses_is_refused_alike(fuse: HoldingFS) -> None:
    fuse.create("file", b"contents")

    async def main() -> None:
        theirs = calls(os, fuse.mountpoint)
        for name, call in calls(fs, fuse.mountpoint).items():
            wanted = outcome(theirs[name])
            assert await awaited_outcome(call) == wanted, name
        assert (await fs.stat(fuse.path("file")))[:6] == os.stat(fuse.path("file"))[:6]
        names = [entry.name async for entry in fs.scandir(fuse.mountpoint)]
        assert names == [entry.name for entry in os.scandir(fuse.mountpoint)]

    run(main())


def test_copies_and_writes_that_fail(fuse: HoldingFS, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x" * 100_000)
    fuse.create("file", b"y" * 100_000)

    async def main() -> None:
        fuse.fail(errno.EIO, kinds=["read"])
        for awaited in (
            fs.copyfile(fuse.path("file"), tmp_path / "target"),
            linux_aio.read_bytes(fuse.path("file")),
        ):
            with pytest.raises(OSError, match="Input/output error"):
                await awaited
        fuse.reset()
        fuse.fail(errno.EDQUOT, kinds=["write", "fsync"])
        with pytest.raises(OSError, match="quota"):
            await linux_aio.write_bytes(fuse.path("new"), b"z" * 10_000, atomic=True)
        fuse.reset()
        assert os.listdir(fuse.mountpoint) == ["file"]

    run(main())


async def consume(entries: Any) -> list[Any]:
    return [entry async for entry in entries]


async def opened(opening: Any) -> None:
    async with opening:
        pass


# Each on a new name, or on the file: what the kernel has cached it does not ask the server for.
HUNG: dict[str, Callable[[Path, Path], Any]] = {
    "stat": lambda new, file: fs.stat(new),
    "lstat": lambda new, file: fs.lstat(new),
    "statvfs": lambda new, file: fs.statvfs(file.parent),
    "access": lambda new, file: fs.access(new, os.R_OK),
    "exists": lambda new, file: fs.exists(new),
    "lexists": lambda new, file: fs.lexists(new),
    "isfile": lambda new, file: fs.isfile(new),
    "isdir": lambda new, file: fs.isdir(new),
    "islink": lambda new, file: fs.islink(new),
    "ismount": lambda new, file: fs.ismount(new),
    "samefile": lambda new, file: fs.samefile(new, file),
    "getsize": lambda new, file: fs.getsize(new),
    "getmtime": lambda new, file: fs.getmtime(new),
    "rename": lambda new, file: fs.rename(new, f"{new}-to"),
    "replace": lambda new, file: fs.replace(new, f"{new}-to"),
    "renames": lambda new, file: fs.renames(new, f"{new}-to"),
    "unlink": lambda new, file: fs.unlink(new),
    "remove": lambda new, file: fs.remove(new),
    "mkdir": lambda new, file: fs.mkdir(new),
    "makedirs": lambda new, file: fs.makedirs(new / "below"),
    "rmdir": lambda new, file: fs.rmdir(new),
    "removedirs": lambda new, file: fs.removedirs(new),
    "rmtree": lambda new, file: fs.rmtree(new),
    "move": lambda new, file: fs.move(new, f"{new}-to"),
    "move away": lambda new, file: fs.move(new, file.parent.parent),
    "link": lambda new, file: fs.link(file, new),
    "symlink": lambda new, file: fs.symlink("file", new),
    "readlink": lambda new, file: fs.readlink(new),
    "chmod": lambda new, file: fs.chmod(new, 0o600),
    "chmod of a link": lambda new, file: fs.chmod(new, 0o600, follow_symlinks=False),
    "chown": lambda new, file: fs.chown(new, -1, -1),
    "utime": lambda new, file: fs.utime(new),
    "truncate": lambda new, file: fs.truncate(file, 3),
    "copyfile": lambda new, file: fs.copyfile(file.parent.parent / "local", new),
    "copyfile from": lambda new, file: fs.copyfile(new, file.parent.parent / "copied"),
    "listdir": lambda new, file: fs.listdir(file.parent),
    "scandir": lambda new, file: consume(fs.scandir(file.parent)),
    "walk": lambda new, file: consume(fs.walk(file.parent)),
    "TemporaryFile": lambda new, file: opened(fs.TemporaryFile(dir=file.parent)),
    "NamedTemporaryFile": lambda new, file: opened(fs.NamedTemporaryFile(dir=file.parent)),
    "TemporaryDirectory": lambda new, file: opened(fs.TemporaryDirectory(dir=file.parent)),
    "open": lambda new, file: opened(linux_aio.open(new)),
    "open to write": lambda new, file: opened(linux_aio.open(new, "wb")),
    "open to append": lambda new, file: opened(linux_aio.open(new, "ab")),
    "open direct": lambda new, file: opened(linux_aio.open(file, "rb", direct=True)),
    "read_bytes": lambda new, file: linux_aio.read_bytes(new),
    "read_bytes direct": lambda new, file: linux_aio.read_bytes(file, direct=True),
    "read_text": lambda new, file: linux_aio.read_text(new),
    "write_bytes": lambda new, file: linux_aio.write_bytes(new, b"x"),
    "write_bytes durable": lambda new, file: linux_aio.write_bytes(new, b"x", durable=True),
    "write_bytes atomic": lambda new, file: linux_aio.write_bytes(new, b"x", atomic=True),
    "write_text": lambda new, file: linux_aio.write_text(new, "x", atomic=True, durable=True),
}


def test_each_operation_of_a_path_is_tried() -> None:
    names = {name.split(" ")[0] for name in HUNG}
    # of open files; the other times are had as this one; no operation
    assert set(fs.__all__) - names == {
        "posix_fallocate",
        "sendfile",
        "getatime",
        "getctime",
        "DirEntry",
    }


@pytest.mark.parametrize("name", HUNG)
def test_a_hung_server_hangs_one_operation(fuse: HoldingFS, tmp_path: Path, name: str) -> None:
    """The loop goes on, other files are served, and a cancellation takes effect at once."""
    fuse.create("file", b"contents")
    (tmp_path / "local").write_bytes(b"local")

    async def main() -> None:
        await linux_aio.read_bytes(tmp_path / "local")
        os.kill(fuse.server_pid, signal.SIGSTOP)
        try:
            task = asyncio.ensure_future(HUNG[name](fuse.path("new"), fuse.path("file")))
            for _ in range(3):
                await asyncio.sleep(0)
            for number in range(5):
                assert await linux_aio.read_bytes(tmp_path / "local") == b"local"
                assert await linux_aio.write_bytes(tmp_path / f"other{number}", b"x") == 1
            assert not task.done()
            task.cancel()
            await asyncio.wait([task], timeout=20)
            assert task.cancelled()
        finally:
            os.kill(fuse.server_pid, signal.SIGCONT)
        # what a thread had begun ends
        await fs.stat(fuse.mountpoint)

    run(main())


def test_a_hung_server_holds_nobody_else(fuse: HoldingFS, tmp_path: Path) -> None:
    fuse.create("file", b"contents")
    path = fuse.path("file")
    (tmp_path / "local").write_bytes(b"local")

    async def main() -> None:
        await fs.stat(path)
        await asyncio.sleep(0)
        os.kill(fuse.server_pid, signal.SIGSTOP)
        try:
            hung: list[Any] = [
                fs.stat(fuse.path("a")),
                fs.unlink(fuse.path("b")),
                fs.rename(fuse.path("c"), fuse.path("d")),
                fs.statvfs(fuse.mountpoint),
                fs.truncate(path, 3),
                linux_aio.open(fuse.path("e")).__aenter__(),
                linux_aio.read_bytes(fuse.path("f")),
                linux_aio.write_bytes(fuse.path("g"), b"x", atomic=True),
            ]
            tasks = [asyncio.ensure_future(call) for call in hung]
            await asyncio.sleep(0.05)
            assert not any(task.done() for task in tasks)
            for _ in range(50):
                assert await linux_aio.read_bytes(tmp_path / "local") == b"local"
                assert await linux_aio.write_bytes(tmp_path / "other", b"x" * 100) == 100
                assert await fs.listdir(tmp_path)
            for task in tasks:
                task.cancel()
            done, pending = await asyncio.wait(tasks, timeout=20)
            assert not pending
            assert all(task.cancelled() for task in done)
        finally:
            os.kill(fuse.server_pid, signal.SIGCONT)
        # what the threads had begun is carried out
        await until(lambda: path.stat().st_size == 3)

    run(main())


def test_nobody_reads_a_new_file_who_could_not_read_the_old(fuse: HoldingFS) -> None:
    """A file system without O_TMPFILE: the new file has a name while it is written."""
    path = fuse.create("secret", b"old")
    os.chmod(path, 0o600)

    async def main() -> None:
        fuse.hold()
        writing = asyncio.create_task(linux_aio.write_bytes(path, b"new", atomic=True))
        await asyncio.to_thread(fuse.wait_held, 1)
        modes = {entry.name: entry.stat().st_mode & 0o777 for entry in os.scandir(fuse.mountpoint)}
        fuse.unhold()
        assert await writing == 3
        assert len(modes) == 2
        assert set(modes.values()) == {0o600}

    run(main())
    assert fuse.contents("secret") == b"new"
