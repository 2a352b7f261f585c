# SPDX-License-Identifier: Apache-2.0
"""The two descriptors of a file that was opened with direct=True, and which bytes go through which.

Whole pages are written past the page cache, by the descriptor with O_DIRECT, from aligned memory.
If a write begins or ends within a page, that part of a page is written by the second descriptor,
without O_DIRECT. A page is never written both ways at once: the kernel writes a cached page back
whole, and that would undo a direct write to the same page.

All reads use the descriptor with O_DIRECT. AIOContext.read() reads the aligned range around the
bytes that were asked for, and returns those bytes.
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
from ._loop_context import close_descriptor
from ._mapped_memory import copy_into

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from ._core import _Awaitable

# How many bytes are copied to aligned memory for one write request.
MOST_AT_ONCE = 1024 * 1024


class DirectRoute:
    """The two descriptors of one file, and the reads and writes that choose between them."""

    def __init__(self, context: AIOContext, direct_fd: int, cached_fd: int, second: int) -> None:
        self._context = context
        self.direct_fd = direct_fd
        self.cached_fd = cached_fd  # -1 if the file is not written to
        self._second = second  # the one that close() closes; or -1
        self._unit = math.lcm(mmap.PAGESIZE, direct_alignment(direct_fd)[1])
        self._memory: memoryview | None = None

    def start_writing(self, pieces: Sequence[bytes | memoryview], offset: int) -> _Awaitable[int]:
        """Begin to write the first of the pieces; see write(). Only one write may be in flight."""
        if self._memory is None:
            self._memory = self.new_memory()
        request: Any = self.write(pieces, offset, self._memory)
        request._start()
        return cast("_Awaitable[int]", request)

    def write(
        self, pieces: Sequence[bytes | memoryview], offset: int, memory: memoryview
    ) -> Coroutine[Any, Any, int]:
        """Write the first of the pieces: whole pages or, if that can't be, up to the next page.

        The bytes are copied to `memory`, which must not change until the request has completed.
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
        """Return memory for one request. The kernel allocates its pages only when they are used."""
        return aligned_buffer(max(MOST_AT_ONCE, self._unit), self._unit & -self._unit)

    async def readinto(self, view: memoryview, offset: int) -> int:
        """Read by one request: into `view` if its memory is aligned, else by a copy."""
        whole = len(view) - len(view) % self._unit
        if whole and offset % self._unit == 0:
            try:
                with view[:whole] as part:
                    return await self._context.readinto(part, self.direct_fd, offset)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
        data = await self._context.read(min(len(view), MOST_AT_ONCE), self.direct_fd, offset)
        await copy_into(self._context, view, data)
        return len(data)

    async def close(self) -> None:
        """Close the second descriptor. The first is the file's own."""
        second, self._second = self._second, -1
        if second >= 0:
            await close_descriptor(self._context, second)

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
        # opened by descriptor, not by name: the name may be another file's by now
        second = await context._open(f"/proc/self/fd/{fd}", access)
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from None
    return DirectRoute(
        context, second if not is_direct else fd, second if is_direct else fd, second
    )
