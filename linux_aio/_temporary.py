# SPDX-License-Identifier: Apache-2.0
"""Temporary files and directories as in tempfile, made and removed without blocking the loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import shutil
import stat
import tempfile as _tempfile
import warnings
from typing import TYPE_CHECKING, Any, TypeAlias

from ._core import _close_soon, _in_trio
from ._file import File
from ._gate import Gate
from ._loop_context import complete, loop_context, put_off_cancellation, raise_if_cancelled, spawn
from ._text_file import TextFile
from ._trees import remove_tree
from .files import _Opening
from .files import open as open_file

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from ._core import AIOContext

    Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]

__all__ = ["NamedTemporaryFile", "TemporaryDirectory", "TemporaryFile"]

_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789_"


# A new file or directory: its descriptor (None for a directory), and its path (None if it no longer
# has a name).
_Made: TypeAlias = tuple[Any, Any]


async def _undo(context: Any, made: _Made, remove: str, remove_now: Callable[[Any], None]) -> None:
    """Close and remove a new file that nobody receives, even in a cancelled task."""
    fd, path = made
    if fd is not None:
        _close_soon(fd)
    if path is None:
        return

    def carry_out_now() -> None:
        with contextlib.suppress(OSError):
            remove_now(path)

    async def carry_out() -> None:
        await _remove_in_any_case(lambda: getattr(_usable(context), remove)(path), carry_out_now)

    await complete(carry_out, carry_out_now)


def _usable(context: Any) -> Any:
    """Return the context, or the loop's context if the program has closed it."""
    return loop_context() if context.closed else context


async def _remove_in_any_case(
    remove: Callable[[], Awaitable[None]], remove_now: Callable[[], object]
) -> None:
    """Await remove(); drop its error. If the loop ends first, call remove_now(), which blocks."""
    try:
        await remove()
    except OSError as error:
        if error.errno == errno.ECANCELED:  # by the context, which goes with the loop
            remove_now()
    except (ValueError, RuntimeError):  # the loop is at its end, and takes nothing more
        remove_now()


async def _carry_out(
    function: Callable[[], Awaitable[_Made]], undo: Callable[[_Made], Awaitable[None]]
) -> _Made:
    """Return what function() has made. If the call is cancelled, undo it once it is made.

    A program that cancels all tasks but its own cancels this task's helper, too. function() then
    leaves nothing, and the call is cancelled as well.
    """
    gate = Gate()
    results: list[_Made] = []
    errors: list[Exception] = []
    is_given_up = False

    async def work() -> None:
        try:
            results.append(await function())
        except Exception as error:
            errors.append(error)
        finally:
            gate.set()
        if is_given_up and results:
            await undo(results.pop())

    # a task that is cancelled before its first step never enters work()
    if not spawn(work, gate.set):
        gate.set()
    try:
        await gate.wait()
    except BaseException:
        is_given_up = True
        if results:
            await undo(results.pop())
        raise
    if errors:
        raise errors.pop()
    if not results:
        raise _cancellation()
    return results.pop()


def _cancellation() -> BaseException:
    """Return the error of a call whose helper was cancelled: in Trio only the end of a run does."""
    if _in_trio():
        return RuntimeError("the Trio run is ending")
    return asyncio.CancelledError()


# --- names


async def _temporary_directory(context: AIOContext) -> str | bytes:
    """Return tempfile.gettempdir(), without blocking: it tries directories by writing to them."""
    if _tempfile.tempdir is not None:
        return os.fspath(_tempfile.tempdir)
    ctx: Any = context
    names = [os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")]
    for name in [*names, "/tmp", "/var/tmp", "/usr/tmp", "."]:
        if name and await ctx._access(f"{name}/", os.W_OK | os.X_OK, None, False, True):
            return os.path.abspath(name)  # noqa: ASYNC240
    msg = "No usable temporary directory found"
    raise FileNotFoundError(errno.ENOENT, msg)


class _Names:
    """The directory of a new file or directory, and random names for it, as in tempfile."""

    def __init__(
        self, suffix: str | bytes | None, prefix: str | bytes | None, directory: Path | None
    ) -> None:
        if directory is not None:
            directory = os.fspath(directory)
        given: list[Any] = [part for part in (prefix, suffix, directory) if part is not None]
        kinds = {isinstance(part, bytes) for part in given or [_tempfile.tempdir]}
        if len(kinds) > 1:
            msg = "Can't mix bytes and non-bytes in path components."
            raise TypeError(msg)
        self._convert: Callable[[Any], Any] = os.fsencode if kinds.pop() else os.fsdecode
        self._directory = directory
        self._prefix = _tempfile.gettempprefix() if prefix is None else prefix
        self._suffix = "" if suffix is None else suffix

    async def directory(self, context: AIOContext) -> Any:
        """Return the directory as an absolute path."""
        found: Any = self._directory
        if found is None:
            found = await _temporary_directory(context)
        return os.path.abspath(self._convert(found))  # noqa: ASYNC240

    async def make(
        self,
        context: AIOContext,
        make: Callable[[Any], Any],
        undo: Callable[[_Made], Awaitable[None]],
    ) -> _Made:
        """Try make(path), a call of the context, with new paths; return its result and the path.

        If the loop ends, it cancels this; a call in progress is then awaited, and undone.
        """
        directory = await self.directory(context)
        convert = self._convert
        for _ in range(_tempfile.TMP_MAX):
            middle = "".join(random.SystemRandom().choices(_CHARACTERS, k=8))
            name = convert(self._prefix) + convert(middle) + convert(self._suffix)
            path = os.path.join(directory, name)
            made: list[Any] = []
            await raise_if_cancelled()
            try:
                started = make(path)
                started._start()
                return await put_off_cancellation(started, made.append), path
            except FileExistsError:
                continue
            except BaseException:
                for one in made:
                    await undo((one, path))
                raise
        msg = "No usable temporary file name found"
        raise FileExistsError(errno.EEXIST, msg)


# --- removal


class _Removal:
    """Removes a file once: when remove() is called, or when this object is dropped."""

    def __init__(self, context: AIOContext, path: Any) -> None:
        self._context: Any = context
        self._path = path
        self._pid = os.getpid()
        self._is_done = False

    async def remove(self) -> None:
        """Remove the file, even if the task is cancelled. Do nothing in a child process."""
        if not self._is_done and self._pid == os.getpid():
            self._is_done = True
            await complete(self._remove, self._unlink)

    async def _remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            await _usable(self._context)._unlink(self._path)

    async def _remove_quietly(self) -> None:
        await _remove_in_any_case(self._remove, self._unlink)

    def _unlink(self, unlink: Callable[[Any], None] = os.unlink) -> None:
        with contextlib.suppress(OSError):
            unlink(self._path)

    def remove_soon(self, getpid: Callable[[], int] = os.getpid) -> None:
        """Remove the file without waiting. Do nothing in a child process, which has a copy."""
        if self._is_done or self._pid != getpid():
            return
        self._is_done = True
        if not spawn(self._remove_quietly, self._unlink):
            self._unlink()

    __del__ = remove_soon


# --- files


class _NamedFile(File):
    """A binary file that is removed when it is closed."""

    _removal: _Removal | None = None
    _delete_on_close = True

    async def close(self) -> None:
        """Close the file, and remove it."""
        try:
            await super().close()
        finally:
            if self._removal is not None and self._delete_on_close:
                await self._removal.remove()

    aclose = close

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Close the file, and remove it."""
        try:
            await super().__aexit__(exc_type, exc, traceback)
        finally:
            if self._removal is not None:
                await self._removal.remove()

    def __del__(self) -> None:
        """Warn of a file that is dropped open, as File does; it is removed."""
        super().__del__()
        if self._removal is not None:
            self._removal.remove_soon()


class _NamedTextFile(TextFile):
    """A text file that is removed when it is closed."""

    _removal: _Removal | None = None

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Close the file, and remove it."""
        try:
            await super().__aexit__(exc_type, exc, traceback)
        finally:
            if self._removal is not None:
                await self._removal.remove()


class _OpeningNamed(_Opening[Any]):
    """Opens a file under a new name."""

    _binary_type = _NamedFile
    _text_type = _NamedTextFile


class _TemporaryFile:
    """What the functions below return: await it for the file, or have `async with` close it."""

    def __init__(
        self,
        names: _Names,
        mode: str,
        arguments: dict[str, Any],
        context: AIOContext | None,
        *,
        has_name: bool,
        delete: bool = False,
        delete_on_close: bool = False,
    ) -> None:
        # the arguments are checked before anything is made
        self._opening: Any = open_file("", mode, opener=self._make, context=context, **arguments)
        if has_name:
            self._opening = _OpeningNamed(*self._opening._arguments)
        self._names = names
        self._given = context
        self._context: Any = None
        self._has_name = has_name
        self._delete = delete
        self._delete_on_close = delete_on_close
        self._path: Any = None
        self._file: Any = None

    async def _make(self, _: object, __: object) -> int:
        """Make the file, and return its descriptor."""
        if not self._has_name:
            with contextlib.suppress(OSError):
                directory = await self._names.directory(self._context)
                fd: int = await self._context._open(directory, os.O_RDWR | os.O_TMPFILE, 0o600)
                return fd
        fd, self._path = await _carry_out(self._create, self._undo)
        return int(fd)

    async def _create(self) -> _Made:
        fd, path = await self._names.make(self._context, self._open_new, self._undo)
        if self._has_name:
            return fd, path
        try:
            await self._context._unlink(path)
        except BaseException:
            await self._undo((fd, path))
            raise
        return fd, None

    def _open_new(self, path: Any) -> Any:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        return self._context._open(path, flags, 0o600)

    async def _undo(self, made: _Made) -> None:
        await _undo(self._context, made, "_unlink", os.unlink)

    async def _open(self) -> Any:
        opening, self._opening = self._opening, None  # _opening refers to this object
        if opening is None:
            msg = "a temporary file is opened once"
            raise RuntimeError(msg)
        self._context = loop_context() if self._given is None else self._given
        try:
            file = await opening._open()
        except BaseException:
            if self._has_name and self._path is not None:
                await _Removal(self._context, self._path).remove()
            raise
        binary = getattr(file, "buffer", file)
        binary._name = self._path if self._has_name else binary.fileno()
        if self._delete:
            file._removal = binary._removal = _Removal(self._context, self._path)
            binary._delete_on_close = self._delete_on_close
        return file

    def __await__(self) -> Any:
        return self._open().__await__()

    async def __aenter__(self) -> Any:
        self._file = await self._open()
        return self._file

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._file.__aexit__(exc_type, exc, traceback)


def TemporaryFile(  # noqa: N802
    mode: str = "w+b",
    buffering: int = -1,
    encoding: str | None = None,
    newline: str | None = None,
    suffix: str | bytes | None = None,
    prefix: str | bytes | None = None,
    dir: Path | None = None,  # noqa: A002
    *,
    errors: str | None = None,
    context: AIOContext | None = None,
) -> _TemporaryFile:
    """Open a file that has no name and is gone when it is closed: tempfile.TemporaryFile.

    For `async with`, or to be awaited. The arguments are those of open(), and `dir`, where it takes
    its disk space, by default the directory for temporary files (TMPDIR). O_TMPFILE: open(2).
    """
    arguments = {
        "buffering": buffering,
        "encoding": encoding,
        "newline": newline,
        "errors": errors,
    }
    return _TemporaryFile(_Names(suffix, prefix, dir), mode, arguments, context, has_name=False)


def NamedTemporaryFile(  # noqa: N802
    mode: str = "w+b",
    buffering: int = -1,
    encoding: str | None = None,
    newline: str | None = None,
    suffix: str | bytes | None = None,
    prefix: str | bytes | None = None,
    dir: Path | None = None,  # noqa: A002
    delete: bool = True,
    *,
    errors: str | None = None,
    delete_on_close: bool = True,
    context: AIOContext | None = None,
) -> _TemporaryFile:
    """Open a new file that has a name: tempfile.NamedTemporaryFile, mkstemp(3).

    For `async with`, or to be awaited. `name` of the file is its path, absolute. It is removed when
    it is closed, or dropped; with delete_on_close=False at the end of the `async with` instead,
    with delete=False never. The arguments are those of open(), and `dir`, `prefix` and `suffix` of
    the path: all str, or all bytes. Only its owner may read it.
    """
    arguments = {
        "buffering": buffering,
        "encoding": encoding,
        "newline": newline,
        "errors": errors,
    }
    return _TemporaryFile(
        _Names(suffix, prefix, dir),
        mode,
        arguments,
        context,
        has_name=True,
        delete=delete,
        delete_on_close=delete_on_close,
    )


# --- directories


class _TemporaryDirectory:
    """A directory that exists during an `async with` block, or from `await` to cleanup()."""

    def __init__(
        self, names: _Names, ignore_errors: bool, delete: bool, context: AIOContext | None
    ) -> None:
        self._names = names
        self._ignore_errors = ignore_errors
        self._delete = delete
        self._given = context
        self._context: Any = None
        self._is_made = False
        self._pid = 0  # the process that removes the directory
        self.name: Any = ""

    async def _open(self) -> _TemporaryDirectory:
        """Make the directory, unless it is made. Return self."""
        if not self._is_made:
            self._context = loop_context() if self._given is None else self._given
            _, self.name = await _carry_out(
                lambda: self._names.make(self._context, self._make, self._undo), self._undo
            )
            self._is_made = True
            self._pid = os.getpid() if self._delete else 0
        return self

    def __await__(self) -> Any:
        return self._open().__await__()

    async def __aenter__(self) -> Any:
        return (await self._open()).name

    def _make(self, path: Any) -> Any:
        return self._context._mkdir(path, 0o700)

    async def _undo(self, made: _Made) -> None:
        await _undo(self._context, made, "_rmdir", os.rmdir)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_made = False
        self._pid = 0  # here, too: cleanup() does not begin if its task is cancelled before
        if self._delete:
            await complete(self.cleanup, lambda: shutil.rmtree(self.name, True))

    async def cleanup(self) -> None:
        """Remove the directory and what is in it."""
        self._is_made = False
        self._pid = 0
        await _remove_stubborn(_usable(self._context), self.name, self._ignore_errors)

    close = cleanup
    """The same as cleanup()."""

    async def _cleanup_quietly(self) -> None:
        await _remove_in_any_case(self.cleanup, lambda: shutil.rmtree(self.name, True))

    def __del__(
        self,
        rmtree: Callable[[Any, bool], None] = shutil.rmtree,
        getpid: Callable[[], int] = os.getpid,
    ) -> None:
        """Warn of a directory that is dropped, and remove it."""
        if self._pid != getpid():
            return
        name = self.name
        other = _TemporaryDirectory(self._names, False, True, self._given)
        other._context, other.name = self._context, name
        if not spawn(other._cleanup_quietly, lambda: rmtree(name, True)):
            rmtree(name, True)
        warnings.warn(
            f"Implicitly cleaning up <TemporaryDirectory {name!r}>",
            ResourceWarning,
            stacklevel=2,
            source=self,
        )

    def __repr__(self) -> str:
        return f"<TemporaryDirectory {self.name!r}>"


async def _remove_stubborn(context: Any, name: Any, ignore_errors: bool) -> None:
    """Remove a tree; change the modes of entries that can't be removed otherwise."""
    tried: set[Any] = set()
    while True:
        errors: dict[Any, OSError] = {}

        def handle(function: Any, path: Any, error: OSError) -> None:
            if error.errno is not None:
                error.filename = path
            errors.setdefault(path, error)  # noqa: B023 - called in this turn of the loop

        await remove_tree(context, None, name, name, handle)
        refused = [
            path
            for path, error in errors.items()
            if isinstance(error, PermissionError) and path not in tried
        ]
        if not refused:
            for error in errors.values():
                if not ignore_errors and not isinstance(error, FileNotFoundError):
                    raise error
            return
        tried.update(refused)
        for path in refused:
            folders = [path] if path == name else [os.path.dirname(path), path]
            for folder in folders:
                with contextlib.suppress(OSError):
                    status = await context._stat(folder, None, False)
                    if stat.S_ISDIR(status.st_mode):
                        await context._chmod(folder, 0o700, None, False)


def TemporaryDirectory(  # noqa: N802
    suffix: str | bytes | None = None,
    prefix: str | bytes | None = None,
    dir: Path | None = None,  # noqa: A002
    ignore_cleanup_errors: bool = False,
    *,
    delete: bool = True,
    context: AIOContext | None = None,
) -> _TemporaryDirectory:
    """Make a directory that exists for the time of an `async with`: tempfile.TemporaryDirectory.

    `async with` gives its path; `await` gives an object with `name`, `cleanup()` and `close()`, of
    which both remove it. It is in `dir`, by default the directory for temporary files (TMPDIR); its
    name begins with `prefix` and ends with `suffix`. At the end it is removed with what is in it,
    unless delete=False; ignore_cleanup_errors=True passes over what can't be removed. See
    mkdtemp(3).
    """
    return _TemporaryDirectory(_Names(suffix, prefix, dir), ignore_cleanup_errors, delete, context)
