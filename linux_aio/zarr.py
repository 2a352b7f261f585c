# SPDX-License-Identifier: Apache-2.0
"""A store for zarr-python 3 in a folder of this machine, or of a mount that all machines have.

It has the layout of zarr's LocalStore, and each can read what the other has written. Chunks are
read and written in the loop that zarr awaits them in, many at a time and without a thread for each.
A value is written without a name, and gets its key when it is whole.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    from zarr.abc.store import OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
    from zarr.core.buffer import Buffer
    from zarr.core.buffer.core import default_buffer_prototype
except ImportError as error:
    raise ImportError(
        "linux_aio.zarr needs zarr 3.1 or later: pip install 'linux-aio-python[zarr]'", name="zarr"
    ) from error

from linux_aio import _core, fs
from linux_aio._loop_context import loop_context
from linux_aio._many_files import in_flight, read_part_of, read_parts, replace_file
from linux_aio._whole_files import read_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable
    from typing import Self

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import BufferPrototype

__all__ = ["AioStore"]

# Temporary names of new values. They are left over if the process is killed meanwhile.
_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{12}\.tmp", re.DOTALL)

# The errors for a key that does not exist.
_MISSING = (FileNotFoundError, IsADirectoryError, NotADirectoryError)

# The errors for which Path.is_file() and the like are false. From Python 3.14 on all are.
_NO_SUCH_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EBADF, errno.ELOOP})

# How many requests of _get_many are read before their values are handed out.
_TAKEN_AT_ONCE = 64


class AioStore(Store):  # type: ignore[misc]
    """A store for zarr whose keys are paths below the folder `root`: see zarr.abc.store.Store.

    read_only=True refuses to change anything. durable=True: a value is on the disk when set()
    returns (fsync(2)). An instance can be pickled.
    """

    supports_writes: bool = True
    supports_deletes: bool = True
    supports_listing: bool = True

    root: Path
    _is_open: bool

    def __init__(self, root: Path | str, *, read_only: bool = False, durable: bool = False) -> None:
        super().__init__(read_only=read_only)
        if not isinstance(root, str | Path):
            raise TypeError(
                f"'root' must be a string or Path instance. Got an instance of {type(root)} "
                "instead."
            )
        self.durable = durable
        self._set_root(Path(root))

    def _set_root(self, root: Path) -> None:
        self.root = root
        path = str(root)
        self._prefix = path if path.endswith("/") else path + "/"

    def with_read_only(self, read_only: bool = False) -> Self:
        """Return a store of the same folder that is, or is not, read-only."""
        return type(self)(self.root, read_only=read_only, durable=self.durable)

    @classmethod
    async def open(
        cls,
        root: Path | str,
        *,
        read_only: bool = False,
        durable: bool = False,
        mode: str | None = None,
    ) -> Self:
        """Return an open store, whose folder is made if it is missing.

        With mode "r" or "r+" the folder must be there: FileNotFoundError. The other arguments are
        those of AioStore.
        """
        must_exist = read_only if mode is None else mode in ("r", "r+")
        await cls(root, read_only=must_exist)._open()
        store = cls(root, read_only=read_only, durable=durable)
        await store._open()
        return store

    async def _open(self) -> None:
        if not self.read_only:
            await fs.makedirs(self.root, exist_ok=True)
        if not await _mode(self.root):
            raise FileNotFoundError(f"{self.root} does not exist")
        await super()._open()

    async def _ensure_open(self) -> None:
        if self._is_open:
            return
        try:
            await self._open()
        except ValueError:
            if not self._is_open:  # else another task has opened it meanwhile
                raise

    def _ensure_open_sync(self) -> None:
        if not self._is_open:
            if not self.read_only:
                self.root.mkdir(parents=True, exist_ok=True)
            if not self.root.exists():
                raise FileNotFoundError(f"{self.root} does not exist")
            self._is_open = True

    def __str__(self) -> str:
        return f"aio://{self.root}"

    def __repr__(self) -> str:
        return f"AioStore('{self}')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.root == other.root

    __hash__ = None  # type: ignore[assignment]

    def _path(self, key: str) -> str:
        if not isinstance(key, str):
            raise TypeError(f"a key must be a string, not an instance of {type(key)}")
        return self._prefix + key

    def _buffer_of(self, method: str, value: Any) -> Any:
        if not isinstance(value, Buffer):
            raise TypeError(
                f"AioStore.{method}(): `value` must be a Buffer instance. Got an instance of "
                f"{type(value)} instead."
            )
        return value.as_buffer_like()

    # --- reading

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Return the value of the key, or the part that is asked for, or None."""
        await self._ensure_open()
        context: Any = loop_context()
        path = self._path(key)
        part = None if byte_range is None else _offset_and_length(byte_range)
        try:
            if part is None:
                data = await read_bytes(path, context=context)
            else:
                data = await read_part_of(context, path, *part)
        except _MISSING:
            return None
        if prototype is None:
            prototype = default_buffer_prototype()
        return prototype.buffer.from_bytes(data)

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        """Return the parts in the order in which they are given; None for missing keys."""
        await self._ensure_open()
        paths, starts, ends = [], [], []
        for key, byte_range in key_ranges:
            offset, length = (0, -1) if byte_range is None else _offset_and_length(byte_range)
            paths.append(self._path(key))
            starts.append(offset)
            ends.append(None if length < 0 else offset + length)
        values: list[Buffer | None] = []
        for data in await read_parts(paths, starts, ends):
            if isinstance(data, _MISSING):
                values.append(None)
            elif isinstance(data, BaseException):
                raise data
            else:
                values.append(prototype.buffer.from_bytes(data))
        return values

    async def _get_many(
        self, requests: Iterable[tuple[str, BufferPrototype, ByteRequest | None]]
    ) -> AsyncGenerator[tuple[str, Buffer | None], None]:
        async def get(request: tuple[str, BufferPrototype, ByteRequest | None]) -> Any:
            return await self.get(*request)

        left = list(requests)
        for start in range(0, len(left), _TAKEN_AT_ONCE):
            some = left[start : start + _TAKEN_AT_ONCE]
            for request, value in zip(some, await in_flight(get, some, None), strict=True):
                if isinstance(value, BaseException):
                    raise value
                yield request[0], value

    async def exists(self, key: str) -> bool:
        """Whether there is such a key."""
        return stat.S_ISREG(await _mode(self._path(key)))

    async def getsize(self, key: str) -> int:
        """Return the length of the value in bytes, or raise FileNotFoundError."""
        return await fs.getsize(self._path(key))

    async def getsize_prefix(self, prefix: str) -> int:
        """Return the length in bytes of all values below the prefix."""
        total = 0
        async for _, entry in self._walk(prefix, stat_files=True):
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISLNK(status.st_mode):
                    status = await fs.stat(entry.path)
                total += status.st_size
        return total

    # --- writing

    async def set(self, key: str, value: Buffer) -> None:
        """Give the key a value. Other programs find the old value, or the new one, whole."""
        await self._set(key, value, exclusive=False)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Give the key a value unless it has one. Of several writers one wins."""
        with contextlib.suppress(FileExistsError):
            await self._set(key, value, exclusive=True)

    async def _set(self, key: str, value: Buffer, *, exclusive: bool) -> None:
        await self._ensure_open()
        self._check_writable()
        await replace_file(
            self._path(key),
            self._buffer_of("set", value),
            exclusive=exclusive,
            durable=self.durable,
            makes_parents=True,
        )

    async def _set_many(self, values: Iterable[tuple[str, Buffer]]) -> None:
        async def write(item: tuple[str, Buffer]) -> None:
            await self.set(*item)

        for error in await in_flight(write, list(values), None):
            if error is not None:
                raise error

    async def delete(self, key: str) -> None:
        """Remove the key, or the folder of that name, if there is one."""
        self._check_writable()
        path = self._path(key)
        if stat.S_ISDIR(await _mode(path)):
            await fs.rmtree(path)
        else:
            with contextlib.suppress(FileNotFoundError):
                await fs.unlink(path)

    async def delete_dir(self, prefix: str) -> None:
        """Remove all keys below the prefix."""
        self._check_writable()
        path = self._path(prefix)
        mode = await _mode(path)
        if stat.S_ISDIR(mode):
            await fs.rmtree(path)
        elif stat.S_ISREG(mode):
            raise ValueError(f"delete_dir was passed a {prefix=!r} that is a file")

    async def clear(self) -> None:
        """Remove all keys."""
        self._check_writable()
        await fs.rmtree(self.root)
        await fs.mkdir(self.root)

    async def move(self, dest_root: Path | str) -> None:
        """Move the folder to a path that is not there yet."""
        target = Path(dest_root)
        await fs.makedirs(target.parent, exist_ok=True)
        if await fs.exists(target):
            raise FileExistsError(f"Destination root {target} already exists.")
        await fs.move(self.root, target)
        self._set_root(target)

    # --- listing

    async def list(self) -> AsyncIterator[str]:
        """Yield all keys."""
        async for key, _ in self._walk(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield the keys below the folder `prefix`."""
        async for key, _ in self._walk(prefix):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names of the keys and folders in the folder `prefix`."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for name in await fs.listdir(self._path(prefix)):
                if not _TEMPORARY.fullmatch(name):
                    yield name

    async def _walk(
        self, prefix: str, *, stat_files: bool = False
    ) -> AsyncIterator[tuple[str, Any]]:
        """Yield the keys below a folder with their entries of fs.scandir()."""
        folders = [prefix.rstrip("/")]
        while folders:
            folder = folders.pop()
            start = folder + "/" if folder else ""
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                async with fs.scandir(self._path(folder), stat=stat_files) as entries:
                    async for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(start + entry.name)
                        elif not _TEMPORARY.fullmatch(entry.name) and (
                            entry.is_file(follow_symlinks=False)
                            or (entry.is_symlink() and await fs.isfile(entry.path))
                        ):
                            yield start + entry.name, entry

    # --- without an event loop, in the calling thread

    def get_sync(
        self,
        key: str,
        *,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """As get(); blocks."""
        self._ensure_open_sync()
        part = (0, -1) if byte_range is None else _offset_and_length(byte_range)
        try:
            data = _core._read_part_now(self._path(key), *part)
        except _MISSING:
            return None
        if prototype is None:
            prototype = default_buffer_prototype()
        return prototype.buffer.from_bytes(data)

    def set_sync(self, key: str, value: Buffer) -> None:
        """As set(); blocks."""
        self._ensure_open_sync()
        self._check_writable()
        data = self._buffer_of("set_sync", value)
        _core._replace_file_now(self._path(key), data, False, self.durable, True)

    def delete_sync(self, key: str) -> None:
        """As delete(); blocks."""
        self._ensure_open_sync()
        self._check_writable()
        path = self._path(key)
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


async def _mode(path: Path | str) -> int:
    """Return st_mode, or 0 where Path.exists() is false. Raise the errors that it raises."""
    try:
        return (await fs.stat(path)).st_mode
    except OSError as error:
        is_false = error.errno in _NO_SUCH_FILE or sys.version_info >= (3, 14)
        if not is_false or not fs._is_about_path(error, None):
            raise
    except ValueError:  # there is no such path
        pass
    return 0


def _offset_and_length(byte_range: ByteRequest) -> tuple[int, int]:
    """Return a request as _read_part's arguments, or raise as zarr's LocalStore does."""
    offset, length = 0, -1
    if isinstance(byte_range, RangeByteRequest):
        offset, length = byte_range.start, byte_range.end - byte_range.start
        if length < 0:
            raise ValueError(f"a byte range must not end before it begins: {byte_range}")
    elif isinstance(byte_range, OffsetByteRequest):
        offset = byte_range.offset
    elif isinstance(byte_range, SuffixByteRequest):
        # a suffix of 0 is empty, but an offset of -0 would be the beginning
        return (-byte_range.suffix, -1) if byte_range.suffix > 0 else (0, 0)
    else:
        raise TypeError(f"Unexpected byte_range, got {byte_range}.")
    if offset < 0:
        text = f"{os.strerror(errno.EINVAL)}: a byte range must not begin before the value"
        raise OSError(errno.EINVAL, f"{text}: {byte_range}")
    return offset, length
