# SPDX-License-Identifier: Apache-2.0
"""A loop that only runs the heartbeat."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from .base import Memory, OneDescriptor


class Idle(OneDescriptor):
    async def once(self, slot: int, offset: int) -> Memory:
        with open(self.path, "rb") as file:  # noqa: ASYNC230
            file.seek(offset)
            return file.read(self.size)

    async def run(self, slot: int, offsets: Iterator[int]) -> None:
        for _ in offsets:
            await asyncio.sleep(0.01)
