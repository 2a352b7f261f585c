# SPDX-License-Identifier: Apache-2.0
"""anyio's files, used in the same way as those of aiofiles."""

from __future__ import annotations

from typing import Any, cast

import anyio

from .aiofiles import AioFiles


class AnyIo(AioFiles):
    async def open_one(self, fd: int, mode: str) -> Any:
        return await anyio.open_file(fd, cast(Any, mode), buffering=0)

    async def close_one(self, file: Any) -> None:
        await file.aclose()
