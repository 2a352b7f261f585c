# SPDX-License-Identifier: Apache-2.0
"""The standard streams: files of the descriptors 0, 1 and 2, usable in any event loop.

They belong to the process: bytes that were read ahead in one loop can be read in the next one, and
loops of several threads may use them at the same time. The descriptors are not used before the
first call that is awaited.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import locale
import os
import select
import sys
import time
import types
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, cast

from ._file import File, Mode
from ._loop_context import at_loop_end, loop_context, pause
from ._mapped_memory import copied
from ._text_file import TextFile
from ._unwritten import start_writing_here

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._core import AIOContext, _Awaitable

# How many written bytes are gathered before they are written, as for sys.stdout.
GATHERED = 8192

# How many milliseconds the process waits at its end for a write that a closed loop began.
LAST_PATIENCE = 1000


class _StandardFile(File):
    """A standard stream in bytes."""

    def __init__(self, name: str, fd: int, mode: str, *, flushes: bool) -> None:
        super().__init__(
            cast("AIOContext", None),
            fd,
            name,
            Mode(0, False, mode, mode == "rb", mode == "wb", is_appending=False),
            closefd=False,
            buffering=-1,
            is_named=False,
        )
        self._text: _StandardText | None = None
        self._queue = OrderedDict()  # not made when needed, for loops in two threads may need it
        self._limit = GATHERED
        self._flushes = flushes  # whether each write is flushed
        # Until _acquire() has learnt the kind of file, no call moves the descriptor's position, and
        # no write is gathered without the lock: the file may be shared with other programs.
        self._is_learnt = False
        self._is_seekable = self._keeps_kernel_offset = False
        self._goes_slowly = flushes or self._is_writable
        self._request_context: AIOContext | None = None
        self._is_open = True

    @property
    def _context(self) -> AIOContext:
        return loop_context()

    @_context.setter
    def _context(self, _: AIOContext) -> None:
        """Ignore it: the context is always that of the running loop."""

    def _set_reader(self, context: AIOContext, /) -> None:
        """Ignore it, for the same reason."""

    async def _acquire(self) -> None:
        loop_context()  # so that _end_calls() is called if the loop is closed meanwhile
        await super()._acquire()
        try:
            if not self._is_learnt and self._is_open:
                await self._learn_kind()
            if self._request is not None:
                while self._request_context is not loop_context() and not self._request._is_over():
                    await pause(0.005)
                self._take_result()
        except BaseException:
            self._release()
            raise

    async def _learn_kind(self) -> None:
        _, *description = await self._context._describe(self._fd)
        self._is_seekable = self._keeps_kernel_offset = True
        try:
            self._learn(*description)
        except BaseException:
            self._is_seekable = self._keeps_kernel_offset = False
            raise
        self._ahead = None  # it would belong to this loop, and the next loop could not use it
        if self._is_writable:
            self._has_position, self._is_seekable = self._is_seekable, False
        self._goes_slowly = self._flushes
        self._is_learnt = True
        if self._text is not None:
            self._text._learn()

    async def _read_slow(self, size: int) -> bytes:
        if self._is_learnt:
            return await super()._read_slow(size)
        # Learnt and read under one lock: a second wait for it would be behind later calls.
        self._check_readable()
        await self._acquire()
        try:
            self._check_readable()
            return await self._read_rest(size)
        finally:
            self._release()

    async def _begin_beside(self) -> None:
        if not self._is_learnt:
            await self._acquire()
            self._release()
        await super()._begin_beside()

    def seekable(self) -> bool:
        """Whether it has a position. ValueError once closed."""
        self._check_open()
        if self._is_learnt or self._is_writable:
            return self._is_seekable
        try:
            os.lseek(self._fd, 0, os.SEEK_CUR)
        except OSError:
            return False
        return True

    def _take_result(self) -> None:
        """Take the result of a write that no task waits for any more; its loop may be closed."""
        request = self._request
        if request is None or not request._is_over():
            return
        self._note_request(None)
        try:
            count = request._result_if_over() or 0
            self._unwritten_size -= count
            joined = b"".join(self._unwritten)[count:]
            self._unwritten = [joined] if joined else []
        except BaseException:
            pass  # it was cancelled or failed: the next write tries again, and reports an error

    async def _write_locked(self, data: bytes | memoryview) -> int:
        self._gather(await copied(loop_context(), data))
        if self._flushes or self._gathered() > self._limit:
            await self._drain()
        return len(data)

    def _start_request(self, offset: int) -> _Awaitable[int]:
        self._request_context = loop_context()
        if not self._has_position:
            return super()._start_request(offset)
        return start_writing_here(self._request_context, self._unwritten, self._fd)

    def isatty(self) -> bool:
        """Whether it is a terminal. ValueError once closed."""
        self._check_open()
        return os.isatty(self._fd)

    def __del__(self) -> None:
        """Do nothing: _write_the_rest() writes the gathered bytes at the end of the process."""

    def _write_the_rest(self) -> None:
        """Write the gathered bytes at the end of the process, blocking, as for sys.stdout."""
        if not self._is_open or not self._is_writable:
            return
        for _ in range(LAST_PATIENCE):
            self._take_result()
            if self._request is None:
                break
            time.sleep(0.001)
        else:
            return  # a write is in flight: what is written here might be written twice
        rest = memoryview(b"".join([*self._unwritten, *self._take_gathered()]))
        self._unwritten = []
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                select.select([], [self._fd], [])

    def _forget_parent(self) -> None:
        """In a child process, forget calls and unwritten bytes, which are the parent's."""
        self._take_over()
        self._is_locked = False
        self._queue = OrderedDict()
        self._note_request(None)
        self._take_gathered()
        self._unwritten = []
        self._unwritten_size = 0
        self._is_behind = False


class _StandardText(TextFile):
    """A standard stream in str."""

    def __init__(self, file: _StandardFile, counterpart: Any) -> None:
        encoding = getattr(counterpart, "encoding", None) or locale.getencoding()
        errors = getattr(counterpart, "errors", None) or "strict"
        mode = "w" if file._is_writable else "r"
        super().__init__(file, mode, encoding, errors, None, line_buffering=False)
        self._goes_slowly = file._is_writable  # until the kind of file is known
        file._text = self

    def _learn(self) -> None:
        self._line_buffering = self._file._is_terminal and self._file._is_writable
        self._goes_slowly = self._line_buffering or self._file._goes_slowly


def _make(name: str, fd: int, mode: str) -> tuple[_StandardText, File]:
    counterpart = getattr(sys, f"__{name}__")
    is_unbuffered = mode == "wb" and (fd == 2 or getattr(counterpart, "write_through", False))
    file = _StandardFile(f"<{name}>", fd, mode, flushes=is_unbuffered)
    text = _StandardText(file, counterpart)
    if counterpart is None:  # the process began without: the number may be another file's
        file._is_open = False
    return text, file


stdin, stdin_bytes = _make("stdin", 0, "rb")
stdout, stdout_bytes = _make("stdout", 1, "wb")
stderr, stderr_bytes = _make("stderr", 2, "wb")

_files = cast("list[_StandardFile]", [stdin_bytes, stdout_bytes, stderr_bytes])


def _write_the_rest() -> None:
    for file in _files:
        with contextlib.suppress(OSError):  # nobody can be told, as for sys.stdout
            file._write_the_rest()


def _awaitables(task: asyncio.Task[Any]) -> Iterator[Any]:
    """Yield the task's coroutine, what this awaits, what that awaits, and so on."""
    awaitable: Any = task.get_coro()
    while awaitable is not None and not asyncio.isfuture(awaitable):
        yield awaitable
        for name in ("cr_await", "gi_yieldfrom", "ag_await"):
            if hasattr(awaitable, name):
                awaitable = getattr(awaitable, name)
                break
        else:  # a step of an asynchronous generator, for one: it only refers to the generator
            inner = (types.CoroutineType, types.AsyncGeneratorType)
            found = (one for one in gc.get_referents(awaitable) if isinstance(one, inner))
            awaitable = next(found, None)


def _end_calls(loop: asyncio.AbstractEventLoop) -> None:
    """End the calls of a closed loop's tasks, which never run again: others may have the lock.

    Closing a call's coroutine also puts back the bytes that the call has taken.
    """
    for task in asyncio.all_tasks(loop):
        for awaitable in _awaitables(task):
            frame = getattr(awaitable, "cr_frame", None)
            if frame is None:
                continue
            if isinstance(frame.f_locals.get("self"), (_StandardFile, _StandardText)):
                with contextlib.suppress(Exception, asyncio.CancelledError):
                    awaitable.close()
                break


def _forget_parent() -> None:
    for file in _files:
        file._forget_parent()


at_loop_end.append(_end_calls)
atexit.register(_write_the_rest)
os.register_at_fork(after_in_child=_forget_parent)
