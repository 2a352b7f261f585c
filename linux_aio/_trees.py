# SPDX-License-Identifier: Apache-2.0
"""Removes trees of directories of any depth, or copies them to another file system.

A walk opens each directory relative to its parent's descriptor, never by its whole path. So a tree
may be deeper than a path can be long, and nobody can misdirect the walk by putting a symbolic link
in place of a directory. Only the lowest few directories are open at a time, because a tree may be
deeper than the limit on open files.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from ._core import _close_soon

if TYPE_CHECKING:
    from ._core import _DirEntry

# How many directories of one walk are open at the same time; how many entries one step reads.
_MOST_OPEN = 16
_ENTRIES_PER_STEP = 1000

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK

# handle(function, path, error), as the onexc of shutil.rmtree
Handler: TypeAlias = Callable[[Any, Any, OSError], object]


@dataclass(slots=True)
class _Entry:
    """What a walk needs of a _DirEntry, which is much larger: all of a directory are kept."""

    name: Any
    is_dir: bool
    is_link: bool
    error: OSError | None  # why its type is not known


def _entry_of(found: _DirEntry[Any]) -> _Entry:
    try:
        is_dir = found.is_dir(follow_symlinks=False)
    except OSError as error:
        return _Entry(found.name, False, False, error.with_traceback(None))
    return _Entry(found.name, is_dir, found.is_symlink(), None)


@dataclass(slots=True)
class _Level:
    """One of the directories that the walk is in."""

    name: Any
    fd: int  # -1: closed until the walk returns to it
    identity: tuple[int, int]
    entries: Iterator[_Entry]


class Descent:
    """A walk: the directories that it is in, from the top of the tree to the lowest."""

    def __init__(self, context: Any, dir_fd: int | None, path: Any) -> None:
        self._context = context
        self._dir_fd = dir_fd
        self._path = path  # the path of the top, for errors
        self._levels: list[_Level] = []

    @property
    def depth(self) -> int:
        """How many directories the walk is in."""
        return len(self._levels)

    @property
    def fd(self) -> int | None:
        """The descriptor of the lowest directory; before enter(), of the one that the top is in."""
        return self._levels[-1].fd if self._levels else self._dir_fd

    def path(self, name: Any = None) -> Any:
        """Return the path of an entry of the lowest directory, or of that directory."""
        names = [level.name for level in self._levels[1:]]
        if name is not None and self._levels:
            names.append(name)
        return os.path.join(self._path, *names) if names else self._path

    async def enter(self, name: Any, status: os.stat_result | None = None) -> bool:
        """Go down to a directory. Return False if it is no longer the one with this status."""
        fd = await self._context._open(name, _DIRECTORY, 0, self.fd)
        try:
            opened = await self._context._stat(fd)
        except BaseException:
            _close_soon(fd)
            raise
        if status is not None and not os.path.samestat(status, opened):
            _close_soon(fd)
            return False
        self._levels.append(_Level(name, fd, (opened.st_dev, opened.st_ino), iter(())))
        if len(self._levels) > _MOST_OPEN:
            self._close(self._levels[-_MOST_OPEN - 1])
        return True

    async def read_entries(self) -> None:
        """Read the entries of the lowest directory, for next_entry()."""
        level = self._levels[-1]
        entries: list[_Entry] = []
        more: Any = None
        while more is None:
            found, more = await self._context._scandir(
                level.fd, os.fspath(self._path)[:0], _ENTRIES_PER_STEP, False
            )
            entries += map(_entry_of, found)
        level.entries = iter(entries)

    def next_entry(self) -> _Entry | None:
        """Return the next entry of the lowest directory, or None."""
        return next(self._levels[-1].entries, None)

    async def leave(self) -> Any:
        """Go up, and return the name of the directory that was left."""
        left = self._levels[-1]
        if len(self._levels) > 1 and self._levels[-2].fd < 0:
            above = self._levels[-2]
            fd = await self._context._open("..", _DIRECTORY, 0, left.fd)
            try:
                status = await self._context._stat(fd)
                if (status.st_dev, status.st_ino) != above.identity:
                    raise OSError(errno.ENOENT, "The directory was moved meanwhile")
            except BaseException:
                _close_soon(fd)
                raise
            above.fd = fd
        self._levels.pop()
        self._close(left)
        return left.name

    def close(self) -> None:
        """Close all descriptors."""
        for level in self._levels:
            self._close(level)
        self._levels = []

    @staticmethod
    def _close(level: _Level) -> None:
        fd, level.fd = level.fd, -1
        if fd >= 0:
            _close_soon(fd)


# --- removing


async def remove_tree(
    context: Any, dir_fd: int | None, name: Any, path: Any, handle: Handler
) -> None:
    """Remove a directory with all that is in it. Errors name it by `path`."""
    working_directory = -1
    if dir_fd is None and not os.path.isabs(name):
        # kept, so that no other directory of that name is removed if the program changes its own
        try:
            dir_fd = working_directory = await context._open(".", os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            handle(os.open, path, error)
            return
    tree = Descent(context, dir_fd, path)
    try:
        await _enter_to_remove(context, tree, name, handle)
        while tree.depth:
            entry = tree.next_entry()
            if entry is None:
                await _remove_emptied(context, tree, handle)
            elif entry.is_dir:  # if the type is not known, to remove the entry says why
                await _enter_to_remove(context, tree, entry.name, handle)
            else:
                try:
                    await context._unlink(entry.name, tree.fd)
                except OSError as error:
                    if not _is_gone(error):
                        handle(os.unlink, tree.path(entry.name), error)
    finally:
        tree.close()
        if working_directory >= 0:
            _close_soon(working_directory)


def _is_gone(error: OSError) -> bool:
    """Whether another program has removed it; no error in shutil.rmtree since Python 3.13."""
    return sys.version_info >= (3, 13) and isinstance(error, FileNotFoundError)


async def _enter_to_remove(context: Any, tree: Descent, name: Any, handle: Handler) -> None:
    function: Any = os.lstat
    is_top = tree.depth == 0
    try:
        status = await context._stat(name, tree.fd, False)
        function = os.open
        is_link = stat.S_ISLNK(status.st_mode)
        if is_link:
            await context._stat(name, tree.fd)  # raises if the link is broken, as opening it does
        else:
            is_link = not await tree.enter(name, status)
    except OSError as error:
        if isinstance(error, NotADirectoryError) and function is os.open:
            function = os.scandir
        if is_top or not _is_gone(error):
            handle(function, tree.path(name), error)
        if is_top and function is os.scandir:  # as shutil.rmtree does, which goes on
            await _remove_directory(context, tree, name, handle)
        return
    if is_link:
        try:
            raise OSError("Cannot call rmtree on a symbolic link")
        except OSError as error:
            handle(os.path.islink, tree.path(name), error)
        return
    try:
        await tree.read_entries()
    except OSError as error:
        handle(os.scandir, tree.path(), error)


async def _remove_emptied(context: Any, tree: Descent, handle: Handler) -> None:
    try:
        name = await tree.leave()
    except OSError as error:
        handle(os.open, tree.path(), error)
        tree.close()  # the walk can't go on
        return
    await _remove_directory(context, tree, name, handle)


async def _remove_directory(context: Any, tree: Descent, name: Any, handle: Handler) -> None:
    is_top = tree.depth == 0
    try:
        await context._rmdir(name, tree.fd)
    except OSError as error:
        if is_top or not _is_gone(error):
            handle(os.rmdir, tree.path(name), error)


# --- copying


class _Copies:
    """Two walks side by side: of the tree that is read, and of its copy."""

    def __init__(self, context: Any, source: Any, target: Any, copy_function: Any) -> None:
        self._context = context
        self._copy_function = copy_function
        self.source = Descent(context, None, source)
        self.target = Descent(context, None, target)
        self.errors: list[tuple[Any, Any, str]] = []

    def note(self, name: Any, error: Exception) -> None:
        """Keep an error for the end, and go on with the rest of the tree."""
        if isinstance(error, shutil.Error):
            self.errors.extend(error.args[0])
        else:
            self.errors.append((self.source.path(name), self.target.path(name), str(error)))

    async def enter(self, name: Any, target_name: Any) -> None:
        """Make a directory, and go down in both trees."""
        source, target = self.source, self.target
        with _named((source, name)):
            await source.enter(name)
        try:
            with _named((source, None)):
                await source.read_entries()
            with _named((target, target_name)):
                await self._context._mkdir(target_name, 0o777, target.fd)
                await target.enter(target_name)
        except BaseException:
            await source.leave()
            raise

    async def leave(self) -> None:
        """Go up in both trees, and give the copy the status of its directory."""
        name, target_name = await self.source.leave(), await self.target.leave()
        try:
            await self.copy_status(name, target_name)
        except OSError as error:
            self.note(name, error)

    async def copy_status(self, name: Any, target_name: Any) -> None:
        with _named((self.source, name), (self.target, target_name)):
            await self._context._copy_status(name, target_name, self.source.fd, self.target.fd)

    async def copy_entry(self, name: Any, *, is_link: bool) -> None:
        """Copy an entry that is no directory."""
        if is_link:
            with _named((self.source, name), (self.target, name)):
                text = await self._context._readlink(name, self.source.fd)
                await self._context._symlink(text, name, None, self.target.fd)
        elif self._copy_function is not None:
            await self._copy_function(self.source.path(name), self.target.path(name))
            return
        else:
            await copy_data(self._context, self.source, name, self.target, name)
        await self.copy_status(name, name)


class _named:  # noqa: N801 - read as a word of its `with`
    """Gives the OSErrors of its block whole paths instead of the names of entries."""

    # Takes the walk and the entry's name, because a long path takes time to put together.
    def __init__(
        self, place: tuple[Descent, Any], other: tuple[Descent, Any] | None = None
    ) -> None:
        self._place = place
        self._other = other

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError) and error.errno is not None:
            walk, name = self._place
            error.filename = walk.path(name)
            if self._other is not None:
                walk, name = self._other
                error.filename2 = walk.path(name)


def named_pipe(path: Any) -> shutil.SpecialFileError:
    """Return the error for a named pipe. It is not opened, as that would wait for the other end."""
    return shutil.SpecialFileError(f"`{os.fspath(path)!s}` is a named pipe")


async def copy_data(
    context: Any, source: Descent, name: Any, target: Descent, target_name: Any
) -> None:
    """Copy the contents of a file as shutil.copyfile does, between entries of two directories."""
    # within a tree, fail if an entry has been replaced by a symbolic link
    link = os.O_NOFOLLOW if source.depth else 0
    with _named((source, name)):
        if stat.S_ISFIFO((await context._stat(name, source.fd, not link)).st_mode):
            raise named_pipe(source.path(name))
        fd = await context._open(name, os.O_RDONLY | link, 0, source.fd)
    try:
        with _named((target, target_name)):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | link
            copy = await context._open(target_name, flags, 0o666, target.fd)
        try:
            with _named((source, name), (target, target_name)):
                await context._copy(copy, fd)
        finally:
            await context._close(copy)
    finally:
        _close_soon(fd)


async def copy_tree(
    context: Any,
    source: Any,
    target: Any,
    copy_function: Callable[[Any, Any], Awaitable[Any]] | None,
) -> None:
    """Copy a directory with all that is in it: shutil.copytree with symlinks=True.

    Raises shutil.Error, with a list of what could not be copied, when the rest is.
    """
    copies = _Copies(context, source, target, copy_function)
    try:
        await copies.enter(source, target)
        while copies.source.depth:
            entry = copies.source.next_entry()
            if entry is None:
                await copies.leave()
                continue
            try:
                if entry.error is not None:
                    raise entry.error
                if entry.is_dir:
                    await copies.enter(entry.name, entry.name)
                else:
                    await copies.copy_entry(entry.name, is_link=entry.is_link)
            except OSError as error:
                copies.note(entry.name, error)
    finally:
        copies.source.close()
        copies.target.close()
    if copies.errors:
        raise shutil.Error(copies.errors)
