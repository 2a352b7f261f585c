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
