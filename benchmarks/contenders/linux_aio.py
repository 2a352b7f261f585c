# SPDX-License-Identifier: Apache-2.0
"""linux_aio on asyncio."""

from __future__ import annotations

import asyncio
import os
import random
from abc import abstractmethod
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


class Beside(LinuxAio):
    """The first task does something else as well, every millisecond."""

    @abstractmethod
    async def act(self, offset: int) -> None: ...

    async def act_often(self) -> None:
        blocks = os.fstat(self.fd).st_size // self.size
        while True:
            await self.act(random.randrange(blocks) * self.size)
            await asyncio.sleep(0.001)

    async def run(self, slot: int, offsets: Iterator[int]) -> None:
        if slot != 0:
            return await super().run(slot, offsets)
        acting = asyncio.create_task(self.act_often())
        try:
            await super().run(slot, offsets)
        finally:
            acting.cancel()
            await asyncio.wait([acting])


class Cancelling(Beside):
    """A read is begun and cancelled."""

    async def act(self, offset: int) -> None:
        reading = asyncio.create_task(self.once(0, offset))
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading])


class Closing(Beside):
    """A context is opened, begins a read, and is closed."""

    async def act(self, offset: int) -> None:
        context = AIOContext(8)
        reading = asyncio.create_task(context.read(self.size, self.fd, offset))
        await asyncio.sleep(0)
        reading.cancel()
        await context.aclose()
        await asyncio.wait([reading])
