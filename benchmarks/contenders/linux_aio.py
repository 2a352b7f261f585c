# SPDX-License-Identifier: Apache-2.0
"""linux_aio on asyncio."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from linux_aio import AIOContext, aligned_buffer

from .base import Memory, OneDescriptor


class LinuxAio(OneDescriptor):
    engine: ClassVar[str | None] = None

    async def open(self) -> None:
        await super().open()
        self.context = AIOContext(self.case.in_flight, engine=self.engine)

    async def close(self) -> None:
        await self.context.aclose()
        await super().close()

    async def once(self, slot: int, offset: int) -> Memory:
        return await self.context.read(self.size, self.fd, offset)

    async def run(self, slot: int, offsets: Iterator[int]) -> None:
        context, size, fd, block = self.context, self.size, self.fd, self.block
        if self.writes:
            for offset in offsets:
                await context.write(block, fd, offset)
        else:
            for offset in offsets:
                await context.read(size, fd, offset)


class KernelAio(LinuxAio):
    engine = "aio"


class Uring(LinuxAio):
    engine = "uring"


class Threads(LinuxAio):
    engine = "threads"


class LinuxAioReadInto(LinuxAio):
    async def open(self) -> None:
        await super().open()
        self.buffers = [aligned_buffer(self.size) for _ in range(self.case.in_flight)]

    async def once(self, slot: int, offset: int) -> Memory:
        await self.context.readinto(self.buffers[slot], self.fd, offset)
        return self.buffers[slot]

    async def run(self, slot: int, offsets: Iterator[int]) -> None:
        context, buffer, fd = self.context, self.buffers[slot], self.fd
        for offset in offsets:
            await context.readinto(buffer, fd, offset)
