# SPDX-License-Identifier: Apache-2.0
"""TextFile: reads and writes str by a File, with the standard library's decoders and encoders.

A chunk of bytes is decoded as a whole. _TextBase, in C++, then answers reads from the decoded text,
and finds the ends of lines. `_snapshot` is the decoder's state before the chunk, and the chunk's
bytes: tell() needs both.
"""

from __future__ import annotations

import codecs
import errno
import io
import operator
import os
import time
from typing import TYPE_CHECKING, Any

from ._core import _ends_slice, _TextBase
from ._file import READ_CHUNK, File
from ._loop_context import pause

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Self

    from ._core import AIOContext

# The chunk size of open()'s text files. It matters in a file that is also written: a write goes to
# the end of the last chunk that was read.
CHUNK_OF_BOTH = 8192

# After so many seconds, readlines() lets other tasks run.
_SLICE = 0.0003

# How many characters readlines() takes out of the buffer before it looks at the clock.
_PART = 4096

# How many bytes or characters are decoded or encoded in one go: that takes about a millisecond.
CONVERTED_AT_ONCE = 1 << 20

# Encodings that give the same for the pieces of a text as for the whole; utf-7, for one, does not.
_OF_PIECES = {
    *("ascii", "iso8859-1", "utf-8", "utf-8-sig"),
    *(f"utf-{bits}{order}" for bits in (16, 32) for order in ("", "-le", "-be")),
    *(f"cp{number}" for number in (437, 850, 852, 858, 866, *range(1250, 1259))),
    *(f"iso8859-{part}" for part in range(2, 17)),
    *("koi8-r", "koi8-u", "mac-roman"),
}

_LINE_ENDS = {None: 0, "": 1, "\n": 0, "\r": 2, "\r\n": 3}
_MASK = (1 << 64) - 1


def takes_pieces(encoding: str) -> bool:
    """Whether the encoding gives the same for the pieces of a text as for the whole."""
    return codecs.lookup(encoding).name in _OF_PIECES


async def convert_in_pieces(coder: Any, convert: Any, given: Any, final: bool) -> Any:
    """Return convert(given, final), a method of `coder`. Of much, let other tasks run meanwhile.

    If that fails, `coder` has its state from before.
    """
    if len(given) <= CONVERTED_AT_ONCE:
        return convert(given, final)
    state = coder.getstate()
    pieces = []
    try:
        for start in range(0, len(given), CONVERTED_AT_ONCE):
            pieces.append(convert(given[start : start + CONVERTED_AT_ONCE]))
            await pause(0)
        pieces.append(convert(given[:0], final))
    except UnicodeError:  # which tells a place in the piece
        coder.setstate(state)
        return convert(given, final)
    except BaseException:
        coder.setstate(state)
        raise
    return pieces[-1][:0].join(pieces)


def _pack(
    start: int, flags: int, nbytes: int = 0, used: int = 0, *, needs_end: bool = False
) -> int:
    """Return tell()'s cookie: where to begin to decode, and with which state of the decoder.

    To reach the position, seek() decodes `nbytes` bytes from there, then the end of the file if
    needs_end, and skips `used` characters. Mostly all but `start` is 0, and so the cookie is a
    position in bytes. `flags` comes last: the state of some decoders has more than 64 bits.
    """
    return start | nbytes << 64 | used << 128 | int(needs_end) << 192 | flags << 193


def _check_is_text(text: object) -> None:
    if not isinstance(text, str):
        msg = f"write() argument must be str, not {type(text).__name__}"
        raise TypeError(msg)


class TextFile(_TextBase):
    """A text file: what `await linux_aio.open(path)` gives.

    It has the methods of open()'s text files. Those that may wait for the file are awaited, the
    others are ordinary. Sizes are in characters. Every method raises ValueError once the file is
    closed, io.UnsupportedOperation, an OSError, if the file was not opened for that, UnicodeError
    for what can't be decoded or encoded, and the OSError that the system reports.
    """

    def __init__(
        self,
        buffer: File,
        mode: str,
        encoding: str,
        errors: str,
        newline: str | None,
        *,
        line_buffering: bool,
    ) -> None:
        self._file = buffer
        self._set_file(buffer)
        self._mode = mode
        self._encoding_name = encoding
        self._errors = errors
        self._newline = newline
        self._line_buffering = line_buffering
        self._line_end = _LINE_ENDS[newline]
        self._write_newline = newline or "\n"
        self._translates = self._write_newline != "\n"
        self._goes_slowly = line_buffering
        self._decoder: Any = None
        self._encoder: Any = None
        self._snapshot: tuple[int, bytes] | None = None
        self._chunk = CHUNK_OF_BOTH if "+" in mode else READ_CHUNK
        name = codecs.lookup(encoding).name
        self._takes_pieces = name in _OF_PIECES
        if errors == "strict" and name == "utf-8":
            self._encoding = 1
        elif name in {"ascii", "iso8859-1", "utf-8"}:
            self._encoding = 2
        else:
            self._encoding = 0

    def _make_decoder(self) -> Any:
        decoder: Any = codecs.getincrementaldecoder(self._encoding_name)(self._errors)
        if not self._newline:
            decoder = io.IncrementalNewlineDecoder(decoder, translate=self._newline is None)
        self._decoder = decoder
        return decoder

    def _make_encoder(self) -> Any:
        encoder: Any = codecs.getincrementalencoder(self._encoding_name)(self._errors)
        if self._file._is_seekable and self._file._offset != 0:
            encoder.setstate(0)  # no mark, for this is not the file's start
        self._encoder = encoder
        return encoder

    def _check_readable(self) -> None:
        self._file._check_open()
        if not self._file._is_readable:
            msg = "not readable"
            raise io.UnsupportedOperation(msg)

    def _check_writable(self) -> None:
        self._file._check_open()
        if not self._file._is_writable:
            msg = "not writable"
            raise io.UnsupportedOperation(msg)

    # --- reading, with the file's lock held

    async def _read_chunk(self) -> bytes:
        """Replace the text with that of the next chunk, and return its bytes: b"" at the end."""
        decoder = self._decoder or self._make_decoder()
        data = await self._file._read_some(self._chunk)
        if self._file._is_seekable:
            left, flags = decoder.getstate()
            self._snapshot = (flags, left + data)
        self._fill(decoder.decode(data, not data))
        return data

    def _restore(
        self,
        text: str | None,
        position: int,
        snapshot: tuple[int, bytes] | None,
        chunks: list[bytes],
        pieces: list[str],
        *,
        has_read: bool,
    ) -> None:
        """After a failure, put back the text that was decoded since, for the next call.

        `chunks` are the bytes that were read since, and `pieces` what was taken of their text.
        """
        rest = self._get_text()
        if has_read and pieces and rest is not None:
            head = "" if text is None else text[:position]
            if snapshot is not None and self._snapshot is not None:
                self._snapshot = (snapshot[0], snapshot[1] + b"".join(chunks))
            self._fill(head + "".join(pieces) + rest[self._position :])
            self._position = len(head)
        elif text is not None and not has_read:
            self._fill(text)
            self._position = position
            self._snapshot = snapshot

    async def _read_slow(self, size: int) -> str:
        self._check_readable()
        await self._file._acquire()
        try:
            self._check_readable()
            await self._file._prepare_read()
            if size < 0:
                data = await self._file._read_all()
                text = await self._decode_all(data)  # a failure loses no text
                result: str = self._take(-1) + text
                self._fill(None)
                self._snapshot = None
                return result
            return await self._gather_text(size, lines=False)
        finally:
            self._file._release()

    async def _decode_all(self, data: bytes) -> str:
        """Decode the rest of the file. Of much data, let other tasks run meanwhile."""
        decoder = self._decoder or self._make_decoder()
        try:
            text: str = await self._convert(decoder, decoder.decode, data, True)
        except UnicodeError:
            raise
        except BaseException:
            self._file._put_back([data])
            raise
        return text

    async def _convert(self, coder: Any, convert: Any, given: Any, final: bool) -> Any:
        """Return convert(given, final), a method of `coder`. See convert_in_pieces()."""
        if self._takes_pieces:
            return await convert_in_pieces(coder, convert, given, final)
        return convert(given, final)

    async def _gather_text(self, limit: int, *, lines: bool) -> str:
        """Return a line, or up to `limit` characters, from as many chunks as needed."""
        text, position, snapshot = self._get_text(), self._position, self._snapshot
        chunks: list[bytes] = []
        pieces: list[str] = []
        has_read = False
        left = limit
        try:
            while limit < 0 or left > 0:
                asked = left if limit >= 0 else -1
                is_split = lines and self._line_end == 3 and bool(pieces)
                if is_split and pieces[-1].endswith("\r") and self._starts_with_newline():
                    pieces.append(self._take(1))  # the end of a chunk splits "\r\n"
                    break
                piece = self._take_line(asked) if lines else self._take(asked)
                if piece:
                    pieces.append(piece)
                    left -= len(piece)
                    if (lines and self._ends_line(piece)) or (limit >= 0 and left == 0):
                        break
                if self._left():
                    continue
                data = await self._read_chunk()
                has_read = True
                if not data and not self._left():
                    if lines:
                        self._fill(None)
                        self._snapshot = None
                    break
                if self._snapshot is not None:
                    chunks.append(data)
                    if snapshot is None:  # the state before the first chunk
                        flags, undecoded = self._snapshot
                        snapshot = (flags, undecoded.removesuffix(data))
        except BaseException:
            self._restore(text, position, snapshot, chunks, pieces, has_read=has_read)
            raise
        return pieces[0] if len(pieces) == 1 else "".join(pieces)

    def _starts_with_newline(self) -> bool:
        text = self._get_text()
        return text is not None and text[self._position : self._position + 1] == "\n"

    async def _readline_slow(self, limit: int) -> str:
        self._check_readable()
        await self._file._acquire()
        try:
            self._check_readable()
            await self._file._prepare_read()
            return await self._gather_text(limit, lines=True)
        finally:
            self._file._release()

    async def _next_slow(self, limit: int) -> str:
        line = await self._readline_slow(limit)
        if not line:
            self._is_iterating = False
        return line

    async def readlines(self, hint: int | None = -1, /) -> list[str]:
        """Read lines, each with its end, until the file ends or they have hint characters in all.

        hint -1 or None: all lines. For large files, `async for line in file` takes less memory.
        """
        most = -1 if hint is None else operator.index(hint)
        self._is_iterating = True  # until the file ends, as with `async for` and open()'s files
        self._check_readable()
        await self._file._acquire()
        try:
            self._check_readable()
            await self._file._prepare_read()
            return await self._gather_lines(most)
        finally:
            self._file._release()

    async def _gather_lines(self, most: int) -> list[str]:
        file = self._file
        place = file._offset - file._buffered()
        text, position, snapshot = self._get_text(), self._position, self._snapshot
        decoder = self._decoder
        state = decoder.getstate() if decoder is not None else None
        lines: list[str] = []
        total = 0
        began = time.monotonic()
        try:
            while not 0 < most < total:
                if time.monotonic() - began > _SLICE:
                    await pause(0)
                    began = time.monotonic()
                taken = self._take_lines(lines, min(most - total if most > 0 else _PART, _PART))
                if taken == 0:
                    line = await self._gather_text(-1, lines=True)
                    if not line:
                        self._is_iterating = False
                        break
                    lines.append(line)
                    taken = len(line)
                total += taken
        except BaseException:  # put back what was taken, for the next call
            if not file._is_seekable:
                rest = self._get_text() or ""
                self._fill("".join(lines) + rest[self._position :])
                self._position = 0
                raise
            file._fill(b"")
            file._offset = place
            self._decoder = decoder
            if decoder is not None:
                decoder.setstate(state)
            self._fill(text)
            self._position = position
            self._snapshot = snapshot
            raise
        return lines

    # --- writing, with the file's lock held

    async def _write_slow(self, text: str) -> int:
        _check_is_text(text)
        self._check_writable()
        await self._file._acquire()
        try:
            return await self._write_locked(text)
        finally:
            self._file._release()

    async def _write_locked(self, text: str) -> int:
        self._check_writable()
        data = text.replace("\n", self._write_newline) if self._translates else text
        encoder = self._encoder or self._make_encoder()
        state = encoder.getstate()
        encoded: bytes = await self._convert(encoder, encoder.encode, data, False)
        self._forget_text()
        try:
            await self._file._write_locked(encoded)
        except BaseException:
            if not self._file._has_begun:
                encoder.setstate(state)
            raise
        if self._line_buffering and ("\n" in text or "\r" in text):
            await self._file._flush_locked()
        return len(text)

    def _forget_text(self) -> None:
        """Prepare for a write: drop the text read, as the file drops its bytes.

        A stream has no position to go back to: its text and the decoder's state stay.
        """
        if self._file._is_seekable and self._get_text() is not None:
            self._fill(None)
            self._snapshot = None
            if self._decoder is not None:
                self._decoder.reset()

    async def writelines(self, lines: Iterable[str], /) -> None:
        """Write strings one after the other, as write() does. No line ends are added.

        What other tasks write comes before all of them, or after.
        """
        file = self._file
        file._check_open()
        await file._acquire()
        try:
            is_utf8 = self._encoding == 1
            is_plain = self._encoding != 0 and not (self._translates or self._line_buffering)
            room = 0
            for line in lines:
                if _ends_slice():
                    await pause(0)
                if room and type(line) is str and (is_utf8 or line.isascii()):
                    data = line.encode()
                    if len(data) <= room:
                        file._gather(data)
                        room -= len(data)
                        continue
                _check_is_text(line)
                await self._write_locked(line)
                room = file._room() if is_plain else 0
        finally:
            file._release()

    async def flush(self) -> None:
        """Wait until the kernel has all that was written so far: see pwritev2(2).

        Others can read it then; that it is on the disk, fsync() says. OSError if the kernel refuses
        some: that stays in the buffer, and the next flush() tries again.
        """
        self._is_iterating = False
        await self._file.flush()

    async def truncate(self, size: int | None = None, /) -> int:
        """Make the file size bytes long, by default as far as the position; return the size.

        size counts bytes, not characters. The position stays where it is. See ftruncate(2).
        """
        await self.flush()
        return await self._file.truncate(size)

    async def fsync(self) -> None:
        """Flush, and wait until the data and all about the file is on the disk: fsync(2).

        OSError with EINVAL for what can't be synced, such as a pipe; with EIO if the disk failed,
        and then what was written before may be lost.
        """
        await self._file.fsync()

    async def fdatasync(self) -> None:
        """Flush, and wait until the data is on the disk: fdatasync(2).

        Of what is known about the file, only what it takes to read the data is synced: its size,
        and not its times. Errors are those of fsync().
        """
        await self._file.fdatasync()

    # --- the position: a cookie

    def _check_seekable(self) -> None:
        if not self._file.seekable():
            msg = "underlying stream is not seekable"
            raise io.UnsupportedOperation(msg)

    async def tell(self) -> int:
        """Return the position, as a number for seek().

        It counts neither bytes nor characters: only seek() can use it. OSError within `async for`,
        io.UnsupportedOperation for a stream.
        """
        self._check_seekable()
        await self._file._acquire()
        try:
            self._check_seekable()
            return await self._tell_locked()
        finally:
            self._file._release()

    async def _tell_locked(self) -> int:
        if self._is_iterating:
            msg = "telling position disabled by next() call"
            raise OSError(msg)
        await self._file._prepare_read()
        return self._cookie(await self._file._tell_locked())

    def _cookie(self, position: int) -> int:
        if self._decoder is None or self._snapshot is None or self._get_text() is None:
            return position
        flags, data = self._snapshot
        start = position - len(data)
        used = self._position
        if used == 0:
            return _pack(start, flags)
        saved = self._decoder.getstate()
        try:
            return self._find_cookie(start, flags, data, used)
        finally:
            self._decoder.setstate(saved)

    def _decode_prefix(self, flags: int, data: bytes) -> tuple[int, bytes, int]:
        """Return how many characters `data` decodes to, and the decoder's state after them."""
        self._decoder.setstate((b"", flags))
        count = len(self._decoder.decode(data))
        left, state = self._decoder.getstate()
        return count, left, state

    def _find_cookie(self, start: int, flags: int, data: bytes, used: int) -> int:
        text = self._get_text() or ""
        try:
            guess = len(text[:used].encode(self._encoding_name, self._errors))
        except UnicodeError:
            guess = used
        low, high = 0, len(data)
        if guess <= high:
            count, left, state = self._decode_prefix(flags, data[:guess])
            if count == used and not left:
                before = self._decode_prefix(flags, data[: guess - 1])
                if before[0] < used:
                    return _pack(start + guess, state)
        # find the fewest bytes that decode to so many characters
        while low < high:
            middle = (low + high) // 2
            if self._decode_prefix(flags, data[:middle])[0] < used:
                low = middle + 1
            else:
                high = middle
        count, left, state = self._decode_prefix(flags, data[:low])
        if count == used and not left:
            return _pack(start + low, state)
        return _pack(start, flags, low, used, needs_end=count < used)

    async def seek(self, cookie: int, whence: int = 0, /) -> int:
        """Move to a position that tell() has returned; return the new position.

        Or to the start (0), to where the file stands (0, os.SEEK_CUR), or to the end (0,
        os.SEEK_END). ValueError for a negative position, io.UnsupportedOperation for other ways and
        for a stream.
        """
        self._check_seekable()
        if whence == os.SEEK_CUR:
            if cookie != 0:
                msg = "can't do nonzero cur-relative seeks"
                raise io.UnsupportedOperation(msg)
        elif whence == os.SEEK_END:
            if cookie != 0:
                msg = "can't do nonzero end-relative seeks"
                raise io.UnsupportedOperation(msg)
        elif whence != os.SEEK_SET:
            msg = f"invalid whence ({whence}, should be 0, 1 or 2)"
            raise ValueError(msg)
        if cookie < 0:
            msg = f"negative seek position {cookie!r}"
            raise ValueError(msg)
        await self._file._acquire()
        try:
            self._check_seekable()
            if whence == os.SEEK_CUR:
                cookie = await self._tell_locked()
            self._is_iterating = False
            if whence == os.SEEK_END:
                position = await self._file._seek_locked(0, whence)
                self._go_to(position, 0)
                return position
            await self._seek_to_cookie(cookie)
            return cookie
        finally:
            self._file._release()

    def _go_to(self, position: int, flags: int) -> None:
        self._fill(None)
        self._snapshot = None
        # a new decoder of UTF-16 would look for the mark of the file's start
        needs_state = self._encoding == 0 and position != 0 and self._file._is_readable
        if self._decoder is not None or flags or needs_state:
            decoder = self._decoder or self._make_decoder()
            if position == 0 and flags == 0:
                decoder.reset()
            else:
                decoder.setstate((b"", flags))
                self._fill("")
                self._snapshot = (flags, b"")
        if self._encoder is not None:
            if position == 0:
                self._encoder.reset()
            else:
                self._encoder.setstate(0)

    def _is_decoder_state(self, flags: int) -> bool:
        if flags == 0:
            return True
        decoder = self._make_decoder()
        decoder.setstate((b"", flags))
        return bool(decoder.getstate()[1] == flags)

    async def _seek_to_cookie(self, cookie: int) -> None:
        start = cookie & _MASK
        nbytes = cookie >> 64 & _MASK
        used = cookie >> 128 & _MASK
        needs_end = bool(cookie >> 192 & 1)
        flags = cookie >> 193
        if start >> 63:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if (needs_end and not used) or not self._is_decoder_state(flags):
            msg = f"tell() gave no such position: {cookie:#x}"
            raise OverflowError(msg)
        await self._file._seek_locked(start, 0)
        self._go_to(cookie, flags)
        if used:
            decoder = self._decoder or self._make_decoder()
            decoder.setstate((b"", flags))
            data = await self._file._read_exactly(nbytes)
            text = decoder.decode(data, needs_end)
            if len(text) < used:
                msg = "can't restore logical file position"
                raise OSError(msg)
            self._fill(text)
            self._position = used
            self._snapshot = (flags, data)

    # --- the end

    async def close(self) -> None:
        """Write what was gathered, and close the file: see close(2). Again is harmless.

        OSError if something could not be written; the file is closed all the same. A cancelled call
        raises at once, and the rest is done in the background.
        """
        await self._file.close()

    aclose = close
    """The same as close()."""

    def detach(self) -> File:
        """Return the binary file beneath; this one can't be used any more.

        The binary file stands where the last part was read, which is mostly behind what the program
        has asked for. ValueError while another call of the file is under way.
        """
        file = self._file
        file._check_open()
        if file._is_locked:
            msg = "detach() of a file that is in use"
            raise ValueError(msg)
        self._set_file(None)
        self._fill(None)
        self._file = _DETACHED
        return file

    async def __aenter__(self) -> Self:
        """Return self. ValueError once closed."""
        self._file._check_open()
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

    # --- beside the position

    async def stat(self) -> os.stat_result:
        """Return the file's status, an os.stat_result: os.fstat, fstat(2).

        What was gathered and not yet written is not in st_size: flush() first.
        """
        return await self._file.stat()

    # --- what needs no await

    @property
    def buffer(self) -> File:
        """The binary file beneath, a File. Flush one before the other is used."""
        return self._file

    @property
    def name(self) -> Any:
        """The path as it was given to open(), or the descriptor."""
        return self._file.name

    @property
    def mode(self) -> str:
        """The mode, as it was given."""
        return self._mode

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return self._file.closed

    @property
    def direct(self) -> bool:
        """Whether it was opened with direct=True: whole pages go past the page cache."""
        return self._file.direct

    @property
    def context(self) -> AIOContext:
        """The context that carries out the operations."""
        return self._file.context

    @property
    def encoding(self) -> str:
        """The encoding's name."""
        return self._encoding_name

    @property
    def errors(self) -> str:
        """What happens to what can't be decoded or encoded: "strict", "replace", …."""
        return self._errors

    @property
    def newlines(self) -> str | tuple[str, ...] | None:
        """The line ends that were read so far: a str, a tuple of str, or None for none."""
        newlines: str | tuple[str, ...] | None = getattr(self._decoder, "newlines", None)
        return newlines

    @property
    def line_buffering(self) -> bool:
        """Whether each line is flushed when it is written: with buffering=1, and on terminals."""
        return self._line_buffering

    def fileno(self) -> int:
        """Return the descriptor. ValueError once closed."""
        return self._file.fileno()

    def readable(self) -> bool:
        """Whether it was opened for reading. ValueError once closed."""
        return self._file.readable()

    def writable(self) -> bool:
        """Whether it was opened for writing. ValueError once closed."""
        return self._file.writable()

    def seekable(self) -> bool:
        """Whether it has a position. ValueError once closed."""
        return self._file.seekable()

    def isatty(self) -> bool:
        """Whether it is a terminal. ValueError once closed."""
        return self._file.isatty()

    def __repr__(self) -> str:
        name = "" if self._file is _DETACHED else f"name={self._file.name!r} "
        return f"<linux_aio.TextFile {name}mode={self._mode!r} encoding={self._encoding_name!r}>"


class _Detached:
    """Stands in for a TextFile's File after detach()."""

    def __getattr__(self, name: str) -> Any:
        msg = "underlying buffer has been detached"
        raise ValueError(msg)


_DETACHED: Any = _Detached()
