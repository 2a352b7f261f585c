# SPDX-License-Identifier: Apache-2.0
"""On Trio: linux_aio, and the ways to read files that Trio's documentation advises."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import trio

import linux_aio

from .anyio import AnyIo
from .base import Asynchronous, Memory, OneDescriptor
from .linux_aio import LinuxAio


class TrioLinuxAio(LinuxAio):
    on_trio = True


class TrioThread(OneDescriptor):
    """Reads in threads of Trio's pool."""

    on_trio = True

    async def once(self, slot: int, offset: int) -> Memory:
        block: bytes = await trio.to_thread.run_sync(os.pread, self.fd, self.size, offset)
        return block

    async def run(self, slot: int, offsets: Iterator[int]) -> None:
        run, fd, size = trio.to_thread.run_sync, self.fd, self.size
        for offset in offsets:
            await run(os.pread, fd, size, offset)


class TrioFile(AnyIo):
    """trio.open_file: seek and read, in a thread each."""

    on_trio = True

    async def open_one(self, fd: int, mode: str) -> Any:
        return await trio.open_file(fd, mode, buffering=0)


class Lines(Asynchronous):
    """Reads the lines of a binary file, again and again. Each line is an operation."""

    async def open(self) -> None:
        self.file: Any = await self.open_file()

    async def open_file(self) -> Any:
        return await linux_aio.open(self.path, "rb")

    async def close(self) -> None:
        await self.file.aclose()

    async def once(self, slot: int, offset: int) -> Memory:
        await self.file.seek(offset)
        block: bytes = await self.file.read(self.size)
        return block

    async def run(self, slot: int, offsets: Iterator[int]) -> None:
        while True:
            await self.file.seek(0)
            async for _ in self.file:
                if next(offsets, None) is None:
                    return


class TrioLines(Lines):
    on_trio = True


class TrioFileLines(TrioLines):
    async def open_file(self) -> Any:
        return await trio.open_file(self.path, "rb")
