# SPDX-License-Identifier: Apache-2.0
"""open(), as the built-in one, whose files never block the event loop."""

from __future__ import annotations

import codecs
import inspect
import io
import locale
import operator
import os
import sys
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from ._core import _close_soon
from ._file import File, Mode
from ._loop_context import loop_context
from ._text_file import TextFile

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from types import TracebackType

    from _typeshed import FileDescriptorOrPath, OpenBinaryMode, OpenTextMode

    from ._core import AIOContext

__all__ = ["File", "TextFile", "open"]

_AnyFile = TypeVar("_AnyFile", File, TextFile)


@lru_cache(maxsize=64)
def _parse_mode(mode: str) -> Mode:
    """Return what the mode means. ValueError, worded as the built-in open()'s, if it is invalid."""
    kinds = [character for character in mode if character in "rwax"]
    if set(mode) - set("rwaxbt+") or len(mode) > len(set(mode)):
        msg = f"invalid mode: {mode!r}"
        raise ValueError(msg)
    if "t" in mode and "b" in mode:
        msg = "can't have text and binary mode at once"
        raise ValueError(msg)
    if len(kinds) != 1:
        msg = "must have exactly one of create/read/write/append mode"
        raise ValueError(msg)
    kind = kinds[0]
    plus = "+" if "+" in mode else ""
    access = os.O_RDONLY if kind == "r" else os.O_WRONLY
    flags = {
        "r": 0,
        "w": os.O_CREAT | os.O_TRUNC,
        "a": os.O_CREAT | os.O_APPEND,
        "x": os.O_CREAT | os.O_EXCL,
    }[kind]
    return Mode(
        flags | os.O_CLOEXEC | (os.O_RDWR if plus else access),
        "b" not in mode,
        kind + "b" + plus,
        is_readable=kind == "r" or bool(plus),
        is_writable=kind != "r" or bool(plus),
        is_appending=kind == "a",
    )


def _check_encoding(encoding: str) -> None:
    # as the built-in open() does, refuse codecs from bytes to bytes or str to str
    info = codecs.lookup(encoding)
    if not getattr(info, "_is_text_encoding", True):
        msg = f"{encoding!r} is not a text encoding; use codecs.open() to handle arbitrary codecs"
        raise LookupError(msg)


class _Opening(Generic[_AnyFile]):
    """What open() returns: await it for the file, or have `async with` close it."""

    __slots__ = ("_arguments", "_file")

    _binary_type: type[File] = File
    _text_type: type[TextFile] = TextFile

    def __init__(
        self,
        file: Any,
        mode: str,
        parsed: Mode,
        buffering: int,
        text: tuple[str, str, str | None] | None,
        closefd: bool,
        opener: Callable[[Any, int], Any] | None,
        direct: bool,
        context: AIOContext | None,
    ) -> None:
        self._arguments = (file, mode, parsed, buffering, text, closefd, opener, direct, context)
        self._file: Any = None

    def __await__(self) -> Generator[Any, Any, _AnyFile]:
        """Open the file."""
        return self._open().__await__()

    def __aenter__(self) -> Coroutine[Any, Any, _AnyFile]:
        """Open the file, which is closed at the end."""
        return self._open()

    def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> Coroutine[Any, Any, None]:
        """Close the file."""
        closing: Coroutine[Any, Any, None] = self._file.close()
        return closing

    async def _open(self) -> Any:
        file, mode, parsed, buffering, text, closefd, opener, direct, context = self._arguments
        flags = parsed.flags | os.O_DIRECT if direct else parsed.flags
        if context is None:
            context = loop_context()
        is_named = opener is None and not isinstance(file, int)
        if is_named:
            opened = await context._open_described(file, flags, 0o666)
            fd, kind, *described = opened
        elif opener is None or isinstance(file, int):
            fd = int(file)
        else:
            fd = await _ask_opener(opener, file, flags)
        buffer_size = -1 if buffering == 1 else buffering  # 1 is about lines
        binary = self._binary_type(context, fd, file, parsed, closefd, buffer_size, is_named)
        try:
            if not is_named:
                _, kind, *described = await context._describe(fd)
            binary._learn(kind, *described)
            if direct:
                await binary._go_direct(kind)
        except BaseException:
            binary._is_open = False
            if closefd and not isinstance(file, int):
                _close_soon(fd)
            raise
        self._file = binary
        if text is not None:
            encoding, errors, newline = text
            line_buffering = buffering == 1 or (buffering < 0 and binary._is_terminal)
            self._file = self._text_type(
                binary, mode, encoding, errors, newline, line_buffering=line_buffering
            )
        return self._file


async def _ask_opener(opener: Callable[[Any, int], Any], file: Any, flags: int) -> int:
    fd = opener(file, flags)
    if inspect.isawaitable(fd):
        fd = await fd
    if not isinstance(fd, int):
        msg = "expected integer from opener"
        raise TypeError(msg)
    if fd < 0:
        msg = f"opener returned {fd}"
        raise ValueError(msg)
    os.set_inheritable(fd, False)
    return fd


def _refuse_text_arguments(encoding: Any, errors: Any, newline: Any) -> None:
    for name, value in (("encoding", encoding), ("errors", errors), ("newline", newline)):
        if value is not None:
            article = "an" if name != "newline" else "a"
            msg = f"binary mode doesn't take {article} {name} argument"
            raise ValueError(msg)


def _text_arguments(encoding: Any, errors: Any, newline: Any) -> tuple[str, str, str | None]:
    for name, value in (("encoding", encoding), ("errors", errors), ("newline", newline)):
        if value is not None and not isinstance(value, str):
            msg = f"open() argument '{name}' must be str or None, not {type(value).__name__}"
            raise TypeError(msg)
    if newline not in {None, "", "\n", "\r", "\r\n"}:
        msg = f"illegal newline value: {newline!r}"
        raise ValueError(msg)
    if encoding is None:
        encoding = io.text_encoding(encoding, 3)
    if encoding == "locale":
        encoding = "utf-8" if sys.flags.utf8_mode else locale.getencoding()
    _check_encoding(encoding)
    if errors is None:
        errors = "strict"
    else:
        codecs.lookup_error(errors)
    return encoding, errors, newline


@overload
def open(  # noqa: A001
    file: FileDescriptorOrPath,
    mode: OpenTextMode = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Callable[[str, int], Any] | None = None,
    *,
    direct: bool = False,
    context: AIOContext | None = None,
) -> _Opening[TextFile]: ...


@overload
def open(  # noqa: A001
    file: FileDescriptorOrPath,
    mode: OpenBinaryMode,
    buffering: int = -1,
    encoding: None = None,
    errors: None = None,
    newline: None = None,
    closefd: bool = True,
    opener: Callable[[str, int], Any] | None = None,
    *,
    direct: bool = False,
    context: AIOContext | None = None,
) -> _Opening[File]: ...


@overload
def open(  # noqa: A001
    file: FileDescriptorOrPath,
    mode: str,
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Callable[[str, int], Any] | None = None,
    *,
    direct: bool = False,
    context: AIOContext | None = None,
) -> _Opening[Any]: ...


def open(  # noqa: A001
    file: FileDescriptorOrPath,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Callable[[str, int], Any] | None = None,
    *,
    direct: bool = False,
    context: AIOContext | None = None,
) -> _Opening[Any]:
    """Open a file: `async with linux_aio.open(path) as file`, or `file = await open(path)`.

    The arguments are those of the built-in open(). `file` is a path or a descriptor. `mode` is "r"
    (read), "w" (empty the file, write), "x" (make a new file) or "a" (append), with "+" to read and
    write; with "b" the file is a File, else a TextFile. `buffering` is the size of the buffer in
    bytes: -1 chooses it, 0 is none, for a File only, and 1 flushes each line of a TextFile.
    `encoding`, `errors` and `newline` are for a TextFile. closefd=False leaves a descriptor open in
    the end. opener(path, flags) returns the descriptor; it may be a coroutine function.

    direct=True reads and writes past the page cache (O_DIRECT: open(2)), at any offset and of any
    size; what is less than a page is written through the cache. It is an OSError with EINVAL where
    the file system can't, and a ValueError with mode "a".

    `context` is the AIOContext that does the work; None: that of the running event loop. Errors are
    those of open(): FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, ….
    """
    given: Any = file
    file = operator.index(given) if hasattr(type(given), "__index__") else os.fspath(given)
    if isinstance(file, int) and file < 0:
        msg = "negative file descriptor"
        raise ValueError(msg)
    if not isinstance(mode, str):
        msg = f"open() argument 'mode' must be str, not {type(mode).__name__}"
        raise TypeError(msg)
    parsed = _parse_mode(mode)
    if direct and "a" in mode:
        msg = "can't append with direct=True"
        raise ValueError(msg)
    buffering = operator.index(buffering)
    if not -(1 << 31) <= buffering < 1 << 31:
        msg = "Python int too large to convert to C int"
        raise OverflowError(msg)
    text: tuple[str, str, str | None] | None = None
    if parsed.is_text:
        text = _text_arguments(encoding, errors, newline)
        if buffering == 0:
            msg = "can't have unbuffered text I/O"
            raise ValueError(msg)
    else:
        if encoding is not None or errors is not None or newline is not None:
            _refuse_text_arguments(encoding, errors, newline)
        if buffering == 1:
            warnings.warn(
                "line buffering (buffering=1) isn't supported in binary mode, "
                "the default buffer size will be used",
                RuntimeWarning,
                stacklevel=2,
            )
            buffering = -1
    if buffering < -1:
        msg = "invalid buffering size"
        raise ValueError(msg)
    if not closefd and not isinstance(file, int):
        msg = "Cannot use closefd=False with file name"
        raise ValueError(msg)
    return _Opening(file, mode, parsed, buffering, text, closefd, opener, direct, context)
