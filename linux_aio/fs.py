# SPDX-License-Identifier: Apache-2.0
"""Functions of os, os.path and shutil that are awaited, and don't block the event loop.

Each has the name, arguments, result and exceptions of the function there. All are awaited, except
scandir() and walk(), which are asynchronous iterators. A path is a str, bytes or an os.PathLike.
`dir_fd` is the descriptor of a directory, in which a relative path begins. follow_symlinks=False
acts on a symbolic link itself. `context` is the AIOContext that does the work; None: that of the
running event loop, which is made when first used. Cancelling a task ends its wait at once; a call
that a thread has begun is carried out nevertheless.
"""

from __future__ import annotations

import contextlib
import errno
import math
import operator
import os
import select
import shutil
import stat as _stat
import sys
from typing import TYPE_CHECKING, Any

from ._core import _close_soon
from ._core import _DirEntry as DirEntry
from ._gate import Gate
from ._loop_context import loop_context
from ._temporary import NamedTemporaryFile, TemporaryDirectory, TemporaryFile
from ._trees import copy_tree, named_pipe, remove_tree

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from types import TracebackType

    from ._core import AIOContext

    Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]
    FileOrPath = int | Path

__all__ = [
    "DirEntry",
    "NamedTemporaryFile",
    "TemporaryDirectory",
    "TemporaryFile",
    "access",
    "chmod",
    "chown",
    "copyfile",
    "exists",
    "getatime",
    "getctime",
    "getmtime",
    "getsize",
    "isdir",
    "isfile",
    "islink",
    "ismount",
    "lexists",
    "link",
    "listdir",
    "lstat",
    "makedirs",
    "mkdir",
    "move",
    "posix_fallocate",
    "readlink",
    "remove",
    "removedirs",
    "rename",
    "renames",
    "replace",
    "rmdir",
    "rmtree",
    "samefile",
    "scandir",
    "sendfile",
    "stat",
    "statvfs",
    "symlink",
    "truncate",
    "unlink",
    "utime",
    "walk",
]

_ENTRIES_PER_STEP = 1000


def _of(context: AIOContext | None) -> Any:
    return loop_context() if context is None else context


def _number(value: int, name: str, least: int, most: int) -> int:
    """Return the number. TypeError or OverflowError, as in os, if it is unfit."""
    number = operator.index(value)
    if not least <= number <= most:
        msg = f"{name} must be from {least} to {most}, not {number}"
        raise OverflowError(msg)
    return number


def _size(value: int, name: str) -> int:
    return _number(value, name, -(1 << 63), (1 << 63) - 1)


def _descriptor(value: int, name: str) -> int:
    return _number(value, name, -(1 << 31), (1 << 31) - 1)


def _mode_bits(mode: int) -> int:
    return _number(mode, "mode", -(1 << 31), (1 << 31) - 1)


def _refuse_fd_with_link(name: str, path: Any, follow_symlinks: bool) -> None:
    if isinstance(path, int) and not follow_symlinks:
        msg = f"{name}: cannot use fd and follow_symlinks together"
        raise ValueError(msg)


# --- status


async def stat(
    path: FileOrPath,
    *,
    dir_fd: int | None = None,
    follow_symlinks: bool = True,
    context: AIOContext | None = None,
) -> os.stat_result:
    """Return the status of a file, an os.stat_result: os.stat, statx(2).

    `path` may be a descriptor. st_size is in bytes, st_mtime and the like are in seconds,
    st_mtime_ns and the like in nanoseconds. follow_symlinks=False: of a symbolic link, the link's
    own. FileNotFoundError if there is no such file.
    """
    result: os.stat_result = await _of(context)._stat(path, dir_fd, follow_symlinks)
    return result


async def lstat(
    path: Path, *, dir_fd: int | None = None, context: AIOContext | None = None
) -> os.stat_result:
    """Return the status of a file; of a symbolic link, the link's own: os.lstat, statx(2).

    The same as stat(path, follow_symlinks=False).
    """
    result: os.stat_result = await _of(context)._stat(os.fspath(path), dir_fd, False)
    return result


async def statvfs(path: FileOrPath, *, context: AIOContext | None = None) -> os.statvfs_result:
    """Return what is known of the file system that a file is on: os.statvfs, statvfs(3).

    `path` may be a descriptor. The result is an os.statvfs_result: f_frsize is a block's size in
    bytes, f_bavail the number of blocks that ordinary users can still fill.
    """
    return os.statvfs_result(await _of(context)._statvfs(path))


async def access(
    path: Path,
    mode: int,
    *,
    dir_fd: int | None = None,
    effective_ids: bool = False,
    follow_symlinks: bool = True,
    context: AIOContext | None = None,
) -> bool:
    """Return whether the process may use the path so: os.access, faccessat(2).

    `mode` is os.F_OK (it exists), or a mask of os.R_OK, os.W_OK and os.X_OK. The real user and
    group count, with effective_ids=True the effective ones. False, without an error, where there is
    no such file.
    """
    mode = _mode_bits(mode)
    try:
        result: bool = await _of(context)._access(
            path, mode, dir_fd, effective_ids, follow_symlinks
        )
    except OSError as error:
        if error.errno == errno.EBADF:
            return False
        raise
    return result


async def _mode(path: Any, context: AIOContext | None, *, follow_symlinks: bool = True) -> int:
    """Return st_mode, or 0 if there is no such file."""
    try:
        return (await stat(path, follow_symlinks=follow_symlinks, context=context)).st_mode
    except (OSError, ValueError) as error:
        if not _is_about_path(error, context):
            raise
        return 0


# Errors of the context's: no descriptor is free; no thread can be started; it is being closed.
_NOT_ABOUT_PATHS = frozenset({errno.EMFILE, errno.ENFILE, errno.EUSERS, errno.ECANCELED})


def _is_about_path(error: OSError | ValueError, context: AIOContext | None) -> bool:
    """Return whether the error is the path's: ValueError is a closed context's, too."""
    if isinstance(error, OSError):
        return error.errno not in _NOT_ABOUT_PATHS
    return context is None or not context.closed


async def exists(path: FileOrPath, *, context: AIOContext | None = None) -> bool:
    """Return whether the path leads to a file: os.path.exists, statx(2).

    `path` may be a descriptor. False for a broken link, and where the status can't be had.
    """
    return await _mode(path, context) != 0


async def lexists(path: Path, *, context: AIOContext | None = None) -> bool:
    """Return whether there is such a path, even a broken link: os.path.lexists, statx(2).

    False where the status can't be had.
    """
    return await _mode(os.fspath(path), context, follow_symlinks=False) != 0


async def isfile(path: FileOrPath, *, context: AIOContext | None = None) -> bool:
    """Return whether the path leads to a regular file: os.path.isfile, statx(2).

    Links are followed. False where the status can't be had.
    """
    return _stat.S_ISREG(await _mode(path, context))


async def isdir(path: FileOrPath, *, context: AIOContext | None = None) -> bool:
    """Return whether the path leads to a directory: os.path.isdir, statx(2).

    Links are followed. False where the status can't be had.
    """
    return _stat.S_ISDIR(await _mode(path, context))


async def islink(path: Path, *, context: AIOContext | None = None) -> bool:
    """Return whether the path is a symbolic link: os.path.islink, statx(2).

    Also a broken one. False where the status can't be had.
    """
    return _stat.S_ISLNK(await _mode(os.fspath(path), context, follow_symlinks=False))


async def ismount(path: Path, *, context: AIOContext | None = None) -> bool:
    """Return whether a file system is mounted at the path: os.path.ismount, statx(2).

    False for a link, and where the status can't be had. A bind mount within the same file system is
    not seen.
    """
    spelled: Any = os.fspath(path)
    try:
        own = await lstat(spelled, context=context)
        if _stat.S_ISLNK(own.st_mode):
            return False
        above: Any = b".." if isinstance(spelled, bytes) else ".."
        try:
            other = await lstat(os.path.join(spelled, above), context=context)
        except (NotADirectoryError, PermissionError):  # a file, or a directory that is closed to us
            other = await lstat(await _parent(spelled, context), context=context)
    except (OSError, ValueError) as error:
        if not _is_about_path(error, context):
            raise
        return False
    return own.st_dev != other.st_dev or own.st_ino == other.st_ino


async def _parent(path: Any, context: AIOContext | None) -> str:
    """Return the path of the directory that the file is in, without links; None is looked up."""
    fd = await _of(context)._open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        return os.path.dirname(os.readlink(f"/proc/self/fd/{fd}"))
    finally:
        _close_soon(fd)


async def samefile(
    first: FileOrPath, second: FileOrPath, *, context: AIOContext | None = None
) -> bool:
    """Return whether both lead to the same file: os.path.samefile, statx(2).

    Each may be a descriptor. Files are the same if device and inode are. OSError where the status
    of one can't be had.
    """
    return os.path.samestat(await stat(first, context=context), await stat(second, context=context))


async def getsize(path: FileOrPath, *, context: AIOContext | None = None) -> int:
    """Return the size in bytes: os.path.getsize, statx(2).

    `path` may be a descriptor. FileNotFoundError if there is no such file.
    """
    return (await stat(path, context=context)).st_size


async def getmtime(path: FileOrPath, *, context: AIOContext | None = None) -> float:
    """Return when the content was last changed: os.path.getmtime, statx(2).

    In seconds since 1970, with a fraction. FileNotFoundError if there is no such file.
    """
    return (await stat(path, context=context)).st_mtime


async def getatime(path: FileOrPath, *, context: AIOContext | None = None) -> float:
    """Return when the content was last read: os.path.getatime, statx(2).

    In seconds since 1970, with a fraction. Mounts with relatime, the default, note it at most once
    a day unless the file has changed. FileNotFoundError if there is no such file.
    """
    return (await stat(path, context=context)).st_atime


async def getctime(path: FileOrPath, *, context: AIOContext | None = None) -> float:
    """Return when content, mode, owner or links last changed: os.path.getctime, statx(2).

    In seconds since 1970, with a fraction. FileNotFoundError if there is no such file.
    """
    return (await stat(path, context=context)).st_ctime


# --- names


async def rename(
    src: Path,
    dst: Path,
    *,
    src_dir_fd: int | None = None,
    dst_dir_fd: int | None = None,
    context: AIOContext | None = None,
) -> None:
    """Rename a file or directory: os.rename, rename(2).

    A file or an empty directory that has the new name is replaced. A relative `src` begins at
    src_dir_fd, a relative `dst` at dst_dir_fd. OSError with EXDEV on another file system: move()
    copies there.
    """
    await _of(context)._rename(src, dst, src_dir_fd, dst_dir_fd)


async def replace(
    src: Path,
    dst: Path,
    *,
    src_dir_fd: int | None = None,
    dst_dir_fd: int | None = None,
    context: AIOContext | None = None,
) -> None:
    """Rename a file or directory, and replace what has the new name: os.replace, rename(2).

    On Linux it does the same as rename().
    """
    await _of(context)._rename(src, dst, src_dir_fd, dst_dir_fd)


async def unlink(
    path: Path, *, dir_fd: int | None = None, context: AIOContext | None = None
) -> None:
    """Remove a name, and the file with its last name: os.unlink, os.remove, unlink(2).

    A symbolic link is removed itself. FileNotFoundError if there is no such name, IsADirectoryError
    for a directory.
    """
    await _of(context)._unlink(path, dir_fd)


remove = unlink


async def mkdir(
    path: Path,
    mode: int = 0o777,
    *,
    dir_fd: int | None = None,
    context: AIOContext | None = None,
) -> None:
    """Make a directory: os.mkdir, mkdir(2).

    `mode` has its permissions, by default 0o777, without those of the process's umask.
    FileExistsError if there is such a path, FileNotFoundError if the directory above is missing.
    """
    await _of(context)._mkdir(path, _mode_bits(mode), dir_fd)


async def rmdir(
    path: Path, *, dir_fd: int | None = None, context: AIOContext | None = None
) -> None:
    """Remove an empty directory: os.rmdir, rmdir(2).

    OSError with ENOTEMPTY if it is not empty: rmtree() removes what is in it, too.
    """
    await _of(context)._rmdir(path, dir_fd)


async def makedirs(
    name: Path, mode: int = 0o777, exist_ok: bool = False, *, context: AIOContext | None = None
) -> None:
    """Make a directory and those above it that are missing: os.makedirs, mkdir(2).

    `mode`, by default 0o777, is for the last one; the others have the default. FileExistsError if
    the directory exists, unless exist_ok is true.
    """
    spelled: Any = os.fspath(name)
    missing: list[Any] = []
    head: Any = spelled
    while True:
        path = head
        head, tail = os.path.split(path)
        if not tail:
            head, tail = os.path.split(head)
        is_missing = bool(head and tail) and not await exists(head, context=context)
        # "new/." is not made: it exists as soon as "new" does
        if not (is_missing and tail in (os.curdir, os.fsencode(os.curdir))):
            missing.append(path)
        if not is_missing:
            break
    for path in reversed(missing):
        is_last = path is spelled
        try:
            await mkdir(path, mode if is_last else 0o777, context=context)
        except FileExistsError:
            # another program may have made a parent meanwhile
            if is_last and not (exist_ok and await isdir(path, context=context)):
                raise
        except OSError:
            # some systems have another error for a directory that exists
            if not exist_ok or not await isdir(path, context=context):
                raise


async def removedirs(name: Path, *, context: AIOContext | None = None) -> None:
    """Remove an empty directory, and those above it that become empty: os.removedirs, rmdir(2).

    OSError only if the first can't be removed.
    """
    spelled: Any = os.fspath(name)
    await rmdir(spelled, context=context)
    head, tail = os.path.split(spelled)
    if not tail:
        head, tail = os.path.split(head)
    while head and tail:
        try:
            await rmdir(head, context=context)
        except OSError:
            break
        head, tail = os.path.split(head)


async def renames(old: Path, new: Path, *, context: AIOContext | None = None) -> None:
    """Rename; make directories above the new name, remove emptied old ones: os.renames.

    Errors are those of makedirs() and rename(): see rename(2). That an old directory can't be
    removed is no error.
    """
    spelled_old: Any = os.fspath(old)
    spelled_new: Any = os.fspath(new)
    head, tail = os.path.split(spelled_new)
    if head and tail and not await exists(head, context=context):
        await makedirs(head, context=context)
    await rename(spelled_old, spelled_new, context=context)
    head, tail = os.path.split(spelled_old)
    if head and tail:
        with contextlib.suppress(OSError):
            await removedirs(head, context=context)


async def link(
    src: Path,
    dst: Path,
    *,
    src_dir_fd: int | None = None,
    dst_dir_fd: int | None = None,
    follow_symlinks: bool = True,
    context: AIOContext | None = None,
) -> None:
    """Give a file another name, a hard link: os.link, link(2).

    `src` is the file, `dst` the new name. FileExistsError if there is such a name, OSError with
    EXDEV on another file system.
    """
    # up to 3.13, os.link without a dir_fd calls link(2), which does not follow symbolic links
    has_fd = src_dir_fd is not None or dst_dir_fd is not None
    follows = follow_symlinks and (has_fd or sys.version_info >= (3, 14))
    await _of(context)._link(src, dst, src_dir_fd, dst_dir_fd, follows)


async def symlink(
    src: Path,
    dst: Path,
    target_is_directory: bool = False,
    *,
    dir_fd: int | None = None,
    context: AIOContext | None = None,
) -> None:
    """Make a symbolic link: os.symlink, symlink(2).

    `src` is what the link says, `dst` the link; target_is_directory is ignored, as everywhere but
    on Windows. FileExistsError if there is such a name.
    """
    await _of(context)._symlink(src, dst, None, dir_fd)


async def readlink(
    path: Path, *, dir_fd: int | None = None, context: AIOContext | None = None
) -> Any:
    """Return what a symbolic link says: os.readlink, readlink(2).

    A str, or bytes for a path of bytes. OSError with EINVAL for what is no symbolic link.
    """
    return await _of(context)._readlink(path, dir_fd)


# --- attributes


async def chmod(
    path: FileOrPath,
    mode: int,
    *,
    dir_fd: int | None = None,
    follow_symlinks: bool = True,
    context: AIOContext | None = None,
) -> None:
    """Change the permissions: os.chmod, fchmodat(2).

    `path` may be a descriptor. `mode` is a mask of stat.S_I*, such as 0o644. PermissionError for
    another user's file. With follow_symlinks=False, where os.chmod has it not: NotImplementedError,
    ValueError with a dir_fd.
    """
    try:
        await _of(context)._chmod(path, _mode_bits(mode), dir_fd, follow_symlinks)
    except OSError as error:
        if follow_symlinks or error.errno != errno.EOPNOTSUPP:
            raise
        if os.chmod in os.supports_follow_symlinks:
            raise
        if dir_fd is not None:
            msg = "chmod: cannot use dir_fd and follow_symlinks together"
            raise ValueError(msg) from None
        msg = "chmod: follow_symlinks unavailable on this platform"
        raise NotImplementedError(msg) from None


async def chown(
    path: FileOrPath,
    uid: int,
    gid: int,
    *,
    dir_fd: int | None = None,
    follow_symlinks: bool = True,
    context: AIOContext | None = None,
) -> None:
    """Change the owner and the group: os.chown, fchownat(2).

    `path` may be a descriptor. uid and gid are numbers; -1 leaves one as it is. PermissionError
    where the process may not do that.
    """
    _refuse_fd_with_link("chown", path, follow_symlinks)
    uid = _number(uid, "uid", -1, (1 << 32) - 1)
    gid = _number(gid, "gid", -1, (1 << 32) - 1)
    await _of(context)._chown(path, uid, gid, dir_fd, follow_symlinks)


async def utime(
    path: FileOrPath,
    times: tuple[float, float] | None = None,
    *,
    ns: tuple[int, int] | None = None,
    dir_fd: int | None = None,
    follow_symlinks: bool = True,
    context: AIOContext | None = None,
) -> None:
    """Set when the content was last read and changed: os.utime, utimensat(2).

    `path` may be a descriptor. `times` is (read, changed) in seconds since 1970, `ns` the same in
    whole nanoseconds; without either, or None, both become the present time. ValueError if both are
    given.
    """
    _refuse_fd_with_link("utime", path, follow_symlinks)
    if times is not None and ns is not None:
        msg = "utime: you may specify either 'times' or 'ns' but not both"
        raise ValueError(msg)
    if times is None and ns is None:
        await _set_times(context, path, 0, None, 0, None, dir_fd, follow_symlinks)
        return
    given: Any = ns if times is None else times
    if not isinstance(given, tuple) or len(given) != 2:
        which = "ns" if times is None else "times"
        msg = f"utime: '{which}' must be a tuple of two ints"
        raise TypeError(msg)
    parts: list[int] = []
    for value in given:
        if ns is not None:
            parts += divmod(value, 1_000_000_000)
        elif not isinstance(value, float):
            parts += (operator.index(value), 0)
        elif math.isinf(value):
            msg = "timestamp out of range"
            raise OverflowError(msg)
        else:
            # rounded down, as os.utime does
            fraction, seconds = math.modf(value)
            less, nanoseconds = divmod(math.floor(fraction * 1e9), 1_000_000_000)
            parts += (int(seconds) + less, nanoseconds)
    await _set_times(context, path, *parts, dir_fd, follow_symlinks)


async def _set_times(context: AIOContext | None, *arguments: Any) -> None:
    try:
        await _of(context)._utime(*arguments)
    except OSError as error:
        if sys.version_info >= (3, 13):
            raise
        # before Python 3.13, os.utime's error has no file name, since the times may be invalid
        raise OSError(error.errno, error.strerror) from None


async def truncate(path: FileOrPath, length: int, *, context: AIOContext | None = None) -> None:
    """Make a file `length` bytes long: os.truncate, truncate(2).

    `path` may be a descriptor that is open for writing. What is behind that is lost; what is
    missing reads as zeros, and takes no disk space.
    """
    length = _size(length, "length")
    try:
        await _of(context)._truncate(path, length)
    except OSError as error:
        if isinstance(path, int):
            raise OSError(error.errno, error.strerror) from None
        raise


async def posix_fallocate(
    fd: int, offset: int, length: int, /, *, context: AIOContext | None = None
) -> None:
    """Reserve disk space for a part of a file: os.posix_fallocate, posix_fallocate(3).

    `offset` and `length` are in bytes. The file becomes longer if the part ends behind its end.
    OSError with ENOSPC if the disk has too little room.
    """
    fd = _descriptor(fd, "fd")
    offset, length = _size(offset, "offset"), _size(length, "length")
    try:
        await _of(context)._allocate(fd, None, offset, length)
    except OSError as error:
        raise OSError(error.errno, error.strerror) from None


# --- directories


async def listdir(path: FileOrPath | None = None, *, context: AIOContext | None = None) -> Any:
    """Return the names in a directory, without '.' and '..': os.listdir, getdents64(2).

    They come in no order. `path` may be a descriptor; None is the working directory. They are str,
    or bytes for a path of bytes. NotADirectoryError for what is no directory.
    """
    try:
        return await _of(context)._listdir("." if path is None else path)
    except OSError as error:
        raise _without_number(error) from None


def _without_number(error: OSError) -> OSError:
    """Return the error that os.listdir and os.scandir raise for an invalid descriptor."""
    if error.errno == errno.EBADF and isinstance(error.filename, int):
        return OSError(error.errno, error.strerror)
    return error


class _Scan:
    """Iterates over the entries of a directory. One step reads many of them.

    Several tasks may take entries from it: one of them reads, and the others wait. If that task is
    cancelled, another one takes its request, for the kernel gives each entry only once.
    """

    def __init__(self, path: Any, wants_status: bool, context: AIOContext | None) -> None:
        self._path = path
        self._prefix = None if isinstance(path, int) else os.fspath(path)
        self._wants_status = wants_status
        self._context = context
        self._entries: list[DirEntry[Any]] = []
        self._next: Any = path  # where to go on reading; None: at the end
        # for a descriptor of the program's, which each step leaves rewound: where the next starts
        self._start: tuple[int | None] | tuple[()] = (None,) if isinstance(path, int) else ()
        self._fd = -1  # the open directory, which this closes
        self._request: Any = None  # one that was started, and has not been taken
        self._gate: Any = None  # set once the task that reads has done so

    def __aiter__(self) -> _Scan:
        return self

    async def __anext__(self) -> DirEntry[Any]:
        while not self._entries:
            if self._next is None:
                raise StopAsyncIteration
            if self._gate is not None:
                await self._gate.wait()
                continue
            self._gate = gate = Gate()
            try:
                await self._bring()
            finally:
                self._gate = None
                gate.set()
                if self._next is None:
                    self._close()
        return self._entries.pop()

    async def _bring(self) -> None:
        if self._request is None:
            request = _of(self._context)._scandir(
                self._next, self._prefix, _ENTRIES_PER_STEP, self._wants_status, *self._start
            )
            request._start()
            self._request = request
            del request  # a traceback would keep it, and so have it submitted after aclose()
        try:
            entries, fd, *start = await self._request
        except OSError as error:
            self._request = None
            if self._next is not None:
                raise _without_number(error) from None
            return  # aclose() was called meanwhile
        except Exception:
            # A cancellation is no Exception: the request stays, for another task.
            self._request = None
            raise
        self._request = None
        if self._next is None:  # aclose() was called meanwhile
            if fd is not None and fd >= 0:
                _close_soon(fd)
            return
        entries.reverse()
        self._entries = entries
        if fd is None:
            self._start = tuple(start)  # and the fd to go on reading from is the same
            return
        if fd >= 0:
            self._fd = self._next = fd
            return
        self._next = None

    def _close(self) -> None:
        """End it, except that a task that waits for a step closes the directory itself.

        Its request may not have been submitted yet, and would then go to whatever is opened next.
        """
        self._next = None
        self._request = None
        if self._gate is None and self._fd >= 0:
            fd, self._fd = self._fd, -1
            _close_soon(fd)

    async def aclose(self) -> None:
        """End it: os.scandir's close()."""
        self._entries = []
        self._close()

    async def __aenter__(self) -> _Scan:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            self._close()


def scandir(
    path: FileOrPath | None = None, *, stat: bool = True, context: AIOContext | None = None
) -> _Scan:
    """Return an asynchronous iterator of a directory's entries: os.scandir, getdents64(2).

    Each is a DirEntry. Up to 1000 are read in one step, and with stat=True their status as well, so
    that entry.stat() does not wait: it is of that time. With stat=False, entry.stat() is a
    RuntimeError; is_dir() and the like work all the same. `path` may be a descriptor; None is the
    working directory. Can be used in `async with`, and be ended by aclose(). NotADirectoryError for
    what is no directory, when the first entry is awaited.
    """
    return _Scan("." if path is None else path, stat, context)


async def walk(
    top: Path,
    topdown: bool = True,
    onerror: Callable[[OSError], object] | None = None,
    followlinks: bool = False,
    *,
    context: AIOContext | None = None,
) -> AsyncGenerator[tuple[Any, list[Any], list[Any]], None]:
    """Yield (directory, names of its directories, names of its files) for a whole tree: os.walk.

    topdown=True: a directory before what is in it; the program may remove names from the second
    list, and those are then not entered. onerror is called with the OSError of a directory that
    can't be read; without it such a directory is left out. followlinks=True enters linked
    directories, too.
    """
    stack: list[Any] = [os.fspath(top)]
    while stack:
        directory = stack.pop()
        if isinstance(directory, tuple):
            yield directory
            continue
        directories: list[Any] = []
        files: list[Any] = []
        below: list[Any] = []
        try:
            async with scandir(directory, stat=False, context=context) as entries:
                async for entry in entries:
                    try:
                        is_directory = entry.is_dir()
                    except OSError:
                        is_directory = False
                    (directories if is_directory else files).append(entry.name)
                    if not topdown and is_directory and (followlinks or not entry.is_symlink()):
                        below.append(entry.path)
        except OSError as error:
            if not _is_about_path(error, context):
                raise
            if onerror is not None:
                onerror(error)
            continue
        if topdown:
            yield directory, directories, files
            for name in reversed(directories):
                path = os.path.join(directory, name)
                if followlinks or not await islink(path, context=context):
                    stack.append(path)
        else:
            stack.append((directory, directories, files))
            stack.extend(reversed(below))


async def rmtree(
    path: Path,
    ignore_errors: bool = False,
    onerror: Callable[..., object] | None = None,
    *,
    onexc: Callable[..., object] | None = None,
    dir_fd: int | None = None,
    context: AIOContext | None = None,
) -> None:
    """Remove a directory and all that is in it: shutil.rmtree, unlinkat(2).

    Symbolic links in it are removed, and never followed; a `path` that is one is an OSError. The
    first OSError ends it, unless ignore_errors is true, or onexc(function, path, exception) is
    given (in older programs onerror(function, path, exc_info)): it is called, and the rest is
    removed.
    """
    if ignore_errors:

        def handle(function: Any, failed: Any, error: OSError) -> None:
            """Ignore the error: rmtree() goes on."""

    elif onexc is not None:
        handle_exception = onexc

        def handle(function: Any, failed: Any, error: OSError) -> None:
            handle_exception(function, failed, error)

    elif onerror is not None:
        handle_error = onerror

        def handle(function: Any, failed: Any, error: OSError) -> None:
            handle_error(function, failed, (type(error), error, error.__traceback__))

    else:

        def handle(function: Any, failed: Any, error: OSError) -> None:
            if error.errno is not None:
                # up to Python 3.12, errors of os.lstat and os.open have the path as str or bytes
                is_oss = sys.version_info < (3, 13) and function in (os.lstat, os.open)
                error.filename = os.fspath(failed) if is_oss else failed
            raise error

    top: Any = os.fsdecode(path) if isinstance(path, bytes) else path
    await remove_tree(_of(context), dir_fd, os.fspath(top), top, handle)


# --- copying


async def _are_same(src: Path, dst: Path, context: AIOContext | None) -> bool:
    """Whether both paths lead to the same file. False if one leads nowhere."""
    try:
        return await samefile(src, dst, context=context)
    except OSError as error:
        if not _is_about_path(error, context):
            raise
        return False


async def copyfile(
    src: Path, dst: Path, *, follow_symlinks: bool = True, context: AIOContext | None = None
) -> Path:
    """Copy the content of a file, and return `dst`: shutil.copyfile, copy_file_range(2).

    Blocks are shared where the file system can (FICLONE: ioctl_ficlone(2)). An existing `dst` is
    emptied first; bulk.acopy() keeps it until the copy is whole, and copies the mode and the times
    as well. follow_symlinks=False copies a symbolic link as a link. shutil.SameFileError if both
    are one file, shutil.SpecialFileError for a FIFO, IsADirectoryError for a directory.
    """
    ctx = _of(context)
    if await _are_same(src, dst, ctx):
        msg = f"{src!r} and {dst!r} are the same file"
        raise shutil.SameFileError(msg)
    for path in (src, dst):
        try:
            status = await ctx._stat(path)
        except OSError as error:
            if not _is_about_path(error, ctx):
                raise
            continue
        if _stat.S_ISFIFO(status.st_mode):
            raise named_pipe(path)
    if not follow_symlinks and await islink(src, context=ctx):
        await symlink(await readlink(src, context=ctx), dst, context=ctx)
        return dst
    source = await ctx._open(src, os.O_RDONLY)
    try:
        # check before the target is truncated
        if _stat.S_ISDIR((await ctx._stat(source)).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(src))
        try:
            target = await ctx._open(dst, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        except IsADirectoryError as error:
            if not await exists(dst, context=ctx):
                # the name ends with a slash, so open() takes it for a directory
                msg = f"Directory does not exist: {dst!s}"
                raise FileNotFoundError(msg) from error
            raise
        try:
            await ctx._copy(target, source)
        except OSError as error:
            error.filename, error.filename2 = os.fspath(src), os.fspath(dst)
            raise
        finally:
            await ctx._close(target)
    finally:
        _close_soon(source)
    return dst


async def move(
    src: Path,
    dst: Path,
    copy_function: Callable[..., Any] | None = None,
    *,
    context: AIOContext | None = None,
) -> Any:
    """Move a file or tree, into `dst` if that is a directory; return the new path: shutil.move.

    Within a file system it is a rename(2). Otherwise everything is copied, with its modes, times
    and extended attributes, and the old tree is removed. copy_function(source, target), a coroutine
    function, copies each file instead. shutil.Error if the directory has that name already, or with
    a list of what could not be copied, as a FIFO; the rest is copied then, and nothing removed.
    """
    source: Any = os.fspath(src)
    target: Any = os.fspath(dst)
    separator: Any = b"/" if isinstance(source, bytes) else "/"
    real: Any = dst
    if await isdir(target, context=context):
        if await _are_same(source, target, context) and not (
            # up to Python 3.12, a link to the directory is renamed, not moved into it
            sys.version_info >= (3, 13) and await islink(source, context=context)
        ):
            await rename(source, target, context=context)
            return None
        real = os.path.join(target, os.path.basename(source.rstrip(separator)))
        if await exists(real, context=context):
            msg = f"Destination path '{real!s}' already exists"
            raise shutil.Error(msg)
    try:
        await rename(source, real, context=context)
    except OSError as error:
        if not _is_about_path(error, context):
            raise
        # the paths alone don't tell whether a link leads back into the directory
        if error.errno == errno.EINVAL and await _leads_into(os.fspath(real), source, context):
            msg = f"Cannot move a directory '{source!s}' into itself '{target!s}'."
            raise shutil.Error(msg) from error
        # on another file system, or a failure whose reason the copy reports better
        await _move_by_copying(source, target, os.fspath(real), copy_function, _of(context))
    return real


async def _move_by_copying(
    source: Any, target: Any, real: Any, copy_function: Any, context: Any
) -> None:
    if await islink(source, context=context):
        await symlink(await readlink(source, context=context), real, context=context)
        await unlink(source, context=context)
    elif await isdir(source, context=context):
        if _is_below(target, source):
            msg = f"Cannot move a directory '{source!s}' into itself '{target!s}'."
            raise shutil.Error(msg)
        above, name = os.path.split(real)
        if not name:
            above = os.path.dirname(above)
        if above and not await exists(above, context=context):
            await makedirs(above, exist_ok=True, context=context)
        await copy_tree(context, source, real, copy_function)
        await rmtree(source, context=context)
    else:
        if copy_function is not None:
            await copy_function(source, real)
        else:
            await copyfile(source, real, context=context)
            await context._copy_status(source, real, None, None, True)
        await unlink(source, context=context)


async def _leads_into(path: Any, directory: Any, context: AIOContext | None) -> bool:
    """Whether the path leads to what would be below the directory, through links, too."""
    up: Any = b".." if isinstance(path, bytes) else ".."
    above = os.path.dirname(path) or up[:1]
    try:
        wanted = await stat(directory, context=context)
        found = await stat(above, context=context)
        while not os.path.samestat(found, wanted):
            above = os.path.join(above, up)
            last, found = found, await stat(above, context=context)
            if os.path.samestat(found, last):  # the root
                return False
    except OSError as error:
        if not _is_about_path(error, context):
            raise
        return False
    return True


def _is_below(path: Any, directory: Any) -> bool:
    """Whether the path is the directory or below it, judged by the paths alone."""
    path, directory = os.path.abspath(path), os.path.abspath(directory)
    separator: Any = b"/" if isinstance(path, bytes) else "/"
    below: bool = (path + separator).startswith(directory.rstrip(separator) + separator)
    return below


async def sendfile(
    out_fd: int,
    in_fd: int,
    offset: int | None,
    count: int,
    *,
    context: AIOContext | None = None,
) -> int:
    """Send `count` bytes of a file to a socket, pipe or file; return how many went: os.sendfile.

    It sends from byte `offset` of in_fd on; None: from where in_fd stands, which moves on. It
    waits, also with O_NONBLOCK, until out_fd takes some, and in_fd, if that is a stream, has some;
    the result may be less than `count`, and is 0 at the end of the file. See sendfile(2).
    """
    ctx = _of(context)
    out_fd, in_fd = _descriptor(out_fd, "out_fd"), _descriptor(in_fd, "in_fd")
    count = _size(count, "count")
    place = -1 if offset is None else _size(offset, "offset")
    if offset is not None and place < 0:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    # At the end of in_fd there is nothing to wait for; a thread must not wait for out_fd.
    waits = os.get_blocking(out_fd)
    while True:
        if waits:
            with contextlib.suppress(OSError):
                await ctx.poll(out_fd, select.POLLOUT)
        waits = True
        try:
            sending = ctx._sendfile(out_fd, in_fd, place, count)
            sending._start()  # Trio then does not wait for a thread that may wait for ever
            try:
                result: int = await sending
            finally:
                sending.close()
        except BlockingIOError:
            # perhaps in_fd, a stream, has nothing yet; a file is always ready
            with contextlib.suppress(OSError):
                await ctx.poll(in_fd, select.POLLIN)
            continue
        return result
