# SPDX-License-Identifier: Apache-2.0
"""A file system for fsspec, of this machine's files, under the protocol "aio".

Dask, Ray, pandas, pyarrow and xarray take it wherever they take fsspec's file systems: by an URL
such as aio:///data/part.parquet, or as an AioFileSystem. It does what fsspec's LocalFileSystem
does, with the same exceptions. Many files and many ranges are read with as many requests in flight
as the disk takes. A file that is written has its old content, or none, until it is whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import errno
import os
import re
import shutil
import stat
from typing import TYPE_CHECKING, Any

try:
    from fsspec.asyn import AsyncFileSystem, get_loop, sync_wrapper
    from fsspec.callbacks import DEFAULT_CALLBACK
    from fsspec.compression import compr
    from fsspec.core import get_compression
    from fsspec.implementations.local import make_path_posix
    from fsspec.registry import register_implementation
    from fsspec.utils import isfilelike, stringify_path
except ImportError as error:
    raise ImportError(
        "linux_aio.fsspec needs fsspec 2024.6 or later: pip install 'linux-aio-python[fsspec]'",
        name="fsspec",
    ) from error

from linux_aio import bulk, fs
from linux_aio._core import _close_soon
from linux_aio._fsspec_files import (
    NewFile,
    OpenFile,
    StreamedFile,
    StreamedWriter,
    TextOfFile,
    check_mode,
    compressed,
)
from linux_aio._loop_context import loop_context
from linux_aio._many_files import in_flight, read_part, read_parts, replace_file, sync_file
from linux_aio._trees import named_pipe
from linux_aio._whole_files import read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from linux_aio.bulk import Direct

__all__ = ["AioFileSystem"]

# Smaller files are copied by one read and one write.
_SMALL = 1 << 20


# Finds what makes a path a pattern.
_MAGIC = re.compile("[*?[]").search


class _NamesOfCopies:
    """Stands in for a file system in fsspec's _copy(), to learn what is to be copied where."""

    def __init__(self, filesystem: AioFileSystem) -> None:
        self._filesystem = filesystem
        self.pairs: list[tuple[Any, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._filesystem, name)

    async def _cp_file(self, path1: Any, path2: Any, **_kwargs: Any) -> None:
        self.pairs.append((path1, path2))


class AioFileSystem(AsyncFileSystem):  # type: ignore[misc]
    """The files of this machine, or of a mount that all machines have, for fsspec: "aio://".

    auto_mkdir=True makes the directories above a file that is written. direct=True reads past the
    page cache (O_DIRECT), "auto" only what is not in it. durable=True: what was written is on the
    disk when the call, or close(), returns (fsync(2)). `asynchronous`, `loop` and `batch_size` are
    fsspec's. The methods are those of fsspec.spec.AbstractFileSystem and
    fsspec.asyn.AsyncFileSystem. An instance pickles by its arguments.
    """

    protocol = "aio"
    root_marker = "/"
    local_file = True

    def __init__(
        self,
        auto_mkdir: bool = False,
        direct: Direct = False,
        durable: bool = False,
        **storage_options: Any,
    ) -> None:
        if direct not in (False, True, "auto"):
            raise ValueError(f"direct must be False, True or 'auto', not {direct!r}")
        super().__init__(**storage_options)
        self.auto_mkdir = auto_mkdir
        self.direct = direct
        self.durable = durable

    @property
    def fsid(self) -> str:
        """The name of the file system; equal for all instances."""
        return "aio"

    _pid: int
    _loop: asyncio.AbstractEventLoop | None

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop of fsspec's thread, or the one given; in a child process fsspec's own."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            if self._loop is not None:
                self._loop = get_loop()
        return self._loop

    # --- paths

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        """Return the absolute path, without a slash at its end, of an aio URL or a path."""
        if type(path) is str and path.startswith("/"):
            return path.rstrip("/") or "/"
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        path = stringify_path(path)
        if path.startswith("aio:"):
            path = path[6:] if path.startswith("//", 4) else path[4:]
        return make_path_posix(path).rstrip("/") or "/"

    @classmethod
    def _parent(cls, path: Any) -> str:
        stripped: str = cls._strip_protocol(path)
        return stripped.rsplit("/", 1)[0] or "/"

    def unstrip_protocol(self, name: Any) -> str:
        """Return the URL of a path."""
        return f"aio://{self._strip_protocol(name)}"

    def _isfilestore(self) -> bool:
        return True

    async def _make_parent(self, path: str) -> None:
        if self.auto_mkdir:
            await fs.makedirs(path.rsplit("/", 1)[0] or "/", exist_ok=True)

    # --- status

    async def _info(self, path: Any, **kwargs: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        status = await fs.lstat(path)
        if not stat.S_ISLNK(status.st_mode):
            return _info_of(path, status)
        info = _info_of(path, await fs.stat(path))
        info["islink"] = True
        info["destination"] = await fs.readlink(path)
        return info

    async def _ls(self, path: Any, detail: bool = True, **kwargs: Any) -> list[Any]:
        path = self._strip_protocol(path)
        prefix = path if path.endswith("/") else path + "/"
        try:
            if not detail:
                return [prefix + entry.name async for entry in fs.scandir(path, stat=False)]
            found: list[Any] = []
            async with fs.scandir(path) as entries:
                async for entry in entries:
                    with contextlib.suppress(FileNotFoundError):
                        found.append(await self._info_of_entry(prefix + entry.name, entry))
        except NotADirectoryError:
            info = await self._info(path)
            return [info if detail else info["name"]]
        return found

    @staticmethod
    async def _info_of_entry(path: str, entry: Any) -> dict[str, Any]:
        info = _info_of(path, entry.stat(follow_symlinks=False))
        if entry.is_symlink():
            info["islink"] = True
            try:
                info["size"] = (await fs.stat(path)).st_size
            except OSError as error:
                if not fs._is_about_path(error, None):
                    raise
                info["size"] = 0
            info["destination"] = await fs.readlink(path)
        return info

    async def _exists(self, path: Any, **kwargs: Any) -> bool:
        return await fs.exists(self._strip_protocol(path))

    async def _lexists(self, path: Any, **kwargs: Any) -> bool:
        return await fs.lexists(self._strip_protocol(path))

    async def _isfile(self, path: Any) -> bool:
        return await fs.isfile(self._strip_protocol(path))

    async def _isdir(self, path: Any) -> bool:
        return await fs.isdir(self._strip_protocol(path))

    async def _islink(self, path: Any) -> bool:
        return await fs.islink(self._strip_protocol(path))

    async def _size(self, path: Any) -> int:
        return await fs.getsize(self._strip_protocol(path))

    async def _created(self, path: Any) -> datetime.datetime:
        info = await self._info(path)
        return datetime.datetime.fromtimestamp(info["created"], tz=datetime.UTC)

    async def _modified(self, path: Any) -> datetime.datetime:
        info = await self._info(path)
        return datetime.datetime.fromtimestamp(info["mtime"], tz=datetime.UTC)

    # --- directories and names

    async def _mkdir(self, path: Any, create_parents: bool = True, **kwargs: Any) -> None:
        path = self._strip_protocol(path)
        if await fs.exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        if create_parents:
            await fs.makedirs(path, exist_ok=True)
        else:
            await fs.mkdir(path, **kwargs)

    async def _makedirs(self, path: Any, exist_ok: bool = False) -> None:
        await fs.makedirs(self._strip_protocol(path), exist_ok=exist_ok)

    async def _rmdir(self, path: Any) -> None:
        await fs.rmdir(self._strip_protocol(path))

    async def _rm_file(self, path: Any, **kwargs: Any) -> None:
        await fs.unlink(self._strip_protocol(path))

    async def _rm(
        self,
        path: Any,
        recursive: bool = False,
        batch_size: int | None = None,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        if maxdepth is not None:
            paths = await self._expand_path(path, recursive=recursive, maxdepth=maxdepth)
            for one in reversed(paths):
                is_folder = await self._isdir(one) and not await self._islink(one)
                await (self._rmdir(one) if is_folder else self._rm_file(one))
            return
        for one in path if isinstance(path, list | tuple | set) else [path]:
            for name in await self._literal_paths(self._strip_protocol(one)):
                await self._rm_one(name, recursive)

    async def _literal_paths(self, path: str) -> list[str]:
        """Return the paths that match the pattern. An existing name only stands for itself."""
        if not any(sign in path for sign in "*?[") or await fs.lexists(path):
            return [path]
        found: list[str] = await self._glob(path)
        if not found:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return found

    async def _rm_one(self, path: str, recursive: bool) -> None:
        if not await fs.isdir(path) or await fs.islink(path):
            await fs.unlink(path)
            return
        if not recursive:
            raise ValueError("Cannot delete directory, set recursive=True")
        if await _is_working_directory(path):
            raise ValueError("Cannot delete current working directory")
        await fs.rmtree(path)

    async def _mv(self, path1: Any, path2: Any, recursive: bool = True, **kwargs: Any) -> None:
        source, target = self._strip_protocol(path1), self._strip_protocol(path2)
        await self._make_parent(target)
        await fs.move(source, target)

    async def _mv_file(self, path1: Any, path2: Any) -> None:
        await self._mv(path1, path2)

    async def _link(self, src: Any, dst: Any, **kwargs: Any) -> None:
        await fs.link(self._strip_protocol(src), self._strip_protocol(dst), **kwargs)

    async def _symlink(self, src: Any, dst: Any, **kwargs: Any) -> None:
        await fs.symlink(self._strip_protocol(src), self._strip_protocol(dst), **kwargs)

    async def _chmod(self, path: Any, mode: int) -> None:
        await fs.chmod(self._strip_protocol(path), mode)

    async def _touch(self, path: Any, truncate: bool = True, **kwargs: Any) -> None:
        path = self._strip_protocol(path)
        await self._make_parent(path)
        context: Any = loop_context()
        if await fs.exists(path):
            await fs.utime(path)
        else:
            # another program may make the file meanwhile, and write to it
            fd = await context._open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            await context._close(fd)
        if truncate:
            await fs.truncate(path, 0)

    # --- reading

    async def _cat_file(
        self, path: Any, start: int | None = None, end: int | None = None, **kwargs: Any
    ) -> bytes:
        return await read_part(self._strip_protocol(path), start, end, self.direct)

    async def _cat(
        self,
        path: Any,
        recursive: bool = False,
        on_error: str = "raise",
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        paths = await self._paths_to_read(path, recursive)
        start, end = kwargs.get("start"), kwargs.get("end")
        results = await read_parts(
            paths,
            [start] * len(paths),
            [end] * len(paths),
            direct=self.direct,
            limit=batch_size or self.batch_size,
        )
        if on_error == "raise":
            _raise_first(results)
        if (
            len(paths) == 1
            and not isinstance(path, list)
            and paths[0] == self._strip_protocol(path)
        ):
            return results[0]
        found = zip(paths, results, strict=True)
        if on_error == "omit":
            return {one: data for one, data in found if not isinstance(data, BaseException)}
        return dict(found)

    async def _paths_to_read(self, path: Any, recursive: bool) -> list[str]:
        """Expand one or several paths or patterns. Fast if none is a pattern."""
        if isinstance(path, list) and not recursive:
            paths: list[str] = [self._strip_protocol(one) for one in path]
            if not _MAGIC("\0".join(paths)):
                return sorted(set(paths))
        return await self._expand_path(path, recursive=recursive)  # type: ignore[no-any-return]

    def _strip_each(self, paths: list[Any]) -> list[str]:
        """Strip paths. Fast if many are the same."""
        stripped = {path: self._strip_protocol(path) for path in set(paths)}
        return [stripped[path] for path in paths]

    async def _cat_ranges(
        self,
        paths: list[Any],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        batch_size: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[Any]:
        """Return the bytes of each range, a slice of the file of that path.

        Ranges of one file with at most `max_gap` bytes between them are read together.
        """
        if not isinstance(paths, list):
            raise TypeError("paths must be a list")
        starts = _as_list(starts, len(paths))
        ends = _as_list(ends, len(paths))
        if len(starts) != len(paths) or len(ends) != len(paths):
            raise ValueError("paths, starts and ends must have the same length")
        results = await read_parts(
            self._strip_each(paths),
            starts,
            ends,
            direct=self.direct,
            max_gap=max_gap,
            limit=batch_size or self.batch_size,
        )
        if on_error != "return":
            _raise_first(results)
        return results

    # --- writing

    async def _pipe_file(
        self, path: Any, value: Any, mode: str = "overwrite", **kwargs: Any
    ) -> None:
        path = self._strip_protocol(path)
        await self._make_parent(path)
        if self._intrans:
            file = NewFile(self, path, "xb" if mode == "create" else "wb", autocommit=False)
            self.transaction.files.append(file)

            def write() -> None:
                with file:
                    file.write(value)

            await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, write))
            return
        await replace_file(path, value, exclusive=mode == "create", durable=self.durable)

    async def _pipe(
        self, path: Any, value: Any = None, batch_size: int | None = None, **kwargs: Any
    ) -> None:
        if isinstance(path, str):
            items = [(path, value)]
        elif isinstance(path, dict):
            items = list(path.items())
        else:
            raise ValueError("path must be str or dict")

        async def write(item: tuple[Any, Any]) -> None:
            await self._pipe_file(*item, **kwargs)

        _raise_first(await in_flight(write, items, batch_size or self.batch_size))

    async def _cp_file(self, path1: Any, path2: Any, **kwargs: Any) -> None:
        await self._copy_one(self._strip_protocol(path1), self._strip_protocol(path2))

    async def _copy(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        on_error: str | None = None,
        maxdepth: int | None = None,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Copy files and directories. The directories are made first: others are to go there.

        Files that are missing are left out if `on_error` is "ignore", its default if `recursive`.
        """
        names = _NamesOfCopies(self)
        await AsyncFileSystem._copy(
            names, path1, path2, recursive=recursive, maxdepth=maxdepth, batch_size=batch_size
        )
        limit = batch_size or self.batch_size

        async def is_directory(pair: tuple[Any, Any]) -> bool:
            return await fs.isdir(self._strip_protocol(pair[0]))

        async def copy(pair: tuple[Any, Any]) -> None:
            await self._cp_file(*pair, **kwargs)

        kinds = await in_flight(is_directory, names.pairs, limit)
        errors: list[Any] = []
        for makes_directories in (True, False):
            pairs = [
                pair
                for pair, kind in zip(names.pairs, kinds, strict=True)
                if (kind is True) == makes_directories
            ]
            errors += await in_flight(copy, pairs, limit)
        ignored = on_error == "ignore" or (on_error is None and recursive)
        _raise_first(e for e in errors if not (ignored and isinstance(e, FileNotFoundError)))

    async def _get_file(
        self, rpath: Any, lpath: Any, callback: Any = DEFAULT_CALLBACK, **kwargs: Any
    ) -> None:
        if isfilelike(lpath):
            lpath.write(await self._cat_file(rpath))
            return
        await self._copy_one(self._strip_protocol(rpath), _local_path(lpath), callback)

    async def _put_file(
        self,
        lpath: Any,
        rpath: Any,
        mode: str = "overwrite",
        callback: Any = DEFAULT_CALLBACK,
        **kwargs: Any,
    ) -> None:
        target = self._strip_protocol(rpath)
        await self._copy_one(_local_path(lpath), target, callback, exclusive=mode == "create")

    async def _copy_one(
        self,
        source: str,
        target: str,
        callback: Any = DEFAULT_CALLBACK,
        *,
        exclusive: bool = False,
    ) -> None:
        callback = callback or DEFAULT_CALLBACK  # None is allowed, as in LocalFileSystem
        status = await fs.stat(source)
        await self._make_parent(target)
        if stat.S_ISDIR(status.st_mode):
            await fs.makedirs(target, exist_ok=True)
            return
        if exclusive and await fs.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
        if not stat.S_ISREG(status.st_mode):
            await fs.copyfile(source, target)
            return
        old = await _check_target(source, status, target)
        callback.set_size(status.st_size)
        if status.st_size <= _SMALL and self.direct is False:
            data = await read_bytes(source)
            await replace_file(target, data, exclusive=exclusive, durable=self.durable)
            callback.absolute_update(len(data))
            return
        if old is not None and not exclusive and await _is_written_in_place(target, old):
            await fs.copyfile(source, target)
            if self.durable:
                await sync_file(target)
            callback.absolute_update(status.st_size)
            return
        transfer = await bulk.copy_contents(
            source, target, direct=self.direct, durable=self.durable, exclusive=exclusive
        )
        callback.absolute_update(transfer.nbytes)

    # --- open files

    def open(
        self,
        path: Any,
        mode: str = "rb",
        block_size: int | None = None,
        cache_options: Any = None,
        compression: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Open a file, as AbstractFileSystem.open; `block_size` is the size of the buffer."""
        if "b" not in mode:
            names = [name for name in ("encoding", "errors", "newline") if name in kwargs]
            options = {name: kwargs.pop(name) for name in names}
            mode = mode.replace("t", "") + "b"
            return TextOfFile(
                self.open(path, mode, block_size, cache_options, compression, **kwargs), **options
            )
        if compression is None:
            return super().open(path, mode, block_size, cache_options, compression, **kwargs)
        file = super().open(path, mode, block_size, cache_options, **kwargs)
        name = get_compression(self._strip_protocol(path), compression)
        return file if name is None else compressed(file, compr[name], mode)

    def _open(
        self,
        path: Any,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: Any = None,
        **kwargs: Any,
    ) -> Any:
        check_mode(mode)
        path = self._strip_protocol(path)
        if self.auto_mkdir and "r" not in mode:
            os.makedirs(self._parent(path), exist_ok=True)
        if "+" not in mode and ("w" in mode or "x" in mode):
            return NewFile(self, path, mode, autocommit=autocommit, block_size=block_size)
        return OpenFile(self, path, mode, block_size)

    async def open_async(self, path: Any, mode: str = "rb", **kwargs: Any) -> Any:
        """Open a file whose read, write, flush and close are awaited; bytes only."""
        if "b" not in mode or kwargs.get("compression"):
            raise ValueError("open_async() gives bytes: no text and no compression")
        path = self._strip_protocol(path)
        if mode == "rb":
            context: Any = loop_context()
            fd = await context._open(path, os.O_RDONLY)
            try:
                status = await context._stat(fd)
            except BaseException:
                _close_soon(fd)
                raise
            return StreamedFile(self, path, fd, status.st_size)
        if mode not in ("wb", "xb", "ab"):
            raise ValueError(f"open_async() has no mode {mode!r}")
        # a future and no task: asyncio.run() cancels tasks at its end
        opening = asyncio.get_running_loop().run_in_executor(None, self._open, path, mode)
        try:
            file = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_give_up)
            raise
        return StreamedWriter(self, path, mode, file)

    # fsspec makes blocking methods only of the methods that it knows, so not of these.
    lexists = sync_wrapper(_lexists)
    islink = sync_wrapper(_islink)
    created = sync_wrapper(_created)
    modified = sync_wrapper(_modified)
    rmdir = sync_wrapper(_rmdir)
    mv = sync_wrapper(_mv)
    link = sync_wrapper(_link)
    symlink = sync_wrapper(_symlink)
    chmod = sync_wrapper(_chmod)
    touch = sync_wrapper(_touch)


async def _is_working_directory(path: str) -> bool:
    try:
        return await fs.samefile(path, ".")
    except OSError as error:
        if not fs._is_about_path(error, None):
            raise
        # it may not be searched by this user
        return path == os.getcwd()


def _give_up(opening: asyncio.Future[Any]) -> None:
    """Drop a file whose open_async() was cancelled: whatever is at the path stays."""
    if opening.cancelled() or opening.exception() is not None:
        return
    file = opening.result()
    end = file.discard if isinstance(file, NewFile) else file.close
    try:
        asyncio.get_running_loop().run_in_executor(None, end)
    except RuntimeError:  # the loop is about to end, and has ended its executor
        end()


def _info_of(path: str, status: os.stat_result) -> dict[str, Any]:
    mode = status.st_mode
    return {
        "name": path,
        "size": status.st_size,
        "type": "directory" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "other",
        "created": status.st_ctime,
        "islink": stat.S_ISLNK(mode),
        "mode": mode,
        "uid": status.st_uid,
        "gid": status.st_gid,
        "mtime": status.st_mtime,
        "ino": status.st_ino,
        "nlink": status.st_nlink,
    }


async def _check_target(source: str, status: os.stat_result, target: str) -> os.stat_result | None:
    """Return the target's status. Raise as shutil.copyfile for one that can't become a copy."""
    try:
        found = await fs.stat(target)
    except OSError as error:
        if not fs._is_about_path(error, None):
            raise
        return None  # it does not exist, or writing it reports why not
    if os.path.samestat(status, found):
        raise shutil.SameFileError(f"{source!r} and {target!r} are the same file")
    if stat.S_ISFIFO(found.st_mode):
        raise named_pipe(target)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
    return found


async def _is_written_in_place(target: str, status: os.stat_result) -> bool:
    """Whether no new file can replace the target: a device, or a file in an unwritable folder."""
    if not stat.S_ISREG(status.st_mode):
        return True
    folder = os.path.dirname(await asyncio.to_thread(os.path.realpath, target))
    return not await fs.access(folder, os.W_OK | os.X_OK) and await fs.access(target, os.W_OK)


def _as_list(value: Any, length: int) -> list[Any]:
    if isinstance(value, list):
        return value
    try:
        return list(value)
    except TypeError:
        return [value] * length


def _local_path(path: Any) -> str:
    """An absolute path without a slash at its end."""
    absolute: str = make_path_posix(path)
    return absolute.rstrip("/") or "/"


def _raise_first(results: Iterable[Any]) -> None:
    for result in results:
        if isinstance(result, BaseException):
            raise result


# The package's entry point does the same, but not if the package is used without being installed.
register_implementation("aio", AioFileSystem, clobber=True)
