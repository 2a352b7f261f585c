# SPDX-License-Identifier: Apache-2.0
"""caio, with each of its engines."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from .base import Memory, OneDescriptor


class Caio(OneDescriptor):
    engine: str

    async def open(self) -> None:
        await super().open()
        module = import_module(f"caio.{self.engine}_asyncio")
        self.context: Any = module.AsyncioContext(max_requests=self.case.in_flight)

    async def close(self) -> None:
        self.context.close()
        await super().close()

    async def once(self, slot: int, offset: int) -> Memory:
        block: bytes = await self.context.read(self.size, self.fd, offset)
        return block

    async def run(self, slot: int, offsets: Iterator[int]) -> None:
        context, size, fd, block = self.context, self.size, self.fd, self.block
        if self.writes:
            for offset in offsets:
                await context.write(block, fd, offset)
        else:
            for offset in offsets:
                await context.read(size, fd, offset)


class LinuxAio(Caio):
    engine = "linux_aio"


class LinuxUring(Caio):
    engine = "linux_uring"


class ThreadAio(Caio):
    engine = "thread_aio"
