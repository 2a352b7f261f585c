# SPDX-License-Identifier: Apache-2.0
"""The open files of AioFileSystem: what open() and open_async() return.

open() gives blocking files, since fsspec's programs read and write them in threads of their own.
A new file has no name until it is closed, or until its transaction ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import os
import stat
import warnings
from typing import TYPE_CHECKING, Any

from fsspec.asyn import AbstractAsyncStreamedFile

from linux_aio import _copying, bulk
from linux_aio._core import _close_soon
from linux_aio._loop_context import loop_context

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from linux_aio.bulk import Direct
    from linux_aio.fsspec import AioFileSystem

BUFFER = 1 << 16
_LARGEST_BUFFER = 1 << 30
_DIRECT_BUFFER = 1 << 22
_MOST_IN_ONE_READ = 1 << 30


class _DirectReader(io.RawIOBase):
    """A file that is read with O_DIRECT, in the pieces that the buffered reader above asks for."""

    def __init__(self, path: str, direct: Direct) -> None:
        self._direct = direct
        self._position = 0
        self._file = io.FileIO(path)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        try:
            count = bulk.load_into(self._file, [(self._position, view)], direct=self._direct).nbytes
        except bulk.ShortFileError as error:
            count = error.transfer.nbytes
        self._position += count
        return count

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 1:
            offset += self._position
        elif whence == 2:
            offset += os.fstat(self._file.fileno()).st_size
        if offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._position = offset
        return offset

    def tell(self) -> int:
        return self._position

    def fileno(self) -> int:
        return self._file.fileno()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()


def check_mode(mode: str) -> None:
    """Raise the ValueError of open() for a binary mode that it does not have."""
    if set(mode) - set("rwaxb+") or len(set(mode)) != len(mode):
        raise ValueError(f"invalid mode: {mode!r}")
    if sum(letter in mode for letter in "rwax") != 1:
        raise ValueError("must have exactly one of create/read/write/append mode")


class OpenFile(io.IOBase):
    """A file that was opened for reading, appending or changing. Private."""

    f: Any = None

    def __init__(self, fs: AioFileSystem, path: str, mode: str, block_size: int | None) -> None:
        self.fs = fs
        self.path = path
        self.mode = mode
        is_size = isinstance(block_size, int) and 1 < block_size <= _LARGEST_BUFFER
        self.blocksize: int = block_size if block_size and is_size else BUFFER
        self._open()
        if "r" in mode:
            self.size = os.fstat(self.f.fileno()).st_size

    def _open(self) -> None:
        if self.mode == "rb" and self.fs.direct is not False:
            raw = _DirectReader(self.path, self.fs.direct)
            self.f = io.BufferedReader(raw, max(self.blocksize, _DIRECT_BUFFER))
        else:
            self.f = open(self.path, self.mode, self.blocksize)  # noqa: SIM115 - see close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.f, name)

    def __getstate__(self) -> dict[str, Any]:
        if "r" not in self.mode or "+" in self.mode:
            raise ValueError("a file that is open for writing can't be pickled")
        return {
            "fs": self.fs,
            "path": self.path,
            "mode": self.mode,
            "blocksize": self.blocksize,
            "size": self.size,
            "position": self.f.tell(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        position = state.pop("position")
        self.__dict__.update(state)
        self.f = None
        self._open()
        self.f.seek(position)

    @property
    def closed(self) -> bool:
        return self.f is None or bool(self.f.closed)

    @closed.setter
    def closed(self, _: bool) -> None:
        """Ignore it: fsspec's block cache sets it after close()."""

    def close(self) -> None:
        if self.closed:
            return
        try:
            if self.fs.durable and self.mode != "rb":
                self.f.flush()
                _copying.sync(self.f.fileno())
        finally:
            self.f.close()

    @property
    def name(self) -> str:
        """The path."""
        return self.path

    def commit(self) -> None:
        """Do nothing at the end of a transaction: what was written is in the file."""

    def discard(self) -> None:
        """Do nothing, for the same reason."""

    def give_up(self) -> None:
        """Do nothing after an error, for the same reason."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        """Read bytes for fsspec's caches."""
        self.f.seek(start)
        return self.read(end - start)

    def read(self, size: int | None = -1, /) -> bytes:
        data: bytes = self.f.read(size)
        return data

    def readline(self, size: int | None = -1, /) -> bytes:
        line: bytes = self.f.readline(size)
        return line

    def readlines(self, hint: int = -1, /) -> list[bytes]:
        lines: list[bytes] = self.f.readlines(hint)
        return lines

    def readinto(self, buffer: Any, /) -> int:
        count: int = self.f.readinto(buffer)
        return count

    def write(self, data: Any, /) -> int:
        count: int = self.f.write(data)
        return count

    def flush(self) -> None:
        if not self.closed:
            self.f.flush()

    def seek(self, offset: int, whence: int = 0, /) -> int:
        position: int = self.f.seek(offset, whence)
        return position

    def tell(self) -> int:
        position: int = self.f.tell()
        return position

    def truncate(self, size: int | None = None, /) -> int:
        length: int = self.f.truncate(size)
        return length

    def readable(self) -> bool:
        return bool(self.f.readable())

    def writable(self) -> bool:
        return bool(self.f.writable())

    def seekable(self) -> bool:
        return bool(self.f.seekable())

    def fileno(self) -> int:
        return int(self.f.fileno())

    def __next__(self) -> bytes:
        line: bytes = next(self.f)
        return line


class NewFile(OpenFile):
    """A new file that replaces the one at its path when it is closed or committed. Private."""

    _new: _copying.NewFile | None = None

    def __init__(
        self,
        fs: AioFileSystem,
        path: str,
        mode: str,
        *,
        autocommit: bool = True,
        block_size: int | None = None,
    ) -> None:
        self.autocommit = autocommit
        super().__init__(fs, path, mode, block_size)

    def _open(self) -> None:
        self._pid = os.getpid()
        self._exclusive = "x" in self.mode
        self._target = os.path.realpath(self.path)
        if self._exclusive and os.path.lexists(self.path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.path)
        try:
            kind = os.stat(self._target).st_mode
        except FileNotFoundError:
            kind = stat.S_IFREG
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self.path)
        if stat.S_ISREG(kind):
            self._new = self._new_file()
        if self._new is None:
            self.f = open(self.path, self.mode, self.blocksize)  # noqa: SIM115 - see close()
        else:
            self.f = open(self._new.fd, "wb", self.blocksize, closefd=False)  # noqa: SIM115

    def _new_file(self) -> _copying.NewFile | None:
        """Make a new file beside the target; None if only the target itself can be written to."""
        try:
            new = _copying.NewFile(self._target)
        except OSError as error:
            is_refused = isinstance(error, PermissionError)
            if is_refused and self.autocommit and os.access(self._target, os.W_OK):
                return None
            raise OSError(error.errno, error.strerror, self.path) from None
        if os.path.exists(self._target) and not os.access(self._target, os.W_OK):
            new.close()
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), self.path)
        return new

    def close(self) -> None:
        if self.closed:
            return
        if self._pid != os.getpid():
            self._forget()
            return
        self._complete()
        if self.autocommit:
            self.commit()

    def _complete(self) -> None:
        """Write what was gathered, and give the new file its mode; or drop it."""
        try:
            self.f.flush()
            if self._new is not None:
                self._new.take_mode()
            if self.fs.durable:
                _copying.sync(self.f.fileno())
        except BaseException:
            self._abandon()
            raise
        finally:
            self.f.close()

    def _forget(self) -> None:
        """In a child process, close the descriptor only: the file is the parent's to complete."""
        self.f.raw.close()  # so that nothing is flushed
        new, self._new = self._new, None
        if new is not None:
            new.close()

    def commit(self) -> None:
        """Give the file its name. close() calls this, or the end of a transaction."""
        if not self.closed:
            self._complete()
        new, self._new = self._new, None
        if new is None:
            return
        with contextlib.closing(new):
            if self._exclusive:
                new.take_name(self.fs.durable)
            else:
                new.replace_target(self.fs.durable)

    def discard(self) -> None:
        """Drop the new file: whatever is at the path stays."""
        self._abandon()

    def give_up(self) -> None:
        """Drop the new file after an error, unless a transaction decides about it."""
        if self.autocommit:
            self._abandon()

    def _abandon(self) -> None:
        new, self._new = self._new, None
        if new is not None:
            if self.f is not None:
                with contextlib.suppress(OSError, ValueError):
                    self.f.close()
            new.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.give_up()
        self.close()

    def __del__(self) -> None:
        if self.f is not None and self._pid != os.getpid():
            self._forget()
            return
        was_open = self.f is not None and not self.closed
        if was_open:
            with contextlib.suppress(Exception):
                self.close()
        self._abandon()
        if was_open:
            warnings.warn(f"unclosed file {self.path!r}", ResourceWarning, 2, self)


class TextOfFile(io.TextIOWrapper):
    """Text on top of an OpenFile: a `with` block that raises leaves the old file. Private."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        file: Any = self.buffer
        if kind is not None and isinstance(file, OpenFile):
            with contextlib.suppress(OSError, ValueError):
                self.flush()  # what is left in this object would be written by close()
            file.give_up()
        self.close()


def compressed(file: OpenFile, compressor: Any, mode: str) -> Any:
    """Return a file object that compresses or expands. Closing it closes `file`, too."""
    outer = compressor(file, mode=mode[0])
    close_outer = outer.close

    def close() -> None:
        try:
            close_outer()
        except BaseException:
            file.give_up()
            raise
        finally:
            file.close()

    with contextlib.suppress(AttributeError):  # an object written in C
        outer.close = close
    return outer


class StreamedFile(AbstractAsyncStreamedFile):  # type: ignore[misc]
    """A file whose read() and close() are awaited, as open_async() returns it. Private."""

    def __init__(self, fs: AioFileSystem, path: str, fd: int, size: int) -> None:
        self.fs = fs
        self.path = path
        self.mode = "rb"
        self.size = size
        self.loc = 0
        self.blocksize = BUFFER
        self._fd = fd
        self._reads = 0  # under way, in other tasks; the last one closes a closed file's descriptor
        self.closed = False

    async def read(self, length: int | None = -1) -> bytes:
        data: bytes
        if self.size or (length is not None and length >= 0):
            data = await super().read(-1 if length is None else length)
            return data
        parts = []  # the size of a file in /proc is not known
        while part := await self._fetch_range(self.loc, self.loc + BUFFER):
            parts.append(part)
            self.loc += len(part)
        return b"".join(parts)

    async def _fetch_range(self, start: int, end: int) -> bytes:
        context: Any = loop_context()
        parts: list[bytes] = []
        self._reads += 1
        try:
            while start < end:
                if self.closed:
                    msg = "I/O operation on closed file."
                    raise ValueError(msg)
                length = min(end - start, _MOST_IN_ONE_READ)
                part: bytes = await context.read(length, self._fd, start)
                if not part:
                    break
                parts.append(part)
                start += len(part)
        finally:
            self._reads -= 1
            if self.closed and not self._reads:
                _close_soon(self._fd)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            if not self._reads:
                await loop_context()._close(self._fd)

    def __del__(self) -> None:
        if not self.closed:
            self.closed = True
            warnings.warn(f"unclosed file {self.path!r}", ResourceWarning, 2, self)
            _close_soon(self._fd)


class StreamedWriter(AbstractAsyncStreamedFile):  # type: ignore[misc]
    """A file whose write(), flush() and close() are awaited. Private."""

    def __init__(self, fs: AioFileSystem, path: str, mode: str, file: OpenFile) -> None:
        self.fs = fs
        self.path = path
        self.mode = mode
        self.loc = 0
        self.blocksize = BUFFER
        self._file = file
        self.closed = False

    async def write(self, data: Any) -> int:
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        count = await asyncio.to_thread(self._file.write, data)
        self.loc += count
        return count

    async def flush(self, force: bool = False) -> None:
        if self.closed:
            raise ValueError("Flush on closed file")
        await asyncio.to_thread(self._file.flush)

    @staticmethod
    def _in_thread(end: Callable[[], None]) -> asyncio.Future[None]:
        """Have a thread call `end`, which it does even if the awaiting task is cancelled."""
        return asyncio.shield(asyncio.get_running_loop().run_in_executor(None, end))

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            await self._in_thread(self._file.close)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None and isinstance(self._file, NewFile):
            await self._in_thread(self._file.discard)
        await self.close()

    def __del__(self) -> None:
        """Do nothing: the file itself warns and closes."""
        self.closed = True
