# SPDX-License-Identifier: Apache-2.0
"""Bytes that a File has taken and the kernel has not: requests that write them, and their end.

A Leftover is what a File that was closed or dropped has left.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import TYPE_CHECKING, Any, cast

from ._core import AIOContext, _close_soon
from ._loop_context import loop_context, put_off_cancellation

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._core import _Awaitable
    from ._direct import DirectRoute
    from ._file import File

# The kernel's limits on the bytes of one request, and on the number of its buffers.
MOST_BYTES = 0x7FFFF000
MOST_BUFFERS = 1024


def start_writing_here(context: AIOContext, pieces: list[bytes], fd: int) -> _Awaitable[int]:
    """Begin to write the pieces at the position of the open file, which others may share."""
    request: Any = context._write_here(fd, b"".join(pieces))
    request._start()
    return cast("_Awaitable[int]", request)


def start_writing(
    context: AIOContext, pieces: list[bytes], fd: int, offset: int, direct: DirectRoute | None
) -> _Awaitable[int]:
    """Begin to write the first pieces: as many as one request can take."""
    if direct is not None:
        return direct.start_writing(pieces, offset)
    some: list[bytes | memoryview] = []
    nbytes = 0
    for piece in pieces[:MOST_BUFFERS]:
        if nbytes + len(piece) > MOST_BYTES:
            if nbytes == 0:
                some.append(memoryview(piece)[:MOST_BYTES])
            break
        some.append(piece)
        nbytes += len(piece)
    request: Any
    if len(some) == 1:
        request = context.write(some[0], fd, offset)
    else:
        request = context.writev(some, fd, offset)
    request._start()
    return cast("_Awaitable[int]", request)


def leave_out(pieces: list[bytes], count: int) -> None:
    """Remove the first `count` bytes from the pieces: they have been written."""
    if count == 0:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    whole = 0
    for piece in pieces:
        if len(piece) > count:
            break
        count -= len(piece)
        whole += 1
    del pieces[:whole]
    if count:  # a view, since a pipe takes little of a large piece at a time
        pieces[0] = cast("bytes", memoryview(pieces[0])[count:])


class Leftover:
    """The work left when a File is closed or dropped: bytes to write, a descriptor to close.

    In a child process the bytes are the parent's, which writes them.
    """

    def __init__(self, file: File) -> None:
        self.context = file._context
        self.fd = file._fd
        self.closefd = file._closefd
        self.direct = file._direct
        self.request = file._request
        self.pieces = [*file._unwritten, *file._take_gathered()]
        # where the open file is to stand in the end; None if it stands there
        self.position = file._untold_position()
        if self.context._is_inherited():
            self.pieces = []
            self.position = None
        self.nbytes = sum(map(len, self.pieces))
        self.is_appending = file._is_appending
        self.is_seekable = file._is_seekable
        self.writes_here = file._has_position
        self.offset = file._offset - self.nbytes
        self.is_over = False
        self.is_lost = False  # whether bytes could not be written
        self.error: OSError | None = None  # the reason, if it is known
        self.pid = os.getpid()

    async def finish(self) -> None:
        """Write the remaining bytes, in order, and close the descriptor. An error is noted.

        If the loop ends, it cancels this coroutine; finish_now() then does the rest.
        """
        try:
            while self.pieces:
                if self.request is None:
                    self.request = self._start_request()
                await self._finish_request()
        except OSError as error:
            self.error = error
            self._stay_here()
        except (ValueError, RuntimeError):  # the loop is ending, and accepts no more work
            self.finish_now()
            return
        self.close()

    def _start_request(self) -> _Awaitable[int]:
        if self.writes_here:
            context = loop_context() if self.context.closed else self.context
            return start_writing_here(context, self.pieces, self.fd)
        offset = self.offset if self.is_seekable else 0
        try:
            return start_writing(self.context, self.pieces, self.fd, offset, self.direct)
        except (ValueError, RuntimeError):  # the context is closed, or belongs to another loop
            fd = self.fd if self.direct is None else self.direct.cached_fd
            self.context = loop_context()
            return start_writing(self.context, self.pieces, fd, offset, None)

    async def _finish_request(self) -> None:
        request: Any = self.request
        try:
            if self.is_seekable or self.writes_here:
                await put_off_cancellation(request, self._note)
            else:
                self._note(await request)
        except OSError as error:
            if not self._was_cancelled(error):
                raise
            self.request = None
        except ValueError:
            if request._is_finished():  # the context was closed before it was submitted
                self.request = None
            elif not self._has_result():
                raise

    def _has_result(self) -> bool:
        """Take the result of the request if it is over. OSError if it failed.

        RuntimeError if that can't be known: it was taken by a call that was interrupted, or this is
        a child process.
        """
        request: Any = self.request
        try:
            count = request._result_if_over()
            if count is None:
                return False
            self._note(count)
        except OSError as error:
            if not self._was_cancelled(error):
                raise
            self.request = None
        except ValueError:  # it was never submitted
            self.request = None
        return True

    def _was_cancelled(self, error: OSError) -> bool:
        """Whether the request wrote nothing because its context was closed."""
        return error.errno == errno.ECANCELED and self.context.closed

    def _note(self, count: int) -> None:
        self.request = None
        self.offset += count
        leave_out(self.pieces, count)

    def finish_now(self) -> bool:
        """Do the same as finish(), blocking, without a loop. Return False if bytes are lost."""
        try:
            if self.request is not None and not self._wait_for_request():
                self._stay_here()
                return False
            fd = self.fd if self.direct is None else self.direct.cached_fd
            for piece in self.pieces:
                rest = memoryview(piece)
                while rest:
                    if self.is_seekable:
                        count = os.pwrite(fd, rest, self.offset)
                    else:
                        count = os.write(fd, rest)
                    self.offset += count
                    rest = rest[count:]
        except OSError as error:
            self.error = error
            self._stay_here()
            return False
        finally:
            self.close()
        return True

    def _wait_for_request(self) -> bool:
        """Learn what became of the request. Return False if the rest can't be written after it.

        A stream may take nothing more for ever. A request to a file ends like the writes that come
        after it.
        """
        if not (self.is_seekable or self.writes_here):
            return False
        try:
            while not self._has_result():
                if not self.context.in_flight:
                    break
                time.sleep(0.001)
            else:
                return True
        except RuntimeError:
            pass
        # else the same bytes are written to the same place again
        return not (self.is_appending or self.writes_here)

    def abandon(self) -> None:
        """Leave the rest unwritten."""
        self.is_over = True
        self._stay_here()
        self._tell_kernel()

    def _stay_here(self) -> None:
        """Have the open file stand after the bytes that were written, for the rest is lost."""
        self.is_lost = True
        if self.position is not None:
            self.position = self.offset

    def _tell_kernel(self) -> None:
        if self.position is not None:
            with contextlib.suppress(OSError):
                os.lseek(self.fd, self.position, os.SEEK_SET)

    def close(self) -> None:
        self.is_over = True
        self._tell_kernel()
        if self.direct is not None:
            self.direct.close_soon()
        if self.closefd:
            _close_soon(self.fd)

    def __del__(self, getpid: Callable[[], int] = os.getpid) -> None:
        """Finish now if the loop was closed before finish() was done; not in a child process."""
        if not self.is_over and self.pid == getpid():
            self.finish_now()
