# SPDX-License-Identifier: Apache-2.0
"""File: a binary file that behaves as open()'s do, and never blocks the event loop.

_FileBase, in C++, answers calls from the buffers. The code here moves bytes between the buffers and
the file, by operations of an AIOContext.

Calls that move the position run one after the other, in order: each holds the file's lock meanwhile
(`_acquire()`, `_release()`). Written bytes are gathered in a buffer. One request at a time writes
them, while the program makes the next bytes. Bytes stay in `_unwritten` until a request has written
them: if it fails or writes fewer, the next call tries again.
"""

from __future__ import annotations

import errno
import fcntl
import io
import operator
import os
import stat
import sys
import warnings
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ._arguments import as_bytes, bytes_of, not_negative, readable, writable
from ._core import AIOContext, _ends_slice, _FileBase
from ._direct import MOST_AT_ONCE, DirectRoute, open_route
from ._gate import Gate
from ._loop_context import (
    close_descriptor,
    loop_context,
    pause,
    put_off_cancellation,
    raise_if_cancelled,
    spawn,
)
from ._mapped_memory import copied, copy_into, touchable
from ._read_ahead import (
    LARGEST_OF_LOCAL,
    LARGEST_PIECE,
    LEAST_PIECE,
    MOST_CACHED,
    MOST_DIRECT,
    PAGE,
    ReadAhead,
)
from ._unwritten import MOST_BYTES, Leftover, leave_out, start_writing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Self

    from _typeshed import ReadableBuffer, WriteableBuffer

    from ._core import _Awaitable

# Offsets from here on may be too large for the file system, which then returns an error.
_LARGE_OFFSET = 1 << 40

READ_CHUNK = 64 * 1024
# For 2 MiB and more the kernel takes pages of 2 MiB, which are slow to get in a virtual machine
# whose host has taken the free ones back.
WRITE_LIMIT = 31 * 64 * 1024
LARGEST_CHUNK = 1024 * 1024

# How many bytes readlines() takes out of the buffer before it may let other tasks run.
_PART = 8192


class Mode(NamedTuple):
    """The meaning of open()'s `mode`."""

    flags: int
    is_text: bool
    binary: str  # the `mode` of a binary file
    is_readable: bool
    is_writable: bool
    is_appending: bool


class File(_FileBase):
    """A binary file: what `await linux_aio.open(path, "rb")` gives.

    It has the methods of open()'s binary files. Those that may wait for the file are awaited, the
    others are ordinary. Sizes and positions are in bytes. Every method raises ValueError once the
    file is closed, io.UnsupportedOperation, an OSError, if the file was not opened for that, and
    the OSError that the system reports.
    """

    # Most files never change these defaults.
    _closefd = True
    _keeps_kernel_offset = False
    _told = -1  # the position that the kernel was told last, or -1
    _has_position = False  # written at the open file's position: a standard stream that is a file
    _is_appending = False
    _unwritten = cast("list[bytes]", ())  # what requests write; only writers have a list
    _direct: DirectRoute | None = None
    _ahead: ReadAhead | None = None
    _is_seekable = True
    _is_terminal = False
    _end_is_unknown = False  # bytes were appended, and the position is after them
    _request: _Awaitable[int] | None = None
    _unwritten_size = 0
    # the gates of calls that wait for the lock, in order
    _queue: OrderedDict[Any, None] | None = None
    _closes_when_released = False
    _is_closing = False
    _has_begun = False  # a part of the last write may be in the file
    _is_stale = False  # the buffer's bytes may be out of date: see pwrite()
    _came_from_ahead = False  # whether the last bytes were read ahead
    _beside_gate: Any = None
    _leftover: Leftover | None = None  # the last such call finishes it if the file is closed

    def __init__(
        self,
        context: AIOContext,
        fd: int,
        name: Any,
        mode: Mode,
        closefd: bool,
        buffering: int,
        is_named: bool,
    ) -> None:
        self._context = context
        self._fd = fd
        self._data_fd = fd  # the descriptor that reads use
        self._name = name
        self._mode = mode.binary
        if not closefd:
            self._closefd = False
        if not is_named:
            self._keeps_kernel_offset = True
        self._is_readable = mode.is_readable
        if mode.is_writable:
            self._is_writable = True
            self._unwritten = []
        if mode.is_appending:
            self._is_appending = True
        if buffering < 1:
            self._goes_slowly = buffering == 0
            self._chunk = READ_CHUNK
            self._limit = WRITE_LIMIT
        else:
            self._chunk = self._limit = buffering

    def _learn(self, mode: int, size: int, position: int, is_terminal: int, is_local: int) -> None:
        """Set up for this kind of file: see FileDescription. OSError if it is a directory."""
        kind = stat.S_IFMT(mode)
        if kind == stat.S_IFREG:
            self._size = size
        elif kind == stat.S_IFDIR:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self._name)
        elif is_terminal:
            self._is_terminal = True
        if position < 0:
            self._is_seekable = False
            self._keeps_kernel_offset = False
        elif self._is_appending:
            self._offset = size
        elif position:
            self._offset = position
        if self._keeps_kernel_offset:
            self._told = position
        is_large = size > self._chunk + LEAST_PIECE and kind == stat.S_IFREG
        if is_large and self._is_readable and self._is_seekable and not self._goes_slowly:
            largest = LARGEST_OF_LOCAL if is_local else sys.maxsize
            self._ahead = ReadAhead(self._context, self._data_fd, size, MOST_CACHED, largest)
        if self._keeps_kernel_offset and self._is_writable:
            # a descriptor with O_APPEND always appends, whatever `mode` says
            flags = fcntl.fcntl(self._fd, fcntl.F_GETFL)
            self._is_appending = self._is_appending or bool(flags & os.O_APPEND)
        if self._is_seekable and self._ahead is None and not self._is_appending:
            self._set_reader(self._context)
            self._closes_fd = self._closefd and not self._keeps_kernel_offset
        self._is_open = True

    async def _go_direct(self, mode: int) -> None:
        self._direct = await open_route(
            self._context,
            self._fd,
            self._name,
            stat.S_IFMT(mode),
            reads=self._is_readable,
            writes=self._is_writable,
        )
        self._data_fd = self._direct.direct_fd
        self._closes_fd = False
        if self._ahead is not None:
            self._ahead = ReadAhead(self._context, self._data_fd, self._size, MOST_DIRECT)

    # --- the lock

    async def _acquire(self) -> None:
        """Take the lock when the calls before this one are done. The caller calls _release().

        RuntimeError in a child process: calls of the parent's may hold the lock there, for ever.
        """
        self._context._check_process()
        if self._try_acquire():
            if _ends_slice():
                await self._let_others_run()
            return
        gate = Gate()
        if self._queue is None:
            self._queue = OrderedDict()
        self._queue[gate] = None
        self._releases_slowly = True
        # in another thread, the call before this one may have left before it could see the gate
        if self._try_acquire():
            del self._queue[gate]
            return
        try:
            await gate.wait()
        except BaseException:
            try:
                del self._queue[gate]
            except KeyError:  # it has been given the lock
                if gate.claim():
                    self._release()
            raise

    async def _let_others_run(self) -> None:
        """With the lock held: let the other tasks of the loop take a step."""
        try:
            await pause(0)
        except BaseException:
            self._release()
            raise

    def _release(self) -> None:
        if self._is_stale:
            self._is_stale = False
            self._forget_read_bytes()
        while True:
            while self._queue:
                gate, _ = self._queue.popitem(last=False)
                if gate.set() or not gate.claim():
                    return
            self._releases_slowly = False
            self._is_locked = False
            if not self._queue:
                break
            self._releases_slowly = True  # a call of another thread looks at the queue, or this one
            if not self._try_acquire():
                return  # another thread has the turn
        if self._closes_when_released and self._is_open:
            self._give_up()

    def _check_open(self) -> None:
        if not self._is_open:
            msg = "I/O operation on closed file."
            raise ValueError(msg)

    def _check_readable(self) -> None:
        self._check_open()
        if not self._is_readable:
            msg = "not readable"
            raise io.UnsupportedOperation(msg)

    def _check_writable(self) -> None:
        self._check_open()
        if not self._is_writable:
            msg = "not writable"
            raise io.UnsupportedOperation(msg)

    # --- reading, with the lock held

    async def _prepare_read(self) -> None:
        """Prepare for a read: write the gathered bytes, and find the position if it is unknown."""
        if self._gathered() or self._is_behind:
            await self._drain()
        if self._end_is_unknown:
            self._offset = (await self._context._stat(self._fd)).st_size
            self._end_is_unknown = False

    async def _read_raw(self, size: int) -> bytes:
        """Return the bytes of one request at the position, and move the position.

        They may be more than size if they were read ahead.
        """
        size = min(size, MOST_BYTES)
        if self._is_seekable:
            ahead = self._ahead
            if ahead is not None and (
                ahead.requests or (size <= ahead.largest_read and self._offset + size < self._size)
            ):
                data = await ahead.read(self._offset, size)
                self._came_from_ahead = True
            else:
                data = await self._context.read(size, self._data_fd, self._offset)
                self._came_from_ahead = False
            self._offset += len(data)
            return data
        return await self._context.read(size, self._fd)

    def _is_at_end(self, data: bytes, asked: int) -> bool:
        """Whether a read that returned `data` shows that the file ends there.

        Data that was read ahead does not show that: the file may have grown since.
        """
        is_short = len(data) < asked and not self._came_from_ahead
        return not data or (is_short and self._size != 0 and self._offset == self._size)

    def _put_back(self, pieces: list[bytes]) -> None:
        """Put back the bytes that a failed call has taken, for the next call."""
        if not pieces:
            return
        pieces.append(self._peek())
        if self._is_seekable:
            self._offset -= sum(map(len, pieces))
            self._fill(b"")
        else:
            self._fill(b"".join(pieces))

    async def _read_all(self) -> bytes:
        pieces = [self._take(-1)] if self._buffered() else []
        asked = self._chunk
        if self._is_seekable and self._offset < self._size:
            asked = self._size - self._offset + 1
        try:
            while True:
                data = await self._read_raw(asked)
                if data:
                    pieces.append(data)
                if self._is_at_end(data, min(asked, MOST_BYTES)):
                    break
                if self._offset >= self._size:
                    asked = min(max(2 * len(data), self._chunk), 64 * LARGEST_CHUNK)
        except BaseException:
            self._put_back(pieces)
            raise
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _read_exactly(self, size: int) -> bytes:
        if size <= self._buffered():
            return self._take(size)
        pieces = [self._take(-1)] if self._buffered() else []
        left = size - (len(pieces[0]) if pieces else 0)
        try:
            while left:
                asked = max(left, self._chunk)
                data = await self._read_raw(asked)
                ended = self._is_at_end(data, min(asked, MOST_BYTES))
                if len(data) > left:
                    self._fill(data)
                    data = self._take(left)
                if data:
                    pieces.append(data)
                left -= len(data)
                if ended:
                    break
        except BaseException:
            self._put_back(pieces)
            raise
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _read_some(self, size: int) -> bytes:
        """Return up to `size` bytes: from the buffer or, if it is empty, by one request."""
        if self._buffered():
            return self._take(size)
        data = await self._read_raw(size)
        if len(data) <= size:
            return data
        self._fill(data)
        return self._take(size)

    async def _read_slow(self, size: int) -> bytes:
        if not (self._is_open and self._is_readable):
            self._check_readable()
        if self._context._is_inherited() or not self._try_acquire():
            await self._acquire()
            self._check_readable_locked()
        elif _ends_slice():
            await self._let_others_run()
        try:
            if self._is_behind or self._end_is_unknown or self._gathered():
                await self._prepare_read()
            if size < 0:
                return await self._read_all()
            if self._goes_slowly:
                return await self._read_some(size) if size else b""
            return await self._read_exactly(size)
        finally:
            self._release()

    async def _read_rest(self, size: int) -> bytes:
        """Do the rest of a read() when one request has brought too little, with the lock held."""
        return await (self._read_all() if size < 0 else self._read_exactly(size))

    def _check_readable_locked(self) -> None:
        try:
            self._check_readable()
        except BaseException:
            self._release()
            raise

    async def readall(self) -> bytes:
        """Read all that is left: bytes, b"" at the end of the file. See preadv2(2)."""
        return await self._read_slow(-1)

    async def read1(self, size: int = -1, /) -> bytes:
        """Read up to size bytes with at most one request to the kernel: see preadv2(2).

        What the buffer has is returned without any request. size -1: as much as the buffer takes.
        b"" at the end of the file.
        """
        self._check_readable()
        await self._acquire()
        try:
            self._check_readable()
            await self._prepare_read()
            if size == 0:
                return b""
            return await self._read_some(size if size > 0 else self._chunk)
        finally:
            self._release()

    async def peek(self, size: int = 0, /) -> bytes:
        """Return what the buffer has, and leave the position as it is.

        An empty buffer is filled first, by one request of at least size bytes. The result may be
        longer or shorter than size; it is b"" at the end of the file.
        """
        self._check_readable()
        size = operator.index(size)
        await self._acquire()
        try:
            self._check_readable()
            await self._prepare_read()
            if not self._buffered():
                self._fill(await self._read_raw(max(size, self._chunk)))
            return self._peek()
        finally:
            self._release()

    async def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read bytes into a writable buffer until it is full or the file ends; return how many.

        What the file's own buffer has not is read straight into `buffer`. It can't be resized
        meanwhile. A cancelled call ends when the kernel no longer writes to it. See preadv2(2).
        """
        return await self._read_into(buffer, "readinto", once=self._goes_slowly)

    async def readinto1(self, buffer: WriteableBuffer, /) -> int:
        """Read bytes into a writable buffer with at most one request; return how many.

        0 is the end of the file. The rest is as in readinto().
        """
        return await self._read_into(buffer, "readinto1", once=True)

    async def _read_into(self, buffer: WriteableBuffer, name: str, *, once: bool) -> int:
        self._check_readable()
        await self._acquire()
        try:
            self._check_readable()
            await self._prepare_read()
            with writable(buffer, name) as given, bytes_of(given) as view:
                start = self._peek()[: len(view)]
                done = len(start)
                if start:
                    await copy_into(self._context, view, start)
                taken = 0  # from a stream, by earlier requests
                while done < len(view) and not (once and done):
                    offset = self._offset + done - len(start) if self._is_seekable else 0
                    try:
                        with view[done : done + MOST_BYTES] as rest:
                            count = await self._read_once_into(rest, offset)
                    except BaseException:
                        self._put_back([bytes(view[:taken])] if taken else [])
                        raise
                    done += count
                    if count == 0:
                        break
                    if not self._is_seekable:
                        self._skip(len(start))
                        start = b""
                        taken = done
                # the position moves only now, because a cancelled read must not move it
                self._skip(len(start))
                if self._is_seekable:
                    self._offset += done - len(start)
                return done
        finally:
            self._release()

    async def _read_once_into(self, view: memoryview, offset: int) -> int:
        if self._direct is not None:
            ahead = self._ahead
            size = len(view)
            is_piece = LEAST_PIECE <= size <= LARGEST_PIECE and size % PAGE == 0
            if ahead is not None and is_piece and (ahead.requests or offset + size < self._size):
                data = (await ahead.read(offset, size))[:size]
                await copy_into(self._context, view, data)
                return len(data)
        return await self._request_into(view, offset)

    async def _request_into(self, view: memoryview, offset: int) -> int:
        if self._direct is not None:
            return await self._direct.readinto(view, offset)
        return await self._context.readinto(view, self._fd, offset)

    async def _line_locked(self, limit: int, begun: bytes = b"") -> bytes:
        """Return a line with its end, or its first `limit` bytes; b"" at the end of the file.

        `begun` is what the caller has taken of the line.
        """
        pieces = [begun] if begun else []
        asked = 1 if self._goes_slowly and not self._is_seekable else self._chunk
        left = limit
        try:
            while limit < 0 or left > 0:
                line = self._take_line(left if limit >= 0 else -1)
                if line:
                    pieces.append(line)
                    left -= len(line)
                    if line.endswith(b"\n") or (limit >= 0 and left == 0):
                        break
                data = await self._read_raw(asked)
                if not data:
                    break
                self._fill(data)
                if asked != 1:
                    asked = min(2 * asked, max(asked, LARGEST_CHUNK))
        except BaseException:
            self._put_back(pieces)
            raise
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _forget_if_unbuffered(self) -> None:
        if self._goes_slowly and self._is_seekable:
            self._forget_read_bytes()

    async def _readline_slow(self, limit: int) -> bytes:
        self._check_readable()
        await self._acquire()
        try:
            self._check_readable()
            await self._prepare_read()
            line = await self._line_locked(limit)
            self._forget_if_unbuffered()
            return line
        finally:
            self._release()

    async def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        """Read lines, each with its end, until the file ends or they have hint bytes in all.

        hint -1 or None: all lines. For large files, `async for line in file` takes less memory.
        """
        most = -1 if hint is None else operator.index(hint)
        self._check_readable()
        await self._acquire()
        lines: list[bytes] = []
        total = 0
        try:
            self._check_readable()
            await self._prepare_read()
            while not 0 < most < total:
                if _ends_slice():
                    await pause(0)
                part = self._take(min(most - total + 1, _PART) if most > 0 else _PART)
                lines += io.BytesIO(part).readlines()
                total += len(part)
                if not part.endswith(b"\n"):
                    begun = lines.pop() if part else b""
                    line = begun + self._take_line(-1)
                    if not line.endswith(b"\n"):
                        line = await self._line_locked(-1, line)
                        if not line:
                            break
                    lines.append(line)
                    total += len(line) - len(begun)
            self._forget_if_unbuffered()
        except BaseException:
            self._put_back(lines)
            raise
        finally:
            self._release()
        return lines

    # --- writing, with the lock held

    def _forget_read_bytes(self) -> None:
        """Prepare for a write: drop the bytes read, and move the position back over them."""
        if self._ahead is not None:
            self._ahead.drop()
        if self._is_seekable:
            self._offset -= self._buffered()
            self._fill(b"")

    async def _finish_request(self) -> None:
        """Wait for the write request in flight. OSError if it failed."""
        request = self._request
        if request is None:
            return
        try:
            count = await request
        except Exception:
            if cast("Any", request)._is_finished():  # else only the wait for it has failed
                self._note_request(None)
            raise
        self._note_request(None)
        leave_out(self._unwritten, count)
        self._unwritten_size -= count
        self._is_behind = bool(self._unwritten)

    def _note_request(self, request: _Awaitable[int] | None) -> None:
        self._request = request
        self._set_request(request)

    async def _begin_request(self) -> None:
        """Begin to write the gathered bytes, once the previous request has completed.

        What a request left over is written first, so that memory stays bounded; a small rest goes
        together with the gathered bytes.
        """
        await self._finish_request()
        if self._gathered() and self._unwritten_size < self._limit:
            self._unwritten_size += self._gathered()
            self._unwritten += self._take_gathered()
        if not self._unwritten:
            self._is_behind = False
            return
        self._is_behind = True
        waiting = self._unwritten_size + self._gathered()
        offset = self._offset - waiting if self._is_seekable else 0
        self._end_is_unknown = self._end_is_unknown or (self._is_appending and self._is_seekable)
        self._note_request(self._start_request(offset))

    def _start_request(self, offset: int) -> _Awaitable[int]:
        return start_writing(self._context, self._unwritten, self._fd, offset, self._direct)

    async def _drain(self) -> None:
        """Wait until the kernel has all bytes that were written so far."""
        while self._gathered() or self._is_behind:
            await self._begin_request()

    async def _write_locked(self, data: bytes | memoryview) -> int:
        self._has_begun = False
        count = len(data)
        if self._buffered():
            self._forget_read_bytes()
        if self._goes_slowly and self._direct is None:
            await raise_if_cancelled()
            self._has_begun = True
            return await self._write_at_once(data)
        if self._request is not None and self._request._is_over():
            await self._finish_request()
        while self._gathered() and self._gathered() + count > self._limit:
            await self._begin_request()
        if count <= self._limit and not self._goes_slowly:
            self._gather(data if type(data) is bytes else await copied(self._context, data))
            return count
        await self._drain()
        await raise_if_cancelled()
        self._has_begun = True
        rest = memoryview(data)
        while rest:
            rest = rest[await self._write_at_once(rest) :]
        return count

    async def _write_at_once(self, data: bytes | memoryview) -> int:
        """Write by one request, straight from the program's memory.

        If it is cancelled, it waits until the request has completed, except on a stream, which may
        block for ever.
        """
        if not self._is_seekable:
            return await self._context.write(data[:MOST_BYTES], self._fd)
        offset = self._offset
        was_unknown = self._end_is_unknown
        self._end_is_unknown = was_unknown or self._is_appending
        request: Any
        if self._direct is not None:
            part = await touchable(self._context, data[:MOST_AT_ONCE])
            request = self._direct.start_writing([part], offset)
        else:
            request = self._context.write(data[:MOST_BYTES], self._fd, offset)
            request._start()

        def move(count: int) -> None:
            self._offset += count
            if count == 0:  # nothing was appended, and the position stays
                self._end_is_unknown = was_unknown

        return await put_off_cancellation(request, move)

    def _room(self) -> int:
        """Return how many more bytes _gather() may be given."""
        return 0 if self._goes_slowly else self._limit - self._gathered()

    async def _write_slow(self, data: ReadableBuffer) -> int:
        if not self._is_writable:
            self._check_writable()
        if type(data) is bytes:
            await self._acquire()
            try:
                self._check_writable()
                return await self._write_locked(data)
            finally:
                self._release()
        given = readable(data)
        self._check_open()
        with given, as_bytes(given) as view:
            await self._acquire()
            try:
                self._check_writable()
                return await self._write_locked(view)
            finally:
                self._release()

    async def writelines(self, lines: Iterable[ReadableBuffer], /) -> None:
        """Write bytes-like objects one after the other, as write() does. No line ends are added.

        What other tasks write comes before all of them, or after.
        """
        self._check_open()
        await self._acquire()
        try:
            room = 0
            for line in lines:
                if _ends_slice():
                    await pause(0)
                if type(line) is bytes and len(line) <= room:
                    self._gather(line)
                    room -= len(line)
                    continue
                self._check_writable()
                if type(line) is bytes:
                    await self._write_locked(line)
                else:
                    with readable(line) as given, as_bytes(given) as view:
                        await self._write_locked(view)
                room = self._room()
        finally:
            self._release()

    async def flush(self) -> None:
        """Wait until the kernel has all that was written so far: see pwritev2(2).

        Others can read it then; that it is on the disk, fsync() says. OSError if the kernel refuses
        some: that stays in the buffer, and the next flush() tries again.
        """
        await self._acquire()
        try:
            await self._flush_locked()
        finally:
            self._release()

    async def _flush_locked(self) -> None:
        self._check_open()
        if self._gathered() or self._is_behind:
            await self._drain()
        await self._tell_kernel()

    async def _tell_kernel(self) -> None:
        """Set the kernel's offset of a descriptor that the program opened: others may use it."""
        if self._keeps_kernel_offset and self._is_seekable:
            if self._end_is_unknown:
                await self._prepare_read()
            offset = self._offset - self._buffered()
            await self._context._seek(self._fd, offset, os.SEEK_SET)
            self._told = offset

    def _untold_position(self) -> int | None:
        """Return where the file stands if the kernel has not been told: see _tell_kernel().

        None if it has: others may have moved the descriptor since, and it stays where it is.
        """
        if not (self._keeps_kernel_offset and self._is_seekable):
            return None
        offset = self._offset - self._buffered()
        return None if offset == self._told else offset

    async def truncate(self, size: int | None = None, /) -> int:
        """Make the file size bytes long, by default as far as the position; return the size.

        The position stays where it is. What is written so far is flushed first. See ftruncate(2).
        """
        self._check_open()
        if not self._is_writable:
            msg = "File not open for writing"
            raise io.UnsupportedOperation(msg)
        await self._acquire()
        try:
            self._check_writable()
            await self._prepare_read()
            self._forget_read_bytes()
            length = self._offset if size is None else operator.index(size)
            if length < 0:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            try:
                await self._context._truncate(self._fd, length)
            except OSError as error:  # as open()'s files, it names no file
                raise OSError(error.errno, error.strerror) from None
            self._size = length
            await self._tell_kernel()
            return length
        finally:
            self._release()

    async def fsync(self) -> None:
        """Flush, and wait until the data and all about the file is on the disk: fsync(2).

        OSError with EINVAL for what can't be synced, such as a pipe; with EIO if the disk failed,
        and then what was written before may be lost.
        """
        await self.flush()
        with _Beside(self):
            await self._context.fsync(self._fd)

    async def fdatasync(self) -> None:
        """Flush, and wait until the data is on the disk: fdatasync(2).

        Of what is known about the file, only what it takes to read the data is synced: its size,
        and not its times. Errors are those of fsync().
        """
        await self.flush()
        with _Beside(self):
            await self._context.fdsync(self._fd)

    # --- the position

    def _check_seekable(self) -> None:
        if not self.seekable():
            msg = "File or stream is not seekable."
            raise io.UnsupportedOperation(msg)

    async def tell(self) -> int:
        """Return the position, in bytes from the start of the file.

        OSError with ESPIPE for a stream, such as a pipe, which has none.
        """
        await self._acquire()
        try:
            self._check_open()
            return await self._tell_locked()
        finally:
            self._release()

    async def _tell_locked(self) -> int:
        if not self._is_seekable:
            raise OSError(errno.ESPIPE, os.strerror(errno.ESPIPE))
        if self._end_is_unknown:
            await self._prepare_read()
        return self._offset - self._buffered()

    async def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move the position, and return the new one, in bytes from the start of the file.

        By offset from the start (whence 0), from where it is (1), or from the end (2); with
        os.SEEK_DATA or os.SEEK_HOLE to the first data or hole from offset on: see lseek(2). OSError
        with EINVAL for a negative position, io.UnsupportedOperation for a stream.
        """
        self._check_seekable()
        await self._acquire()
        try:
            self._check_seekable()
            return await self._seek_locked(operator.index(offset), operator.index(whence))
        finally:
            self._release()

    async def _seek_locked(self, offset: int, whence: int) -> int:
        if whence not in {os.SEEK_SET, os.SEEK_CUR, os.SEEK_END, os.SEEK_DATA, os.SEEK_HOLE}:
            msg = f"whence value {whence} unsupported"
            raise ValueError(msg)
        if not -(1 << 63) <= offset < 1 << 63:
            msg = "cannot fit 'int' into an offset-sized integer"
            raise ValueError(msg)
        await self._prepare_read()
        self._told = -1
        if whence == os.SEEK_CUR:
            offset += self._offset - self._buffered()
        elif whence == os.SEEK_END and self._size:
            offset += (await self._context._stat(self._fd)).st_size
        elif whence != os.SEEK_SET:
            offset = await self._context._seek(self._fd, offset, whence)
        if not 0 <= offset < 1 << 63:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if offset >= _LARGE_OFFSET:
            await self._context._seek(self._fd, offset, os.SEEK_SET)
        start = self._offset - self._buffered()
        if self._buffered() and start <= offset <= self._offset:
            self._skip(offset - start)
        elif offset != start:
            self._fill(b"")
            self._offset = offset
            if self._ahead is not None:
                self._ahead.drop()
        if self._keeps_kernel_offset:
            await self._tell_kernel()
        return offset

    # --- beside the position

    async def pread(self, size: int, offset: int, /) -> bytes:
        """Read up to size bytes from byte offset on: see preadv2(2). The position stays.

        The result is shorter only where the file ends. Any number of tasks can do this at the same
        time; it does not use the buffer. What write() was given before is written first.
        OSError with ESPIPE for a stream, which has no offsets.
        """
        self._check_readable()
        size, offset = not_negative(size), not_negative(offset)
        await self._begin_beside()
        with _Beside(self):
            data = await self._context.read(min(size, MOST_BYTES), self._data_fd, offset)
            if len(data) == size or not data:
                return data
            pieces = [data]
            done = len(data)
            while done < size:
                asked = min(size - done, MOST_BYTES)
                data = await self._context.read(asked, self._data_fd, offset + done)
                if not data:
                    break
                pieces.append(data)
                done += len(data)
            return b"".join(pieces)

    async def preadinto(self, buffer: WriteableBuffer, offset: int, /) -> int:
        """Read into a writable buffer from byte offset on: see preadv2(2). The position stays.

        Until the buffer is full or the file ends. Returns the number of bytes. Any number of tasks
        can do this at the same time. A cancelled call ends when the kernel no longer writes to the
        buffer.
        OSError with ESPIPE for a stream, which has no offsets.
        """
        self._check_readable()
        offset = not_negative(offset)
        await self._begin_beside()
        with _Beside(self), writable(buffer, "preadinto") as given, as_bytes(given) as view:
            done = 0
            while done < len(view):
                with view[done : done + MOST_BYTES] as rest:
                    count = await self._request_into(rest, offset + done)
                if count == 0:
                    break
                done += count
            return done

    async def pwrite(self, data: ReadableBuffer, offset: int, /) -> int:
        """Write all of data at byte offset; return its length: pwritev2(2). The position stays.

        Any number of tasks can do this at the same time. With mode "a", Linux appends whatever the
        offset is: see pwrite(2).
        OSError with ESPIPE for a stream, which has no offsets.
        """
        self._check_writable()
        offset = not_negative(offset)
        await self._begin_beside()
        with _Beside(self), memoryview(data) as given, as_bytes(given) as view:
            done = 0
            try:
                if self._direct is not None:
                    memory = self._direct.new_memory()
                    while done < len(view):
                        part = await touchable(self._context, view[done : done + MOST_AT_ONCE])
                        done += await self._direct.write([part], offset + done, memory)
                while done < len(view):
                    # not released here: after a cancellation the request may still use it
                    rest = view[done : done + MOST_BYTES]
                    done += await self._context.write(rest, self._fd, offset + done)
                return done
            finally:  # the bytes read may be out of date: a failed call may have written a part
                if self._is_locked:
                    self._is_stale = self._releases_slowly = True
                else:
                    self._forget_read_bytes()

    async def _begin_beside(self) -> None:
        """Have bytes of earlier write() calls be in the file before a call beside the position.

        OSError, as of pread(2), for a stream, which the context would read at offset 0.
        """
        if not self._is_seekable:
            raise OSError(errno.ESPIPE, os.strerror(errno.ESPIPE))
        if self._gathered() or self._is_behind:
            await self._acquire()
            try:
                self._check_open()
                await self._drain()
            finally:
                self._release()

    async def stat(self) -> os.stat_result:
        """Return the file's status, an os.stat_result: os.fstat, fstat(2).

        What was gathered and not yet written is not in st_size: flush() first.
        """
        self._check_open()
        with _Beside(self):
            return await self._context._stat(self._fd)

    # --- the end

    async def _close_slow(self) -> None:
        if not self._is_open:
            return
        if self._context._is_inherited():  # the calls in progress and the bytes are the parent's
            self._let_go(self._detach_leftover())
            return
        # the request of a standard stream may be another loop's: _acquire() waits for it
        if self._request is not None or not self._try_acquire():
            try:
                await self._acquire()
            except BaseException:
                self._closes_when_released = self._releases_slowly = True
                if self._is_open and not self._is_locked:
                    self._give_up()
                raise
        try:
            if not self._is_open:
                return
            if self._is_behind or self._beside or self._keeps_kernel_offset or self._gathered():
                await self._finish()
            if self._is_open:
                self._discard()
                await self._close_descriptor()
        finally:
            self._release()

    async def _finish(self) -> None:
        """Do the work that close() waits for. If that fails, close the file here.

        It stays open after a RuntimeError, by which the context refuses another loop's call.
        """
        self._is_closing = True  # no new call uses the descriptor without the lock
        try:
            while self._beside:
                self._beside_gate = Gate()
                await self._beside_gate.wait()
            if self._is_behind or self._gathered():
                await self._drain()
            if self._end_is_unknown or self._untold_position() is not None:
                await self._tell_kernel()
        except Exception as error:
            if type(error) is RuntimeError and not self._context.closed:
                # called in another loop than the context's: nothing was begun, and nothing is lost
                self._is_closing = False
                raise
            if self._context.closed and not self._beside:
                leftover = self._detach_leftover()
                self._fd = self._data_fd = -1
                await self._finish_elsewhere(leftover)
                if leftover.is_lost:
                    raise (leftover.error or error) from None
                return
            self._detach_leftover().abandon()
            await self._close_descriptor()
            raise
        except BaseException:
            self._give_up()
            raise

    async def _finish_elsewhere(self, leftover: Leftover) -> None:
        """Finish by the running loop's context, for the file's own is closed."""
        try:
            loop_context()
        except (OSError, RuntimeError):  # the loop is ending, as a Trio run does: it takes no work
            leftover.finish_now()
            return
        try:
            await leftover.finish()
        except BaseException:
            self._let_go(leftover)
            raise

    async def _close_descriptor(self) -> None:
        fd, self._fd = self._fd, -1
        try:
            if self._direct is not None:
                await self._direct.close()
        finally:
            if self._closefd:
                await close_descriptor(self._context, fd)

    def _discard(self) -> None:
        self._is_open = False
        if self._ahead is not None:
            self._ahead.drop()
            self._ahead = None
        self._fill(b"")
        if self._is_writable:
            self._take_gathered()
            self._unwritten = []
            self._note_request(None)

    def _give_up(self) -> None:
        """Close without waiting: a task of the loop does the remaining work."""
        if self._beside:
            self._leftover = Leftover(self)  # calls without the lock still use the descriptor
            self._discard()
        else:
            self._let_go(self._detach_leftover())

    def _detach_leftover(self) -> Leftover:
        leftover = Leftover(self)
        self._discard()
        return leftover

    def _let_go(self, leftover: Leftover) -> None:
        self._fd = self._data_fd = -1
        if leftover.pieces:
            spawn(leftover.finish, leftover.finish_now)
        else:
            leftover.close()

    aclose = _FileBase.close
    """The same as close()."""

    def __del__(self) -> None:
        """Warn of a file that is dropped open; it is closed, and what was gathered is written."""
        try:
            is_open = self._is_open
        except AttributeError:
            return
        if not is_open:
            return
        leftover = Leftover(self)
        self._is_open = False
        fate = ""
        if not leftover.pieces:
            if not self._is_writable:
                leftover.position = None  # as of a file of open()
            leftover.close()
        elif spawn(leftover.finish, leftover.finish_now):
            fate = f"; {leftover.nbytes} bytes are being written"
        elif not leftover.finish_now():
            fate = f"; {leftover.nbytes} bytes or fewer that were written to it are lost"
        warnings.warn(f"unclosed file {self!r}{fate}", ResourceWarning, stacklevel=2, source=self)

    async def __aenter__(self) -> Self:
        """Return self. ValueError once closed."""
        self._check_open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Close."""
        await self.close()

    # --- what needs no await

    @property
    def name(self) -> Any:
        """The path as it was given to open(), or the descriptor."""
        return self._name

    @property
    def mode(self) -> str:
        """The mode that open() was given, with "b"; without "t"."""
        return self._mode

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return not self._is_open

    @property
    def direct(self) -> bool:
        """Whether it was opened with direct=True: whole pages go past the page cache."""
        return self._direct is not None

    @property
    def context(self) -> AIOContext:
        """The context that carries out the operations."""
        return self._context

    def fileno(self) -> int:
        """Return the descriptor. ValueError once closed."""
        self._check_open()
        return self._fd

    def readable(self) -> bool:
        """Whether it was opened for reading. ValueError once closed."""
        self._check_open()
        return self._is_readable

    def writable(self) -> bool:
        """Whether it was opened for writing. ValueError once closed."""
        self._check_open()
        return self._is_writable

    def seekable(self) -> bool:
        """Whether it has a position. ValueError once closed."""
        self._check_open()
        return self._is_seekable

    def isatty(self) -> bool:
        """Whether it is a terminal. ValueError once closed."""
        self._check_open()
        return self._is_terminal

    def detach(self) -> int:
        """Give the descriptor away, and return it: the caller closes it. The file is closed for us.

        ValueError if something that was written is not yet flushed.
        """
        self._check_open()
        if self._gathered() or self._is_behind or self._is_locked or self._beside:
            msg = "detach() of a file that is in use: await flush() first"
            raise ValueError(msg)
        self._forget_read_bytes()
        if self._is_seekable:
            os.lseek(self._fd, self._offset, os.SEEK_SET)
        if self._direct is not None:
            self._direct.close_soon()
        fd, self._fd = self._fd, -1
        self._discard()
        return fd

    def __repr__(self) -> str:
        return f"<linux_aio.File name={self._name!r} mode={self._mode!r}>"


class _Beside:
    """Exists while a call without the lock uses the descriptor: close() waits for it."""

    def __init__(self, file: File) -> None:
        self._file = file

    def __enter__(self) -> None:
        self._file._check_open()
        if self._file._is_closing:
            msg = "I/O operation on closed file."
            raise ValueError(msg)
        self._file._beside += 1

    def __exit__(self, *_: object) -> None:
        file = self._file
        file._beside -= 1
        if file._beside == 0 and file._beside_gate is not None:
            file._beside_gate.set()
            file._beside_gate = None
        if file._beside == 0 and file._leftover is not None:
            leftover, file._leftover = file._leftover, None
            file._let_go(leftover)
