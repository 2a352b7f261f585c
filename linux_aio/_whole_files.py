# SPDX-License-Identifier: Apache-2.0
"""Reads and writes whole files: one job of an engine opens, reads or writes, and closes."""

from __future__ import annotations

import codecs
import errno
import io
from typing import TYPE_CHECKING, Any

from ._arguments import as_bytes
from ._loop_context import loop_context, put_off_cancellation, raise_if_cancelled
from ._mapped_memory import copied
from ._text_file import CONVERTED_AT_ONCE, convert_in_pieces, takes_pieces
from .files import _text_arguments
from .files import open as open_file

if TYPE_CHECKING:
    import os

    from _typeshed import ReadableBuffer

    from ._core import AIOContext

    Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]

# Data that the program can change is copied before it is written, if it is not larger.
_MOST_COPIED = 64 * 1024

# Encodings in which a text begins with no mark, so that its parts can be encoded one by one.
_PLAIN_ENCODINGS = frozenset({"utf-8", "ascii", "iso8859-1"})


async def read_bytes(
    path: Path, *, direct: bool = False, context: AIOContext | None = None
) -> bytes:
    """Return all that a file has: pathlib.Path.read_bytes.

    A small file of a local file system that is in the page cache is read at once; else a thread
    opens, reads and closes it: open(2), read(2). direct=True reads past the page cache, O_DIRECT;
    OSError with EINVAL on a file system without that. A FIFO or device is read to its end, never
    with direct=True. Cancelling ends the wait at once, and the reading soon.

    Raises what open() and reading from it raise, with the path as `filename`.
    """
    ctx: Any = loop_context() if context is None else context
    data = await ctx._read_file(path, None, direct)
    if type(data) is bytes:
        return data
    return await _read_otherwise(ctx, path, direct, data)


async def _read_otherwise(ctx: Any, path: Path, direct: bool, found: Any) -> bytes:
    """Read a file that the first step did not: a large one, whose size it found, or a stream."""
    while isinstance(found, int):
        # read into memory of the size that was found; that memory becomes the bytes object
        found = await ctx._read_file(path, found, direct)
    if found is not None:
        data: bytes = found
        return data
    if direct:
        import errno
        import os

        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    async with open_file(path, "rb", buffering=0, context=ctx) as file:
        return await file.read()


async def read_text(
    path: Path,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    *,
    context: AIOContext | None = None,
) -> str:
    """Return all of a text: pathlib.Path.read_text.

    Encoding, errors and newline are open()'s; with newline=None all line ends become ``"\\n"``, as
    there. The bytes are read as read_bytes() does.
    """
    encoding, errors, newline = _text_arguments(encoding, errors, newline)
    data = await read_bytes(path, context=context)
    if len(data) > CONVERTED_AT_ONCE and takes_pieces(encoding):
        decoder: Any = codecs.getincrementaldecoder(encoding)(errors)
        if newline is None:
            decoder = io.IncrementalNewlineDecoder(decoder, translate=True)
        whole: str = await convert_in_pieces(decoder, decoder.decode, data, True)
        return whole
    if codecs.lookup(encoding).name not in _PLAIN_ENCODINGS:
        return io.TextIOWrapper(io.BytesIO(data), encoding, errors, newline).read()
    text = data.decode(encoding, errors)
    if newline is None and "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text


async def write_bytes(
    path: Path,
    data: ReadableBuffer,
    *,
    durable: bool = False,
    atomic: bool = False,
    context: AIOContext | None = None,
) -> int:
    """Make a file have these bytes and no others, and return their number: Path.write_bytes.

    One thread opens, writes and closes it: open(2) with O_CREAT and O_TRUNC, write(2).

    durable=True returns when the data is on the disk, and the name of a new file, too:
    fdatasync(2) of the file, fsync(2) of its directory.

    atomic=True leaves the old file whole until the new one, written and synced beside it, takes
    its name: whoever opens the path, and whatever happens meanwhile, finds the old bytes or the
    new. A symbolic link is followed. A file that was there leaves its mode to the new one, and
    its owner, its access control list and its other attributes as far as the system allows;
    other hard links to it keep the old bytes. OSError with EINVAL if it is no regular file, and
    what open() raises if it could not be written. With durable=True the name is on the disk, too.

    Cancelling ends the wait at once. What a thread has begun is then carried out to its end, and
    what none has begun is not done at all. Data that can change, as a large bytearray, is not
    copied: its cancellation takes effect when it is written.
    """
    ctx: Any = loop_context() if context is None else context
    if type(data) is bytes:
        count = await ctx._write_file(path, data, durable, atomic)
        return len(data) if count is not None else await _write_stream(ctx, path, data, durable)
    with memoryview(data) as given, as_bytes(given) as view:
        if len(view) <= _MOST_COPIED:
            given_bytes = await copied(ctx, view)
            return await write_bytes(path, given_bytes, durable=durable, atomic=atomic, context=ctx)
        await raise_if_cancelled()
        started = ctx._write_file(path, view, durable, atomic)
        started._start()
        count = await put_off_cancellation(started, _ignore)
        return len(view) if count is not None else await _write_stream(ctx, path, view, durable)


def _ignore(_: int) -> None:
    """Do nothing with the result."""


async def _write_stream(ctx: Any, path: Path, data: ReadableBuffer, durable: bool) -> int:
    async with open_file(path, "wb", context=ctx) as file:
        count = await file.write(data)
        if durable:
            try:
                await file.fdatasync()
            except OSError as error:
                if error.errno != errno.EINVAL:  # of what has no disk, as a pipe or /dev/null
                    raise
    return count


async def write_text(
    path: Path,
    text: str,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    *,
    durable: bool = False,
    atomic: bool = False,
    context: AIOContext | None = None,
) -> int:
    """Make a file have this text and no other; return its number of characters: Path.write_text.

    Encoding, errors and newline are open()'s. The bytes are written as write_bytes() does.
    """
    if not isinstance(text, str):
        msg = f"data must be str, not {type(text).__name__}"
        raise TypeError(msg)
    encoding, errors, newline = _text_arguments(encoding, errors, newline)
    lines = text.replace("\n", newline) if newline in {"\r", "\r\n"} else text
    if len(lines) > CONVERTED_AT_ONCE and takes_pieces(encoding):
        encoder: Any = codecs.getincrementalencoder(encoding)(errors)
        data: bytes = await convert_in_pieces(encoder, encoder.encode, lines, True)
    else:
        data = lines.encode(encoding, errors)
    await write_bytes(path, data, durable=durable, atomic=atomic, context=context)
    return len(text)
