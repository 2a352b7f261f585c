# SPDX-License-Identifier: Apache-2.0
"""os.pread in the loop's pool of threads, as asyncio's documentation advises."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

from .base import Memory, OneDescriptor


class Blocking(OneDescriptor):
    """Reads that block the loop. After each, the other tasks run."""

    async def once(self, slot: int, offset: int) -> Memory:
        return os.pread(self.fd, self.size, offset)

    async def run(self, slot: int, offsets: Iterator[int]) -> None:
        fd, size = self.fd, self.size
        for offset in offsets:
            os.pread(fd, size, offset)
            await asyncio.sleep(0)


class Executor(OneDescriptor):
    async def open(self) -> None:
        await super().open()
        self.loop = asyncio.get_running_loop()
        self.buffers = self.aligned()

    async def once(self, slot: int, offset: int) -> Memory:
        if self.direct:
            buffer = self.buffers[slot]
            await self.loop.run_in_executor(None, os.preadv, self.fd, [buffer], offset)
            return buffer
        return await self.loop.run_in_executor(None, os.pread, self.fd, self.size, offset)

    async def run(self, slot: int, offsets: Iterator[int]) -> None:
        run, fd, size = self.loop.run_in_executor, self.fd, self.size
        if self.writes:
            for offset in offsets:
                await run(None, os.pwrite, fd, self.block, offset)
        elif self.direct:
            buffers = [self.buffers[slot]]
            for offset in offsets:
                await run(None, os.preadv, fd, buffers, offset)
        else:
            for offset in offsets:
                await run(None, os.pread, fd, size, offset)
