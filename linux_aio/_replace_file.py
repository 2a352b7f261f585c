# SPDX-License-Identifier: Apache-2.0
"""Giving a path a whole new content at once, for AioFileSystem and AioStore."""

from __future__ import annotations

from typing import Any

from ._loop_context import loop_context, put_off_cancellation

# Data that can change, as an array's, is copied up to this size, so that the task can be cancelled
# at once. What is larger is written from where it is, and a cancellation waits for that.
_COPIED = 1 << 17


def _nothing(count: int) -> None:
    pass


async def replace_file(
    path: str,
    data: Any,
    *,
    exclusive: bool = False,
    durable: bool = False,
    makes_parents: bool = False,
) -> int:
    """Write a file that gets its name when it is whole, and return its length.

    exclusive: raise FileExistsError if there is such a path. durable: the data and the name are on
    the disk at the end. makes_parents: make the directories above that are missing.
    """
    context: Any = loop_context()
    if not isinstance(data, bytes):
        view = memoryview(data)
        if view.nbytes <= _COPIED:
            data = bytes(view)
        else:
            started = context._replace_file(path, view, exclusive, durable, makes_parents)
            started._start()
            return await put_off_cancellation(started, _nothing)
    count: int = await context._replace_file(path, data, exclusive, durable, makes_parents)
    return count
