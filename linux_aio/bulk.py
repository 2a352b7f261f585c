# SPDX-License-Identifier: Apache-2.0
"""Whole files and many parts of files at the disk's speed, with and without an event loop.

The extension makes the requests, in C++ and without the GIL. It keeps as many in flight as the disk
can use, and reads data that is not in the page cache with O_DIRECT.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import operator
import os
import select
import shutil
import stat
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from . import _copying, _core
from ._loop_context import pause
from ._pieces import PieceThread, whole_pages
from ._range_groups import group_ranges
from ._worker import Worker, run_in_thread

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike, StrOrBytesPath, WriteableBuffer

    FileOrPath: TypeAlias = StrOrBytesPath | FileDescriptorLike

__all__ = [
    "ShortFileError",
    "Transfer",
    "achecksum",
    "acopy",
    "aload_into",
    "checksum",
    "copy",
    "load_into",
    "read_many",
]

Progress: TypeAlias = Callable[[int, int], object]
Direct: TypeAlias = Literal["auto"] | bool

_DIRECT_MODES: dict[object, int] = {False: 0, "auto": 1, True: 2}
_PROGRESS_SECONDS = 0.1
_DEPTH_OF_MANY = 64  # a disk can use more small requests at a time
REQUEST = 1 << 20  # bytes, unless the program says how many


@dataclass(frozen=True, slots=True)
class Transfer:
    """What a transfer did, and how."""

    nbytes: int
    """Bytes transferred."""
    seconds: float
    """How long it took."""
    engine: str
    """By which the requests were made: "uring", "aio" or "threads"; of a copy without reading and
    writing "reflink" or "copy_file_range"; "none" if the kernel tells no size of the source, as in
    /proc, so that it was read to its end by one request after the other."""
    direct: bool
    """Whether data went past the page cache, all of it or a part."""
    chunk: int
    """The largest request, in bytes."""
    depth: int
    """The most requests in flight."""
    cached: int = 0
    """Bytes that were taken from the page cache, without waiting."""


class ShortFileError(EOFError):
    """The file ended before the data that was asked for: an EOFError.

    `transfer`, a Transfer, says how much was read.
    """

    def __init__(self, message: str, transfer: Transfer) -> None:
        super().__init__(message)
        self.transfer = transfer

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the arguments, for pickle."""
        return type(self), (*self.args, self.transfer)


def load_into(
    file: FileOrPath,
    segments: Iterable[tuple[int, WriteableBuffer]],
    *,
    direct: Direct = "auto",
    chunk: int | None = None,
    depth: int | None = None,
    progress: Progress | None = None,
) -> Transfer:
    """Fill the buffer of each (offset, buffer) pair with the bytes of the file from offset on.

    `file` is a path, a descriptor, or an object with a fileno method. There can be any number of
    pairs; offsets and lengths are in bytes, and need no alignment. A buffer is writable and
    contiguous, and can't be resized meanwhile.

    direct="auto" reads what is not in the page cache with O_DIRECT, if the file is on a local disk;
    True reads everything so, and is an OSError with EINVAL where the file system can't, and with
    EBUSY for a descriptor without O_DIRECT of a file on which the process has record locks; False
    reads nothing so: see open(2).

    `chunk` is the size of a request in bytes, by default 1 MiB; `depth` is how many are in flight,
    by default 16. `progress` is called with (bytes done, bytes in all) some ten times a second; an
    exception that it raises ends the call.

    Returns a Transfer, which says what was done. ShortFileError if the file ends before: all that
    it has was read by then. OSError for what the system refuses, ValueError for a negative offset.
    When the call ends, also by KeyboardInterrupt, nothing writes to the buffers any more. It must
    not be called in an event loop: aload_into() is for that.
    """
    return _load(file, segments, direct, chunk, depth, _Clock(progress))


async def aload_into(
    file: FileOrPath,
    segments: Iterable[tuple[int, WriteableBuffer]],
    *,
    direct: Direct = "auto",
    chunk: int | None = None,
    depth: int | None = None,
    progress: Progress | None = None,
) -> Transfer:
    """Fill buffers as load_into does, in a thread of its own while the event loop goes on.

    `progress` is called in the loop's thread. A cancelled task ends when nothing writes to the
    buffers any more, which takes about 0.1 s unless the disk hangs. The rest is as for load_into.
    """
    segments = list(segments)

    def work(check: Callable[[], None], report: Progress | None) -> Transfer:
        return _load(file, segments, direct, chunk, depth, _Clock(report, check))

    return await run_in_thread(work, progress)


def _load(
    file: FileOrPath,
    segments: Iterable[tuple[int, WriteableBuffer]],
    direct: Direct,
    chunk: int | None,
    depth: int | None,
    clock: _Clock,
) -> Transfer:
    options = _Options(direct, chunk, depth)
    segments = list(segments)
    with _opened(file, options.direct) as source:
        source.check_offsets()
        clock.total = sum(_nbytes(buffer) for _, buffer in segments) if clock.is_needed else 0
        tick = clock.tick if clock.is_needed else None
        arguments: list[Any] = [*source.fds(), segments, *options.all(source), tick]
        answer = _core._bulk_load(*arguments)
        transfer, end = clock.transfer(answer, source)
    if end is not None:
        # of a file that got shorter, bytes behind the end may have been read before
        sizes = [(offset, _nbytes(buffer)) for offset, buffer in segments]
        found = sum(min(max(end - offset, 0), size) for offset, size in sizes)
        wanted = sum(size for _, size in sizes)
        raise ShortFileError(
            f"{source.name} ended after {found} of {wanted} bytes", replace(transfer, nbytes=found)
        )
    clock.finish(transfer.nbytes)
    return transfer


def checksum(
    file: FileOrPath,
    algorithm: str = "sha256",
    *,
    direct: Direct = "auto",
    chunk: int | None = None,
    depth: int | None = None,
    progress: Progress | None = None,
) -> str:
    """Return the checksum of a whole file, as a string of hexadecimal digits.

    `algorithm` is the name of one of hashlib's, by default "sha256"; ValueError for an unknown one,
    and for one whose digest has no fixed size. One thread reads what follows while another hashes.
    Files without a size, such as pipes and those of /proc, are read to their end. Arguments and
    errors are otherwise those of load_into; the default of `chunk` is 2 MiB.
    """
    return _checksum(file, algorithm, direct, chunk, depth, _Clock(progress))


async def achecksum(
    file: FileOrPath,
    algorithm: str = "sha256",
    *,
    direct: Direct = "auto",
    chunk: int | None = None,
    depth: int | None = None,
    progress: Progress | None = None,
) -> str:
    """Return the checksum of a file as checksum does, while the event loop goes on.

    It is done in threads of its own. A cancelled task ends when they have.
    """

    def work(check: Callable[[], None], report: Progress | None) -> str:
        return _checksum(file, algorithm, direct, chunk, depth, _Clock(report, check))

    return await run_in_thread(work, progress)


def checksum_from(
    start: int, file: FileOrPath, algorithm: str, *, direct: Direct, progress: Progress | None
) -> str:
    """Return the checksum of a file from an offset on. For linux_aio's command line."""
    return _checksum(file, algorithm, direct, None, None, _Clock(progress), start=start)


def _checksum(
    file: FileOrPath,
    algorithm: str,
    direct: Direct,
    chunk: int | None,
    depth: int | None,
    clock: _Clock,
    *,
    start: int = 0,
    size: int | None = None,
) -> str:
    """Hash a file from `start` on, or only its first `size` bytes."""
    digest = hashlib.new(algorithm)
    if digest.digest_size == 0:
        raise ValueError(f"{algorithm} has no digest of a fixed size")
    options = _Options(direct, chunk, depth)
    with _opened(file, options.direct) as source:
        if size is not None:
            source = replace(source, size=size)
        clock.total = max(source.size - start, 0)
        if source.size > start:
            _hash_pieces(digest, source, options, clock, start)
        else:
            _hash_to_the_end(digest, source, clock, start)
    clock.finish(clock.total)
    return digest.hexdigest()


def _hash_to_the_end(digest: hashlib._Hash, source: _Source, clock: _Clock, start: int) -> None:
    """Hash a file of unknown size: read one chunk after the other to the end."""
    fd = source.buffered if source.buffered >= 0 else source.direct
    done = 0
    while True:
        if stat.S_ISREG(source.kind):
            data = _read_at(fd, start + done, clock)
        else:
            _wait_for_data(fd, clock, done)
            data = os.read(fd, 1 << 20)
        if not data:
            clock.total = done
            return
        digest.update(data)
        done += len(data)
        clock.tick(done)


def _wait_for_data(fd: int, clock: _Clock, done: int) -> None:
    """Wait for data or the end, so that the caller can give up meanwhile.

    Until another program opens a FIFO to write, reads would return its end.
    """
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while not poll.poll(100):
        clock.tick(done)


def _read_at(fd: int, position: int, clock: _Clock) -> bytes:
    """Read from a file without a size. A few, as /proc/kmsg, have to be waited for."""
    while True:
        try:
            return os.pread(fd, 1 << 20, position)
        except BlockingIOError:  # opened with O_NONBLOCK: see _opened()
            _wait_for_data(fd, clock, position)


def _hash_pieces(
    digest: hashlib._Hash, source: _Source, options: _Options, clock: _Clock, start: int
) -> None:
    """Hash, in order, the pieces that another thread reads."""
    request = options.chunk or 2 * REQUEST
    # Pieces are larger than requests, because each piece costs a switch of threads.
    unit = whole_pages(min(max(request, 4 * REQUEST), 1 << 26))
    count = -(-request * (options.depth or 16) // unit) + 4
    count = min(count, -(-(source.size - start) // unit), 1024)
    ranges = [(start, source.size)]
    with PieceThread(source.fds(), ranges, options.all(source, request), unit, count) as thread:
        waiting: dict[int, tuple[int, memoryview]] = {}
        wanted = 0
        for index, _, place, data in thread.pieces(clock.tick):
            waiting[index] = place, data
            while wanted in waiting:
                place, data = waiting.pop(wanted)
                digest.update(data)
                thread.give_back(place)
                wanted += 1
        transfer, end = clock.transfer(thread.answer(), source)
    if end is not None:
        raise ShortFileError(
            f"{source.name} ended after {transfer.nbytes} of {source.size - start} bytes", transfer
        )


def copy(
    source: StrOrBytesPath,
    target: StrOrBytesPath,
    *,
    direct: Direct = "auto",
    durable: bool = True,
    verify: str | None = None,
    chunk: int | None = None,
    depth: int | None = None,
    progress: Progress | None = None,
) -> Transfer:
    """Copy a regular file with its mode, times and extended attributes, as shutil.copy2 does.

    `target` is a file or a folder. The copy has its name when it is whole: it replaces an existing
    file by a rename(2). After an error that file is as it was; after an interrupt it may also be
    the whole copy. Holes stay holes if the file system tells where they are (SEEK_DATA of
    lseek(2)). shutil.SpecialFileError for what is no regular file, or has no name.

    Blocks are shared with the source where the file system can (`engine` of the result is then
    "reflink": ioctl_ficlone(2)). Else the file system copies by itself where it has a way
    ("copy_file_range"), else reads and writes overlap, past the page cache where that pays. The
    copy is as long as the source was at the start; ShortFileError if that became shorter.

    durable=True: the copy and its name are on the disk when the call returns (fsync(2)). `verify`,
    the name of one of hashlib's algorithms: both files are read once more and compared before the
    target is replaced; OSError with EIO if they differ. `direct`, `chunk`, `depth` and `progress`
    are as for load_into. Returns a Transfer.
    """
    return _copy(source, target, _Options(direct, chunk, depth), durable, verify, _Clock(progress))


async def acopy(
    source: StrOrBytesPath,
    target: StrOrBytesPath,
    *,
    direct: Direct = "auto",
    durable: bool = True,
    verify: str | None = None,
    chunk: int | None = None,
    depth: int | None = None,
    progress: Progress | None = None,
) -> Transfer:
    """Copy a file as copy does, in threads of its own while the event loop goes on.

    `progress` is called in the loop's thread. A cancelled task ends when the threads have; the
    target is as it was then, or the whole copy.
    """
    options = _Options(direct, chunk, depth)

    def work(check: Callable[[], None], report: Progress | None) -> Transfer:
        return _copy(source, target, options, durable, verify, _Clock(report, check))

    return await run_in_thread(work, progress)


async def copy_contents(
    source: str, target: str, *, direct: Direct, durable: bool, exclusive: bool
) -> Transfer:
    """Copy as acopy, but no mode, times or attributes: shutil.copyfile. For linux_aio.fsspec.

    exclusive: raise FileExistsError if the target exists, also if it came to be meanwhile.
    """
    options = _Options(direct, None, None)

    def work(check: Callable[[], None], _: Progress | None) -> Transfer:
        clock = _Clock(None, check)
        return _copy(
            source,
            target,
            options,
            durable,
            None,
            clock,
            only_contents=True,
            exclusive=exclusive,
        )

    return await run_in_thread(work, None)


def _copy(
    source: StrOrBytesPath,
    target: StrOrBytesPath,
    options: _Options,
    durable: bool,
    verify: str | None,
    clock: _Clock,
    *,
    only_contents: bool = False,
    exclusive: bool = False,
) -> Transfer:
    if verify is not None and hashlib.new(verify).digest_size == 0:
        raise ValueError(f"{verify} has no digest of a fixed size")
    source_path = os.fsdecode(source)
    target_path = _copying.resolved_target(source_path, os.fsdecode(target))
    with _opened(source_path, options.direct) as opened:
        if not stat.S_ISREG(opened.kind):
            raise shutil.SpecialFileError(f"{source_path!r} is no regular file")
        clock.total = opened.size
        with (
            _naming(source_path, target_path),
            contextlib.closing(_copying.NewFile(target_path, private=not only_contents)) as new,
        ):
            transfer = _copy_data(opened, new, target_path, options, durable, clock)
            _check_length(opened, new, transfer)
            if verify is not None:
                _verify(opened, new, verify, clock)
            new.take_mode()
            if not only_contents:
                # the functions of `os` that it calls take descriptors, too
                shutil.copystat(opened.buffered, new.fd)  # type: ignore[arg-type]
            if durable:
                os.fsync(new.fd)
            clock.finish(transfer.nbytes)
            clock.tick(transfer.nbytes)  # the last chance to give up
            if exclusive:
                new.take_name(durable)
            else:
                new.replace_target(durable)
    return replace(transfer, seconds=clock.seconds())


@contextlib.contextmanager
def _naming(source: str, target: str) -> Iterator[None]:
    """Add both names to an OSError that has none, or a descriptor, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and not isinstance(error.filename, (str, bytes)):
            error.filename, error.filename2 = source, target
        raise


def _check_length(source: _Source, new: _copying.NewFile, transfer: Transfer) -> None:
    """Cut off what a source got meanwhile. Raise ShortFileError if the source got shorter."""
    if source.size == 0:
        return
    length = os.fstat(new.fd).st_size
    if length > source.size:
        os.ftruncate(new.fd, source.size)
    left = min(length, os.fstat(source.buffered).st_size)
    if left < source.size:
        text = f"{source.name} got shorter while it was copied"
        raise ShortFileError(text, replace(transfer, nbytes=left))


def _copy_data(
    source: _Source,
    new: _copying.NewFile,
    target_path: str,
    options: _Options,
    durable: bool,
    clock: _Clock,
) -> Transfer:
    size = source.size
    if size == 0:
        return _copy_to_the_end(source, new, clock)
    if _copying.clone(source.buffered, new.fd):
        return Transfer(size, 0, "reflink", False, size, 1)
    if _copying.copy_by_file_system(source, new.fd, clock.tick, size):
        return Transfer(size, 0, "copy_file_range", False, _copying.RANGE_BYTES, 1)
    os.ftruncate(new.fd, size)
    with contextlib.ExitStack() as stack:
        direct_fd = -1
        is_worth_it = durable and size >= _LEAST_DIRECT_COPY and _core._bulk_gains(new.fd)
        if options.direct is True or (options.direct == "auto" and is_worth_it):
            required = target_path if options.direct is True else None
            direct_fd = _reopen(new.fd, os.O_DIRECT, stack, os.O_RDWR, required=required)
        copier = _copying.Copier(new.fd, direct_fd)
        unit = whole_pages(min(options.chunk or REQUEST, size))
        count = min(options.depth or 16, -(-size // unit)) + _copying.writers_of(direct_fd)
        ranges = _copying.ranges(source, new.fd, direct_fd >= 0)
        with PieceThread(source.fds(), ranges, options.all(source, unit), unit, count) as thread:
            copier.run(thread, clock.tick)
            answer = thread.answer()
    transfer, end = clock.transfer(answer, source)
    if end is not None:
        raise ShortFileError(f"{source.name} got shorter while it was copied", transfer)
    return replace(transfer, nbytes=size, direct=transfer.direct or copier.wrote_direct)


# A smaller file is not copied faster by direct I/O.
_LEAST_DIRECT_COPY = 1 << 22


def _copy_to_the_end(source: _Source, new: _copying.NewFile, clock: _Clock) -> Transfer:
    """Copy a file without a size, such as those of /proc, or an empty file."""
    position = 0
    while data := _read_at(source.buffered, position, clock):
        while data:
            count = os.pwrite(new.fd, data, position)
            data = data[count:]
            position += count
        clock.tick(position)
    clock.total = position
    return Transfer(position, 0, "none", False, 1 << 20, 1)


def _verify(source: _Source, new: _copying.NewFile, algorithm: str, clock: _Clock) -> None:
    os.fsync(new.fd)
    os.posix_fadvise(new.fd, 0, 0, os.POSIX_FADV_DONTNEED)
    past_cache: Direct = "auto"
    with contextlib.ExitStack() as stack:
        # an overlay may lie on a file system without direct I/O
        if _core._bulk_gains(new.fd) and _reopen(new.fd, os.O_DIRECT, stack) >= 0:
            past_cache = True
    # the source may have grown since
    wanted = _checksum(
        source.buffered, algorithm, "auto", None, None, clock.silent(), size=source.size or None
    )
    found = _checksum(new.fd, algorithm, past_cache, None, None, clock.silent())
    if wanted != found:
        text = f"the copy of {source.name} differs: {algorithm} {found} instead of {wanted}"
        raise OSError(errno.EIO, text)


async def read_many(
    file: FileOrPath,
    ranges: Iterable[tuple[int, int]],
    *,
    max_gap: int = 16384,
    max_merge: int = 1 << 20,
    ordered: bool = False,
    memory: int = 1 << 26,
    direct: Direct = "auto",
    chunk: int | None = None,
    depth: int | None = None,
) -> AsyncGenerator[tuple[int, memoryview], None]:
    """Read many (offset, length) ranges of a file: an asynchronous iterator of (index, memoryview).

    The index is that of the range. Ranges come as they arrive, or with ordered=True in their order.
    Those with at most `max_gap` bytes between them are read together, up to `max_merge` bytes at a
    time: 16 KiB and 1 MiB by default. The bytes are the program's; ranges that were read together
    share memory, so copy what is kept for long.

    At most about `memory` bytes, 64 MiB by default, are read before the program takes them. `file`,
    `direct` and `chunk` are as for load_into; `depth` is 64 by default. ShortFileError, at the end,
    if the file ends before the end of a range; ValueError for a negative number.
    """
    plan = await group_ranges(list(ranges), max_gap, max_merge, memory, ordered)
    options = _Options(direct, chunk, _DEPTH_OF_MANY if depth is None else depth)
    reader = _core._PieceReader(plan.pieces, None, 0, memory)

    def work(worker: Worker[tuple[Transfer, str]]) -> tuple[Transfer, str]:
        clock = _Clock(None)
        with _opened(file, options.direct) as source:
            source.check_offsets()
            arguments: list[Any] = [*source.fds(), *options.all(source), worker.wake_fd]
            answer = reader.run(*arguments)
            return clock.transfer(answer, source)[0], source.name

    async with Worker(work, reader.stop) as worker:
        try:
            finished = False
            end_of_short = -1
            # by the index of the range: the number of its group, and the bytes
            waiting: dict[int, tuple[int, memoryview | None]] = {}
            left: dict[int, int] = {}  # by group: how many ranges the program has not taken
            wanted = window = 0
            while not finished:
                await worker.news()
                finished = worker.finished
                for number, start, data, nbytes in reader.take():
                    indices = plan.indices(number)
                    left[number] = len(indices)
                    for index in indices:
                        if _core._ends_slice():
                            await pause(0)
                        offset, length = plan.range_of(index)
                        end = offset + length - start
                        is_there = nbytes >= end or length == 0
                        if not is_there and end_of_short < 0:
                            end_of_short = plan.end(number)
                        waiting[index] = number, data[end - length : end] if is_there else None
                order = None if ordered else deque(waiting)
                while waiting:
                    index = wanted if order is None else order.popleft()
                    if index not in waiting:
                        break
                    if _core._ends_slice():
                        await pause(0)
                    number, view = waiting.pop(index)
                    wanted += 1
                    if view is not None:
                        yield index, view
                    left[number] -= 1
                    if left[number] == 0:
                        del left[number]
                        reader.give_back(plan.size_of_piece(number))
                    if ordered and wanted == plan.ends[window]:
                        window += 1
                        reader.set_window(window)
        finally:
            reader.stop()
        transfer, name = worker.result()
        if end_of_short >= 0:
            raise ShortFileError(f"{name} ended before byte {end_of_short}", transfer)


# --- common to all transfers


class _Options:
    """The arguments of a transfer, checked."""

    def __init__(self, direct: Direct, chunk: int | None, depth: int | None) -> None:
        if direct not in _DIRECT_MODES:
            raise ValueError(f'direct must be "auto", True or False, not {direct!r}')
        self.mode = _DIRECT_MODES[direct]
        self.direct: Direct = "auto" if self.mode == _DIRECT_MODES["auto"] else bool(direct)
        self.chunk = _positive(chunk, "chunk")
        self.depth = min(_positive(depth, "depth"), 1024)
        self.engine = os.environ.get("LINUX_AIO_ENGINE") or "auto"
        if self.engine not in ("auto", "aio", "uring", "threads"):
            raise ValueError(f"LINUX_AIO_ENGINE names no engine: {self.engine!r}")

    def all(self, source: _Source, request: int | None = None) -> tuple[int, int, int, str]:
        """Return the options as the extension's functions take them."""
        mode = self.mode if source.buffered >= 0 else _DIRECT_MODES[True]
        return mode, request or self.chunk, self.depth, self.engine


def _positive(value: int | None, name: str) -> int:
    """Return the value, or 0 for None. ValueError if it is not positive."""
    if value is None:
        return 0
    number = operator.index(value)
    if number <= 0:
        raise ValueError(f"{name} must be positive, not {number}")
    return min(number, 1 << 30)


def _nbytes(buffer: WriteableBuffer) -> int:
    """Return the buffer's size. NumPy's dates have bytes, but no format that memoryview() knows."""
    try:
        return memoryview(buffer).nbytes
    except ValueError:
        nbytes = getattr(buffer, "nbytes", None)
        if not isinstance(nbytes, int):
            raise
        return nbytes


class _Clock:
    """Calls the program's progress function some ten times a second, and counts the time."""

    def __init__(self, progress: Progress | None, check: Callable[[], None] | None = None) -> None:
        self._progress = progress
        self._check = check
        self._pid = os.getpid()
        self._began = self._last = time.monotonic()
        self.is_needed = progress is not None or check is not None
        self.total = 0

    def tick(self, done: int) -> None:
        if self._check is not None:
            self._check()
        # finish() reports the end
        if self._progress is not None and done != self.total:
            now = time.monotonic()
            if now - self._last >= _PROGRESS_SECONDS:
                self._last = now
                self._progress(done, self.total)
        if self._pid != os.getpid():
            # the threads are the parent's, and so is the new file of a copy
            raise RuntimeError("a transfer can't go on in a child process of the one that began it")

    def seconds(self) -> float:
        return time.monotonic() - self._began

    def silent(self) -> _Clock:
        """Return a clock that reports no progress, and only checks whether to go on."""
        return _Clock(None, self._check)

    def finish(self, done: int) -> None:
        if self._progress is not None:
            self._progress(done, self.total)

    def transfer(self, answer: tuple[Any, ...], source: _Source) -> tuple[Transfer, int | None]:
        """Return the result, and the end of the file if that was met; or raise the error."""
        if len(answer) == 2:
            error, offset = answer
            raise source.error(error, f"reading at offset {offset}")
        nbytes, direct, cached, engine, chunk, depth, end = answer
        return Transfer(nbytes, self.seconds(), engine, direct != 0, chunk, depth, cached), end


@dataclass(frozen=True, slots=True)
class _Source:
    """A file that is open for reading: with and without O_DIRECT, if both are possible."""

    name: str
    path: StrOrBytesPath | None
    kind: int  # st_mode
    size: int
    buffered: int  # -1: open for direct I/O only
    direct: int  # -1: not open for direct I/O

    def fds(self) -> tuple[int, int]:
        """Return both descriptors, for the extension's functions."""
        return self.buffered, self.direct

    def check_offsets(self) -> None:
        """Raise an OSError for a pipe, socket or terminal, which has no offsets."""
        os.lseek(self.buffered if self.buffered >= 0 else self.direct, 0, os.SEEK_CUR)

    def error(self, number: int, action: str) -> OSError:
        text = f"{os.strerror(number)}: {action} of {self.name}"
        return (
            OSError(number, text)
            if self.path is None
            else OSError(number, text, os.fspath(self.path))
        )


@contextlib.contextmanager
def _opened(file: FileOrPath, direct: Direct) -> Iterator[_Source]:
    """Open the file, or use the program's descriptor, and open it for direct I/O, too."""
    with contextlib.ExitStack() as stack:
        path: StrOrBytesPath | None = None
        if isinstance(file, (str, bytes, os.PathLike)):
            path = file
            fd = _open_path(file)
            stack.callback(os.close, fd)
        else:
            fd = _number_of(file)
        named: StrOrBytesPath | None = path
        if named is None and isinstance(getattr(file, "name", None), (str, bytes)):
            named = file.name  # type: ignore[union-attr]
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        required = (named or f"fd {fd}") if direct is True else None
        direct_fd = buffered_fd = -1
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode)):
            # A FIFO is not opened again, which would wait for a writer. O_DIRECT means something
            # else there: see pipe(2).
            if required is not None:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), os.fspath(required))
            buffered_fd = fd
        elif fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
            direct_fd = fd
            if not _core._bulk_holds_locks(fd):
                buffered_fd = _reopen(fd, 0, stack)
        else:
            buffered_fd = fd
            if _may_be_direct(fd, direct, path is None, required):
                direct_fd = _reopen(fd, os.O_DIRECT, stack, required=required)
        if path is not None and stat.S_ISREG(status.st_mode) and status.st_size == 0:
            os.set_blocking(fd, False)
        name = f"fd {fd}" if named is None else repr(os.fsdecode(named))
        size = _core._bulk_size(fd)
        yield _Source(name, named, status.st_mode, size, buffered_fd, direct_fd)


# Attributes of objects with a file object within: of tempfile, codecs, anyio and Trio, aiofiles.
_FILES_WITHIN = ("file", "stream", "wrapped", "_file")


def _number_of(file: Any) -> int:
    """Return the descriptor of a file object, which has then written what it held, or an int's."""
    if hasattr(type(file), "__index__") and not isinstance(file, bool):
        return operator.index(file)
    if not hasattr(file, "fileno"):
        msg = f"a path, an int or an object with a fileno() is needed, not {type(file).__name__}"
        raise TypeError(msg)
    if isinstance(file, (_core._FileBase, _core._TextBase)):
        binary: Any = file if isinstance(file, _core._FileBase) else cast("Any", file).buffer
        if binary._gathered() or binary._is_behind:
            binary._check_holds_nothing()  # else it has only read ahead, which does no harm here
    else:
        within = (getattr(file, name, None) for name in _FILES_WITHIN)
        for holder in (file, *within):
            if isinstance(holder, io.IOBase):
                holder.flush()
                break
    number: int = file.fileno()
    return number


def _open_path(path: StrOrBytesPath) -> int:
    # With O_NONBLOCK, opening a FIFO does not wait for a writer. If another process has a lease on
    # the file, it fails with EWOULDBLOCK, and the second open() waits.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY
    try:
        fd = os.open(path, flags | os.O_NONBLOCK)
    except BlockingIOError:
        fd = os.open(path, flags)
    os.set_blocking(fd, True)
    return fd


def _may_be_direct(
    fd: int, direct: Direct, is_programs: bool, required: StrOrBytesPath | None
) -> bool:
    """Whether to open the file again for direct I/O. With `required`, raise an OSError if not."""
    if direct is False or (direct == "auto" and not _core._bulk_gains(fd)):
        return False
    if not (is_programs and _core._bulk_holds_locks(fd)):
        return True
    # closing a second descriptor of the file would drop the locks (fcntl(2))
    if required is not None:
        text = f"{os.strerror(errno.EBUSY)}: a direct read would drop the process's record locks"
        raise OSError(errno.EBUSY, text, os.fspath(required))
    return False


def _reopen(
    fd: int,
    flags: int,
    stack: contextlib.ExitStack,
    access: int = os.O_RDONLY,
    *,
    required: StrOrBytesPath | None = None,
) -> int:
    """Open the same file with other flags. Return -1 if that fails.

    With `required`, raise the OSError instead, with `required` as its file name.
    """
    try:
        other = os.open(f"/proc/self/fd/{fd}", access | os.O_CLOEXEC | flags)
    except OSError as error:
        if required is not None:
            raise OSError(error.errno, error.strerror, os.fspath(required)) from None
        return -1
    stack.callback(os.close, other)
    return other
