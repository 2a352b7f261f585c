# SPDX-License-Identifier: Apache-2.0
"""Read-ahead: if a program reads a file in order, reads the next bytes before it asks for them."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._core import AIOContext, _Awaitable

# How many bytes are read ahead at most: of one file by direct reads, of one file through the page
# cache (where the kernel reads ahead, too), and of all files of the process.
MOST_DIRECT = 8 * 1024 * 1024
MOST_CACHED = 2 * 1024 * 1024
MOST_OF_PROCESS = 64 * 1024 * 1024

# The sizes of one request.
LEAST_PIECE = 128 * 1024
LARGEST_PIECE = 1024 * 1024
PAGE = 4096

# Larger reads through the page cache of a local file system are not read ahead. The kernel reads
# ahead for them well enough, if they come in order. With requests of ours beside them, two threads
# would read the file at the same time, and the kernel would not see the order.
LARGEST_OF_LOCAL = 256 * 1024

# A context with so many requests in flight reads nothing ahead: the program's requests come first.
BUSY = 128


class _Budget:
    """Counts and limits the bytes that are read ahead in all files of the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = 0

    def take(self, nbytes: int) -> bool:
        with self._lock:
            if self._taken + nbytes > MOST_OF_PROCESS:
                return False
            self._taken += nbytes
            return True

    def give_back(self, nbytes: int) -> None:
        with self._lock:
            self._taken -= nbytes

    @property
    def taken(self) -> int:
        return self._taken

    def renew_lock(self) -> None:
        """In a child process, forget the lock: a thread that does not exist there may hold it."""
        self._lock = threading.Lock()


budget = _Budget()
os.register_at_fork(after_in_child=budget.renew_lock)


class ReadAhead:
    """Reads one regular file at given offsets, and reads ahead.

    If a read begins where the last one ended, and has to wait for the disk, requests for the bytes
    after it are started. Each such wait doubles the window: how many bytes ahead are in flight. A
    read at another offset drops the window. Nothing is read ahead beyond the end that the file had
    when it was opened, nor for reads of more than `largest_read` bytes, nor while reads find their
    bytes in the page cache.
    """

    __slots__ = (
        "_context",
        "_end",
        "_fd",
        "_most",
        "_next",
        "_reserved",
        "_window",
        "largest_read",
        "requests",
    )

    def __init__(
        self,
        context: AIOContext,
        fd: int,
        end: int,
        most: int,
        largest_read: int = sys.maxsize,
    ) -> None:
        self._context: Any = context
        self._fd = fd
        self._end = end
        self._most = most
        self._next = -1  # where the last read ended
        self._window = 0
        self._reserved = 0  # how many bytes of the budget it has taken
        self.largest_read = largest_read
        # ordered by offset: (offset, number of bytes, bytes of the budget, request)
        self.requests: deque[tuple[int, int, int, _Awaitable[bytes]]] = deque()

    def drop(self) -> None:
        """Forget what was read ahead. The results of requests in flight are not used."""
        for _, _, _, request in self.requests:
            request.close()  # a traceback may keep it, and it must not be submitted any more
        self.requests.clear()
        self._window = 0
        self._next = -1
        reserved, self._reserved = self._reserved, 0
        if reserved:
            budget.give_back(reserved)

    def __del__(self) -> None:
        """Give the budget back."""
        self.drop()

    async def read(self, offset: int, size: int) -> bytes:
        """Read about size bytes from offset on, fewer at the end. Only one call at a time.

        If the call is cancelled, the next read at this offset takes its request.
        """
        requests = self.requests
        if requests and requests[0][0] != offset:
            self.drop()
        if not requests:
            is_next = offset == self._next
            request: Any = self._context.read(size, self._fd, offset)
            request._start()
            if request._is_over():
                self._next = -1
                data: bytes = await request
                self._next = offset + len(data)
                return data
            if not is_next:
                self._window = 0
            requests.append((offset, size, 0, request))
            waits = is_next
        else:
            waits = not requests[0][3]._is_over()
        if waits:
            self._window = min(max(2 * self._window, LEAST_PIECE), self._most)
        if self._window and size <= self.largest_read:
            self._begin_more(size, waits)
        head = requests[0]
        try:
            data = await head[3]
        except Exception:
            self.drop()
            raise
        if requests and requests[0] is head:
            requests.popleft()
            self._give_back(head[2])
        self._next = offset + len(data)
        return data

    def _give_back(self, nbytes: int) -> None:
        if nbytes:
            self._reserved -= nbytes
            budget.give_back(nbytes)

    def _begin_more(self, size: int, waits: bool) -> None:
        """Start requests until the window is in flight, in pieces about as large as the reads."""
        requests = self.requests
        first = requests[0]
        last = requests[-1]
        position = last[0] + last[1]
        limit = min(first[0] + first[1] + self._window, self._end)
        piece = min(max(-(-size // PAGE) * PAGE, LEAST_PIECE), LARGEST_PIECE)
        while position < limit:
            count = min(piece, self._end - position)
            if self._context.in_flight >= BUSY or not budget.take(count):
                break
            self._reserved += count
            request: Any = self._context.read(count, self._fd, position)
            requests.append((position, count, count, request))
            request._start()
            if request._is_over():
                if not waits:
                    self._window = 0  # the bytes are cached, and the next may be, too
                break  # the bytes are in the page cache
            position += count
