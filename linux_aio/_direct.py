# SPDX-License-Identifier: Apache-2.0
"""The two descriptors of a file that was opened with direct=True, and which bytes go through which.

Whole pages are written past the page cache, by the descriptor with O_DIRECT, from aligned memory.
A part of a page, at either end of what is written, goes through the second descriptor, without
O_DIRECT. Direct and cached writes never share a page: the kernel writes cached pages back whole,
and would undo a direct write beside a cached one.

Reads all go through the descriptor with O_DIRECT. AIOContext.read() reads the aligned range around
what is asked for, and gives out that part.
"""

from __future__ import annotations

import errno
import fcntl
import math
import mmap
import os
import stat
from typing import TYPE_CHECKING, Any, cast

from ._core import AIOContext, _close_soon, aligned_buffer, direct_alignment

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from ._core import _Awaitable

# How much is copied to aligned memory, and written, by one request.
MOST_AT_ONCE = 1024 * 1024


class DirectRoute:
    """How the bytes of one file reach the disk, and come from there."""

    def __init__(self, context: AIOContext, direct_fd: int, cached_fd: int, second: int) -> None:
        self._context = context
        self.direct_fd = direct_fd
        self.cached_fd = cached_fd  # -1 of a file that is not written
        self._second = second  # the one of them that is ours, to be closed; or -1
        self._unit = math.lcm(mmap.PAGESIZE, direct_alignment(direct_fd)[1])
        self._memory: memoryview | None = None

    def start_writing(self, pieces: Sequence[bytes | memoryview], offset: int) -> _Awaitable[int]:
        """Begin to write the first of the pieces; see write(). One at a time."""
        if self._memory is None:
            self._memory = self.new_memory()
        request: Any = self.write(pieces, offset, self._memory)
        request._start()
        return cast("_Awaitable[int]", request)

    def write(
        self, pieces: Sequence[bytes | memoryview], offset: int, memory: memoryview
    ) -> Coroutine[Any, Any, int]:
        """Write the first of the pieces: whole pages, or else up to the next page.

        They are copied to `memory`, which is in use until the request has completed.
        """
        total = sum(map(len, pieces))
        before = -offset % self._unit
        if before or total < self._unit:
            count, fd = min(before or total, total), self.cached_fd
        else:
            count, fd = min(total, max(MOST_AT_ONCE, self._unit)), self.direct_fd
            count -= count % self._unit
        done = 0
        for piece in pieces:
            part = piece[: count - done]
            memory[done : done + len(part)] = part
            done += len(part)
            if done == count:
                break
        return self._context.write(memory[:count], fd, offset)

    def new_memory(self) -> memoryview:
        """Return memory for one request. Pages of it that are not used cost nothing."""
        return aligned_buffer(max(MOST_AT_ONCE, self._unit), self._unit & -self._unit)

    async def readinto(self, view: memoryview, offset: int) -> int:
        """One request's bytes: into the caller's memory if that is aligned, else by a copy."""
        whole = len(view) - len(view) % self._unit
        if whole and offset % self._unit == 0:
            try:
                with view[:whole] as part:
                    return await self._context.readinto(part, self.direct_fd, offset)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
        data = await self._context.read(min(len(view), MOST_AT_ONCE), self.direct_fd, offset)
        view[: len(data)] = data
        return len(data)

    async def close(self) -> None:
        """Close the second descriptor. The first is the file's own."""
        second, self._second = self._second, -1
        if second >= 0:
            if self._context.closed:
                _close_soon(second)
            else:
                await self._context._close(second)

    def close_soon(self) -> None:
        """Close the second descriptor in the background."""
        second, self._second = self._second, -1
        if second >= 0:
            _close_soon(second)


async def open_route(
    context: AIOContext, fd: int, name: Any, kind: int, *, reads: bool, writes: bool
) -> DirectRoute:
    """Open the second descriptor of a file. OSError if its file system has no direct I/O."""
    if kind not in {stat.S_IFREG, stat.S_IFBLK}:
        msg = "Direct I/O needs a regular file or a block device"
        raise OSError(errno.EINVAL, msg, name)
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    if writes and flags & os.O_APPEND:
        msg = "can't append with direct=True"
        raise ValueError(msg)
    is_direct = bool(flags & os.O_DIRECT)
    if is_direct and not writes:
        return DirectRoute(context, fd, -1, -1)
    access = os.O_RDWR if reads and writes else os.O_WRONLY if writes else os.O_RDONLY
    if is_direct:
        access = os.O_WRONLY
    else:
        access |= os.O_DIRECT
    try:
        # by its number, so that it is the same file whatever has become of the name
        second = await context._open(f"/proc/self/fd/{fd}", access)
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from None
    return DirectRoute(
        context, second if not is_direct else fd, second if is_direct else fd, second
    )
