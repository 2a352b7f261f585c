# SPDX-License-Identifier: Apache-2.0
"""The event loops that fsspec and zarr run in threads of theirs until the process ends."""

from __future__ import annotations

import gc
import sys
from typing import Any


def end_borrowed_loops() -> None:
    """End these loops and their contexts, which would disturb tests that count contexts."""
    fsspec: Any = sys.modules.get("fsspec.asyn")
    if fsspec is not None and fsspec.loop[0] is not None:
        ours: Any = sys.modules.get("linux_aio.fsspec")
        if ours is not None:
            ours.AioFileSystem.clear_instance_cache()
        loop, thread = fsspec.loop[0], fsspec.iothread[0]
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        fsspec.loop[0] = fsspec.iothread[0] = None
    zarr: Any = sys.modules.get("zarr.core.sync")
    if zarr is not None:
        zarr.cleanup_resources()
    if fsspec is not None or zarr is not None:
        gc.collect()
