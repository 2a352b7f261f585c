# SPDX-License-Identifier: Apache-2.0
"""aiofile, on the engine of caio that it chooses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiofile import AIOFile

from .. import files
from .base import Asynchronous, Memory


class AioFile(Asynchronous):
    async def open(self) -> None:
        fd = files.open_for(self.case, self.path)
        self.raw = open(fd, "r+b" if self.writes else "rb", buffering=0)  # noqa: ASYNC230, SIM115
        self.file: Any = AIOFile.from_fp(self.raw)

    async def close(self) -> None:
        self.raw.close()

    async def once(self, slot: int, offset: int) -> Memory:
        block: bytes = await self.file.read_bytes(self.size, offset)
        return block

    async def run(self, slot: int, offsets: Iterator[int]) -> None:
        file, size, block = self.file, self.size, self.block
        if self.writes:
            for offset in offsets:
                await file.write_bytes(block, offset)
        else:
            for offset in offsets:
                await file.read_bytes(size, offset)
