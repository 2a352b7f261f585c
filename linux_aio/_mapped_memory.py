# SPDX-License-Identifier: Apache-2.0
"""Copies of memory that may be mapped from a file: to touch it may wait for a disk or a server.

Such memory is copied by the context's engine, through a file in memory. Neither the event loop nor
other threads, which need the GIL, wait for that.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from ._core import AIOContext, _is_mapped_from_disk

if TYPE_CHECKING:
    from collections.abc import Iterator

# How many bytes one request copies at most.
_MOST = 1 << 30


@contextlib.contextmanager
def _file_in_memory() -> Iterator[int]:
    fd = os.memfd_create("linux_aio", os.MFD_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


async def copied(context: AIOContext, memory: bytes | memoryview) -> bytes:
    """Return the bytes of memory."""
    if type(memory) is bytes:
        return memory
    return bytes(await touchable(context, memory))


async def touchable(context: AIOContext, memory: bytes | memoryview) -> bytes | memoryview:
    """Return the memory or, if to touch it may wait, a copy of it."""
    if not _is_mapped_from_disk(memory):
        return memory
    with _file_in_memory() as fd:
        done = 0
        while done < len(memory):
            # not released here: after a cancellation the request may still use it
            done += await context.write(memory[done : done + _MOST], fd, done)
        return b"".join(os.pread(fd, _MOST, start) for start in range(0, done, _MOST))


async def copy_into(context: AIOContext, memory: memoryview, data: bytes | memoryview) -> None:
    """Copy data to the beginning of memory."""
    if not _is_mapped_from_disk(memory):
        memory[: len(data)] = data
        return
    with _file_in_memory() as fd:
        done = os.write(fd, data)
        while done < len(data):
            done += os.write(fd, data[done:])
        done = 0
        while done < len(data):
            done += await context.readinto(memory[done : min(done + _MOST, len(data))], fd, done)
