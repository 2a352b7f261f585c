# SPDX-License-Identifier: Apache-2.0
"""Streams that share an inode: what a cancelled read has taken of one never reaches another."""

from __future__ import annotations

import asyncio
import ctypes
import os
import pty
import select
import tty
from pathlib import Path

import pytest

from linux_aio import AIOContext
from support.loops import run, until
from support.measure import open_fds

pytestmark = pytest.mark.engine(
    "auto", "uring", "threads"
)  # which don't wait for a stream in submit

libc = ctypes.CDLL(None)


def stand_still(seconds: float) -> None:
    """Have the loop do nothing, while our threads go on."""
    select.select([], [], [], seconds)


async def read_all_of(context: AIOContext, fd: int, size: int) -> bytes:
    found = b""
    while len(found) < size:
        found += await asyncio.wait_for(context.read(100, fd), 20)
    return found


def test_pseudo_terminals() -> None:
    async def main() -> None:
        async with AIOContext(8) as context:
            for turns in range(8):
                first, first_slave = pty.openpty()
                second, second_slave = pty.openpty()
                tty.setraw(first_slave)
                tty.setraw(second_slave)
                task = asyncio.ensure_future(context.read(100, first))
                await asyncio.sleep(0.01)
                os.write(first_slave, b"of the first")
                for _ in range(turns):
                    stand_still(0.002)
                    await asyncio.sleep(0)
                stand_still(0.01)
                task.cancel()
                await asyncio.wait([task])
                os.write(second_slave, b"of the second")
                assert await read_all_of(context, second, 13) == b"of the second"
                taken = b"" if task.cancelled() else task.result()
                rest = await read_all_of(context, first, 12 - len(taken))
                assert taken + rest == b"of the first"
                for fd in (first, first_slave, second, second_slave):
                    os.close(fd)

    run(main())


def test_inotify(tmp_path: Path) -> None:
    """An event that comes when the wait for it ends is there for the next read."""

    async def main() -> None:
        async with AIOContext(8) as context:
            for number in range(8):
                fd = libc.inotify_init1(os.O_CLOEXEC)
                libc.inotify_add_watch(fd, os.fsencode(tmp_path), 0x100)  # IN_CREATE
                task = asyncio.ensure_future(context.read(4096, fd))
                await asyncio.sleep(0.01)
                (tmp_path / f"file-{number}").touch()
                stand_still(0.01)
                task.cancel()
                await asyncio.wait([task])
                if task.cancelled():
                    assert await asyncio.wait_for(context.read(4096, fd), 20)
                os.close(fd)

    run(main())


def test_a_file_that_is_closed_in_another_loop(tmp_path: Path) -> None:
    """The context belongs to the first loop, so the second can't wait; the file is closed."""
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)

    async def close(context: AIOContext) -> None:
        with pytest.raises(RuntimeError, match="another event loop"):
            await context._close(fd)

    async def main() -> None:
        reader, writer = os.pipe()
        async with AIOContext(8) as context:
            read = asyncio.ensure_future(context.read(1, reader))
            await asyncio.sleep(0.01)
            await asyncio.to_thread(lambda: asyncio.run(close(context)))
            await until(lambda: fd not in open_fds())
            os.write(writer, b"!")
            await read
        os.close(reader)
        os.close(writer)

    run(main())
