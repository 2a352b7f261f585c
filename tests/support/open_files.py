# SPDX-License-Identifier: Apache-2.0
"""Lists the open files below a folder, so that tests can check that none is left open."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from pathlib import Path


def open_below(folder: Path) -> list[str]:
    """The names of the open files in the folder, once for each descriptor."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # closed meanwhile
            name = os.readlink(f"/proc/self/fd/{number}")
            if name.startswith(f"{folder}/"):
                found.append(name)
    return found


async def settle_below(folder: Path, count: int = 0) -> None:
    """Wait until at most `count` files are open there: some are closed in the background."""
    for _ in range(1000):
        if len(open_below(folder)) <= count:
            break
        gc.collect()
        await asyncio.sleep(0.01)
    assert len(open_below(folder)) <= count, open_below(folder)
