# SPDX-License-Identifier: Apache-2.0
"""aiofiles: a file object for each task, since seek and read are two steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import aiofiles  # type: ignore[import-untyped]

from .. import files
from .base import Asynchronous, Memory


class AioFiles(Asynchronous):
    async def open(self) -> None:
        self.files: list[Any] = []
        self.buffers = self.aligned()
        for _ in range(self.case.in_flight):
            fd = files.open_for(self.case, self.path)
            self.files.append(await self.open_one(fd, "r+b" if self.writes else "rb"))

    async def open_one(self, fd: int, mode: str) -> Any:
        return await aiofiles.open(fd, mode, buffering=0)

    async def close(self) -> None:
        for file in self.files:
            await self.close_one(file)

    async def close_one(self, file: Any) -> None:
        await file.close()

    async def once(self, slot: int, offset: int) -> Memory:
        file = self.files[slot]
        await file.seek(offset)
        if self.direct:
            await file.readinto(self.buffers[slot])
            return self.buffers[slot]
        block: bytes = await file.read(self.size)
        return block

    async def run(self, slot: int, offsets: Iterator[int]) -> None:
        file, size, block, buffer = self.files[slot], self.size, self.block, self.buffers[slot]
        if self.writes:
            for offset in offsets:
                await file.seek(offset)
                await file.write(block)
        elif self.direct:
            for offset in offsets:
                await file.seek(offset)
                await file.readinto(buffer)
        else:
            for offset in offsets:
                await file.seek(offset)
                await file.read(size)
