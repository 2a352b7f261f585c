# SPDX-License-Identifier: Apache-2.0
import os
from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence
from os import stat_result
from types import GenericAlias, TracebackType
from typing import Any, AnyStr, Generic, Self, SupportsFloat, SupportsIndex, final

from _typeshed import HasFileno, ReadableBuffer, WriteableBuffer
from typing_extensions import CapsuleType, TypeVar, disjoint_base

# What get_result() returns. A bare AIOOperation is one of any kind.
_Made = TypeVar("_Made")
_Result = TypeVar("_Result", default=Any, covariant=True)

__version__: str

_libaio_calls: CapsuleType

def _in_trio() -> bool:
    """Return whether a task of Trio's runs in this thread."""

@final
class _DirEntry(Generic[AnyStr]):
    """An entry of a directory, as scandir() of linux_aio.fs gives it: like os.DirEntry."""

    @property
    def name(self) -> AnyStr:
        """The name in its directory."""

    @property
    def path(self) -> AnyStr:
        """The directory's path, as scandir() was given it, and the name."""

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Return whether it is a directory."""

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Return whether it is a regular file."""

    def is_symlink(self) -> bool:
        """Return whether it is a symbolic link."""

    def is_junction(self) -> bool:
        """Return False: there are none on Linux."""

    def inode(self) -> int:
        """Return the inode's number."""

    def stat(self, *, follow_symlinks: bool = True) -> stat_result:
        """Return the status, as it was when the directory was read. See stat(2).

        RuntimeError if scandir() was told to leave it out; OSError where it failed.
        """

    def __fspath__(self) -> AnyStr:
        """Return the path."""

    def __class_getitem__(cls, item: object, /) -> GenericAlias: ...

@final
class _Watcher:
    """What an event loop calls for a context."""

    def __call__(self, turn: int = ..., /) -> None: ...
    @property
    def is_awaited(self) -> bool:
        """Whether a task waits for something of the context's."""

    def end(self) -> None:
        """Leave the context: the loop is over."""

def _close_soon(fd: int, /) -> None:
    """Close a descriptor of the program's in the background. Errors are lost."""

def _new_bytes(lengths: Iterable[int], /) -> tuple[list[bytes], list[memoryview]]:
    """Return bytes that are still to be filled, and writable views on them.

    The caller keeps the bytes, fills them, and lets go of the views before anybody sees the bytes.
    """

def _read_part_now(path: Any, offset: int, length: int, /) -> bytes:
    """Return a part of a file. Blocks, without the GIL.

    A negative `offset` counts from the end; a negative `length`: all that follows.
    """

def _replace_file_now(
    path: Any,
    data: ReadableBuffer,
    exclusive: bool,
    durable: bool,
    makes_parents: bool,
    /,
) -> int:
    """Give a path a whole new content, and return its length. Blocks, without the GIL.

    exclusive: FileExistsError if there is such a path; durable: the file and its name are on the
    disk at the end; makes_parents: the directories above that are missing are made.
    """

def build_info() -> dict[str, str]:
    """Return what was chosen when the extension was built.

    "libaio" is "built-in" or the system's library; "uring" is liburing's version or "not built
    in"; "version" is that of linux_aio.
    """

def engines() -> dict[str, str]:
    """Return what AIOContext(engine=...) can be here and now.

    For each engine "available", or the reason why not. Each is tried: io_setup(2),
    io_uring_setup(2).
    """

def _bulk_load(
    buffered_fd: int,
    direct_fd: int,
    segments: Iterable[tuple[int, WriteableBuffer]],
    direct: int,
    chunk: int,
    depth: int,
    engine: str,
    tick: Callable[[int], object] | None,
    /,
) -> tuple[Any, ...]:
    """Read into the buffers of all (offset, buffer) pairs, for linux_aio.bulk.

    Returns (nbytes, direct, cached, engine, chunk, depth, met_end), or (errno, offset) of a request
    that failed. The descriptors are those of one file without and with O_DIRECT; -1: not open so.
    """

@final
class _PieceReader:
    """Reads parts of a file in one thread for another."""

    def __new__(
        cls, ranges: ReadableBuffer, pool: WriteableBuffer | None, unit: int, memory: int, /
    ) -> Self:
        """`ranges` has three numbers of 64 bits for each: offset, length, window.

        With a pool, they are cut into pieces of `unit` bytes, each for a place of the pool. Else
        each is a piece with memory of its own; about `memory` bytes at most are read that were not
        given back, but for ranges of the window that the program waits for.
        """

    def run(
        self,
        buffered_fd: int,
        direct_fd: int,
        direct: int,
        chunk: int,
        depth: int,
        engine: str,
        wake_fd: int,
        /,
    ) -> tuple[Any, ...]:
        """Read all pieces, without the GIL; once. Signals the eventfd wake_fd, unless it is -1.

        Returns what _bulk_load returns.
        """

    def take(self) -> list[tuple[int, int, Any, int]]:
        """Return what has arrived since: (index, offset, place of the pool or memory, nbytes)."""

    def wait(self, milliseconds: int, /) -> None:
        """Wait, without the GIL, for a piece to arrive."""

    def give_back(self, number: int, /) -> None:
        """Make a place of the pool, or that many bytes, free."""

    def set_window(self, window: int, /) -> None:
        """Read ranges up to this window whatever memory they take."""

    def stop(self) -> None:
        """End run() soon."""

def _bulk_size(fd: int, /) -> int:
    """Return the size of a file or block device in bytes; 0 where none is known."""

def _bulk_gains(fd: int, /) -> bool:
    """Return whether direct I/O on the file is likely to pay: it is on a local disk."""

def _bulk_copies_itself(fd: int, /) -> bool:
    """Return whether the file system copies files by itself: see copy_file_range(2)."""

def _bulk_holds_locks(fd: int, /) -> bool:
    """Return whether this process may have record locks on the file: see fcntl_locking(2)."""

def _numpy_memory(api: object, shift: int, make: Callable[[], _Made], /) -> _Made:
    """Return make(), during which NumPy's arrays get memory at multiples of 4096 plus shift.

    `api` is NumPy's table of functions. Older versions than 1.22 choose the memory themselves.
    """

def aligned_buffer(nbytes: SupportsIndex, alignment: SupportsIndex = 4096) -> memoryview:
    """Return nbytes writable zero bytes at an address that is a multiple of alignment.

    For O_DIRECT. ValueError unless alignment is a power of two. See open(2).
    """

def direct_alignment(fd: int | EventFD | AIOContext | HasFileno, /) -> tuple[int, int]:
    """Return the alignments that O_DIRECT needs on the file: of memory, of offset and length.

    In bytes; (1, 1): any will do. Whether or not the file is open with O_DIRECT. OSError for a bad
    fd. See STATX_DIOALIGN in statx(2).
    """

@final
class EventFD:
    """An event counter in the kernel, to be told of completions by: eventfd(2).

    The kernel adds 1 when an operation that names it completes. Closed by close(), at the end of a
    with statement, or with its last reference.
    """

    def __new__(cls, initval: SupportsIndex = 0, flags: SupportsIndex = ...) -> Self:
        """Make one: initval from 0 to 2**32 - 1, flags EFD_* of os (default: EFD_CLOEXEC).

        ValueError beyond these limits, OSError if the kernel refuses.
        """

    @property
    def fileno(self) -> int:
        """The descriptor's number, for add_reader and the like. ValueError once closed."""

    @property
    def closed(self) -> bool:
        """Whether close() was called."""

    def read(self) -> int:
        """Return the counter and set it to 0 (with EFD_SEMAPHORE: return 1 and count down).

        Waits, without the GIL, while it is 0; with EFD_NONBLOCK raises BlockingIOError instead.
        ValueError once closed. See eventfd(2).
        """

    def write(self, value: SupportsIndex = 1) -> None:
        """Add value, from 0 to 2**64 - 2, to the counter.

        Waits, without the GIL, while the sum would exceed 2**64 - 2; with EFD_NONBLOCK raises
        BlockingIOError instead. ValueError for other values, and once closed. See eventfd(2).
        """

    def close(self) -> None:
        """Close the descriptor; again is harmless. Operations that signal it are not disturbed."""

    def __enter__(self) -> Self:
        """Return self. ValueError once closed."""

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Close."""

@final
class AIOOperation(Generic[_Result]):
    """One request to the kernel, and what became of it: see io_submit(2).

    Made by the class methods. fd is a number, or an object that has one: it is kept, and asked
    again at each submission. A completed operation can be submitted again, which forgets its last
    result. In flight, the operation, its buffers, its file object and its EventFD are kept alive.
    """

    def __class_getitem__(cls, result: Any, /) -> GenericAlias:
        """AIOOperation[bytes]: the type of its result."""

    @classmethod
    def read(
        cls,
        nbytes: SupportsIndex,
        fd: int | EventFD | AIOContext | HasFileno,
        offset: SupportsIndex = 0,
        priority: SupportsIndex = 0,
        flags: SupportsIndex = 0,
    ) -> AIOOperation[bytes]:
        """Read up to nbytes (0 to 0x7ffff000) bytes, from byte offset on: see preadv2(2).

        The result is as long as what was read, b"" at the end of the file. With O_DIRECT any nbytes
        and offset will do. priority is what ioprio() returns (0: the thread's), flags are RWF_* of
        os or linux_aio. ValueError beyond limits, for a closed file too.
        """

    @classmethod
    def readinto(
        cls,
        buffer: WriteableBuffer,
        fd: int | EventFD | AIOContext | HasFileno,
        offset: SupportsIndex = 0,
        priority: SupportsIndex = 0,
        flags: SupportsIndex = 0,
    ) -> AIOOperation[int]:
        """Read into buffer, as many bytes as it has, from byte offset on: see preadv2(2).

        The result is how many bytes were read, which may be fewer; 0 at the end of the file.
        Nothing is copied. In flight the buffer can't be resized. BufferError if it is read-only or
        not contiguous; the rest as for read.
        """

    @classmethod
    def readv(
        cls,
        buffers: Sequence[WriteableBuffer],
        fd: int | EventFD | AIOContext | HasFileno,
        offset: SupportsIndex = 0,
        priority: SupportsIndex = 0,
        flags: SupportsIndex = 0,
    ) -> AIOOperation[int]:
        """Read into up to IOV_MAX (1024) buffers, filling each before the next: see preadv2(2).

        The result is how many bytes were read in all; the rest as for readinto.
        """

    @classmethod
    def write(
        cls,
        payload: ReadableBuffer,
        fd: int | EventFD | AIOContext | HasFileno,
        offset: SupportsIndex = 0,
        priority: SupportsIndex = 0,
        flags: SupportsIndex = 0,
    ) -> AIOOperation[int]:
        """Write payload, any contiguous buffer of up to 0x7ffff000 bytes, from byte offset on.

        The result is how many bytes were written, which may be fewer. The buffer is not copied:
        don't change it while the operation is in flight. priority and flags as for read.
        ValueError beyond limits, for a closed file too. See pwritev2(2).
        """

    @classmethod
    def writev(
        cls,
        buffers: Sequence[ReadableBuffer],
        fd: int | EventFD | AIOContext | HasFileno,
        offset: SupportsIndex = 0,
        priority: SupportsIndex = 0,
        flags: SupportsIndex = 0,
    ) -> AIOOperation[int]:
        """Write up to IOV_MAX (1024) buffers, one after the other: see pwritev2(2).

        The result is how many bytes were written in all; the rest as for write.
        """

    @classmethod
    def fsync(cls, fd: int | EventFD | AIOContext | HasFileno) -> AIOOperation[None]:
        """Have what was written to the file before, and its metadata, put on the disk.

        Covers writes that have completed, not those in flight. The result is None. See fsync(2).
        """

    @classmethod
    def fdsync(cls, fd: int | EventFD | AIOContext | HasFileno) -> AIOOperation[None]:
        """As fsync, with only the metadata that it takes to read the data: see fdatasync(2)."""

    @classmethod
    def poll(
        cls, fd: int | EventFD | AIOContext | HasFileno, events: SupportsIndex
    ) -> AIOOperation[int]:
        """Wait until one of the events, a mask of select.POLL*, is there on the file.

        Completes once; the result is the mask of the events that are there. See poll(2).
        """

    def prepare(self, eventfd: EventFD | int) -> None:
        """Name the EventFD, or its number, that completions of this operation signal.

        Holds until another prepare or submit names another. ValueError in flight, or if closed.
        """

    def submit(self, context: AIOContext, eventfd: EventFD | int | None = None) -> int:
        """Submit this operation, as context.submit(self) does, and return 1.

        eventfd is signalled upon completion; None leaves it as prepared. Errors as of
        AIOContext.submit. See io_submit(2).
        """

    def get_result(self) -> _Result:
        """Return the result, or raise the OSError that the operation met. May be asked again.

        Never waits: BlockingIOError (EINPROGRESS) in flight, RuntimeError if never submitted. The
        operation then no longer comes out of AIOContext.getevents.
        """

    def __await__(self) -> Generator[Any, Any, _Result]:
        """Wait, in an event loop, for the result of an operation already submitted.

        RuntimeError if it was not, if it signals an EventFD of the program's, or if it is awaited
        already. getevents does not return it.
        """

    @property
    def done(self) -> bool:
        """Whether it has completed since it was last submitted. Never waits."""

    @property
    def opcode(self) -> int:
        """The IOCB_CMD_* number of <linux/aio_abi.h>."""

    @property
    def fileno(self) -> int:
        """The file's number, as its object gave it when last asked."""

    @property
    def nbytes(self) -> int:
        """The bytes asked for; 0 for a sync or a poll."""

    @property
    def priority(self) -> int:
        """The ioprio value; 0: that of the submitting thread."""

    @property
    def flags(self) -> int:
        """The RWF_* flags: see preadv2(2)."""

    @property
    def eventfd(self) -> EventFD | int | None:
        """What completions signal, as it was given; None if nothing was named."""

    @property
    def context(self) -> AIOContext | None:
        """The context of the last submission."""

    @property
    def offset(self) -> int:
        """The byte of the file to start at. ValueError if set while in flight."""

    @offset.setter
    def offset(self, value: SupportsIndex) -> None: ...
    @property
    def payload(self) -> ReadableBuffer | tuple[ReadableBuffer, ...] | None:
        """The buffer of a write or readinto, which can be set: ValueError while in flight.

        Of a writev or readv the tuple of buffers, of a read the result or None; those can't be set.
        """

    @payload.setter
    def payload(self, value: ReadableBuffer) -> None: ...

@final
class AIOContext:
    """A queue of at most max_requests operations in flight, exactly: io_setup(2).

    An operation without an EventFD holds its place until it is collected by getevents or asked for
    its result; one that is awaited, until it completes. Any mix of threads can use a context; a
    child process can only close it. One that is dropped while open warns with ResourceWarning.
    """

    def __new__(cls, max_requests: SupportsIndex = 128, *, engine: str | None = None) -> Self:
        """Make one for max_requests (1 to 2**31 - 1) operations; engine as in engines().

        None is the default: what the environment variable LINUX_AIO_ENGINE names,
        else "auto". ValueError beyond limits or for an unknown engine, OSError if the system
        refuses it.
        """

    @property
    def max_requests(self) -> int:
        """How many operations can be in flight, or completed and not collected, at once."""

    @property
    def in_flight(self) -> int:
        """How many operations were submitted and have not completed."""

    @property
    def engine(self) -> str:
        """The name of the engine that does the work."""

    @property
    def closed(self) -> bool:
        """Whether close() was called."""

    @property
    def fileno(self) -> int:
        """The number of the context's own eventfd, for add_reader and the like.

        Readable while completed operations without an EventFD wait to be collected. Not to be read
        or closed. ValueError once closed.
        """

    @property
    def loop(self) -> AbstractEventLoop:
        """The event loop in which it was last awaited; before that the running one.

        RuntimeError if there is neither.
        """

    def submit(self, *operations: AIOOperation[object]) -> int:
        """Submit operations, in order, and return how many the kernel took: see io_submit(2).

        Those left over are untouched. If not even the first is taken, its OSError is raised:
        BlockingIOError (EAGAIN) for a full queue. ValueError, and nothing is submitted, if one is
        in flight, comes twice, or names a closed file or EventFD.

        Operations complete before submit returns or later. With the engine 'auto' submit never
        waits for a disk; with 'aio' it does for reads and writes without O_DIRECT.
        """

    def cancel(self, operation: AIOOperation[object], /) -> bool:
        """Ask the kernel to cancel an operation in flight; return whether it will: io_cancel(2).

        True: it ends with ECANCELED. False: it ends by itself, as transfers of a disk do. Either
        way it completes once. ValueError if it is not in flight in this context.
        """

    def statistics(self) -> dict[str, int]:
        """Return counts since the context was made.

        Operations "submitted", "completed", and of these "failed"; cancellations that the kernel
        took, "cancelled"; calls to the engine, "submissions", and of these "short_submissions",
        which did not take all; "waits" of threads for completions.

        Which way operations went, unless the engine is "aio": done at once by the submitting
        thread, "inline"; handed to "aio", "uring" or "threads". Those that "auto" could not do in
        the shortest way, "rerouted", and why: "rerouted_uncached", a read would have waited for
        the disk; "rerouted_unsupported", the file can't tell whether it would; "rerouted_large",
        copying takes long; "rerouted_write", a write may wait; "rerouted_stream", a pipe, socket
        or terminal was not ready; "rerouted_other".
        """

    def getevents(
        self,
        min_nr: SupportsIndex = 1,
        max_nr: SupportsIndex | None = None,
        timeout: SupportsFloat | SupportsIndex | None = None,
    ) -> list[AIOOperation]:
        """Wait for completed operations and return them, in order of completion.

        Returns with min_nr (0 to max_requests) of them, after timeout seconds (None: no end), or
        when nothing more can come; at most max_nr (None: all). Each comes out at most once; one
        that signals an EventFD only if the program still holds it. ValueError beyond limits. See
        io_getevents(2).
        """

    def close(self) -> None:
        """Cancel what can be cancelled, wait for the rest, and free the queue; again is harmless.

        Operations keep their results. See io_destroy(2).
        """

    def __enter__(self) -> Self:
        """Return self. ValueError once closed."""

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Close."""

    # For asyncio. Each submits at its first step, queues while there is no room, and gives the
    # operation's result or raises its error.
    def read(
        self,
        nbytes: SupportsIndex,
        fd: int | EventFD | AIOContext | HasFileno,
        offset: SupportsIndex = 0,
        priority: SupportsIndex = 0,
        flags: SupportsIndex = 0,
    ) -> Coroutine[Any, Any, bytes]:
        """Await AIOOperation.read."""

    def readinto(
        self,
        buffer: WriteableBuffer,
        fd: int | EventFD | AIOContext | HasFileno,
        offset: SupportsIndex = 0,
        priority: SupportsIndex = 0,
        flags: SupportsIndex = 0,
    ) -> Coroutine[Any, Any, int]:
        """Await AIOOperation.readinto. Cancelling waits until the kernel has let go of buffer."""

    def readv(
        self,
        buffers: Sequence[WriteableBuffer],
        fd: int | EventFD | AIOContext | HasFileno,
        offset: SupportsIndex = 0,
        priority: SupportsIndex = 0,
        flags: SupportsIndex = 0,
    ) -> Coroutine[Any, Any, int]:
        """Await AIOOperation.readv. Cancelling waits until the kernel has let go of the buffers."""

    def write(
        self,
        payload: ReadableBuffer,
        fd: int | EventFD | AIOContext | HasFileno,
        offset: SupportsIndex = 0,
        priority: SupportsIndex = 0,
        flags: SupportsIndex = 0,
    ) -> Coroutine[Any, Any, int]:
        """Await AIOOperation.write. Cancelling waits for the kernel unless payload is bytes."""

    def writev(
        self,
        buffers: Sequence[ReadableBuffer],
        fd: int | EventFD | AIOContext | HasFileno,
        offset: SupportsIndex = 0,
        priority: SupportsIndex = 0,
        flags: SupportsIndex = 0,
    ) -> Coroutine[Any, Any, int]:
        """Await AIOOperation.writev. Cancelling waits for the kernel unless all are bytes."""

    def fsync(self, fd: int | EventFD | AIOContext | HasFileno) -> Coroutine[Any, Any, None]:
        """Await AIOOperation.fsync."""

    def fdsync(self, fd: int | EventFD | AIOContext | HasFileno) -> Coroutine[Any, Any, None]:
        """Await AIOOperation.fdsync."""

    def poll(
        self, fd: int | EventFD | AIOContext | HasFileno, events: SupportsIndex
    ) -> Coroutine[Any, Any, int]:
        """Await AIOOperation.poll."""

    def aclose(self) -> Coroutine[Any, Any, None]:
        """Close without blocking the event loop; what is queued fails with ValueError."""

    def __aenter__(self) -> Coroutine[Any, Any, Self]:
        """Return self. ValueError once closed."""

    def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> Coroutine[Any, Any, None]:
        """Await aclose()."""

    # Operations on paths, for File and fs: arguments by position only.
    def _open(
        self, path: Any, flags: int, mode: int = 0o777, dir_fd: int | None = None, /
    ) -> Coroutine[Any, Any, int]:
        """Await openat(2)."""

    def _close(self, fd: int, /) -> Coroutine[Any, Any, None]:
        """Await close(2), which a cancellation does not stop."""

    def _stat(
        self, path: Any, dir_fd: int | None = None, follow_symlinks: bool = True, /
    ) -> Coroutine[Any, Any, os.stat_result]:
        """Await what os.stat() returns, of a path or a descriptor."""

    def _truncate(self, path: Any, length: int, /) -> Coroutine[Any, Any, None]:
        """Await truncate(2), or ftruncate(2) of a descriptor."""

    def _write_here(self, fd: int, data: bytes, /) -> Coroutine[Any, Any, int]:
        """Await write(2), at the position that the open file has."""

    def _start_closing(self) -> None:
        """The part of close() that does not wait: for aclose()."""

class _Awaitable(Coroutine[Any, Any, _Result]):  # type: ignore[misc]
    """What the methods of AIOContext return. Private."""

    def _start(self) -> None:
        """Submit or queue the operation now; whoever awaits this later gets its result.

        The operation goes on whatever becomes of tasks: cancelling one that waits for it ends
        only the wait.
        """

    def _is_over(self) -> bool:
        """Whether awaiting it would not suspend."""

@disjoint_base
class _FileBase:
    """The part in C++ of File: its buffers, and what can be answered from them. Private."""

    _offset: int
    _limit: int
    _is_open: bool
    _is_readable: bool
    _is_writable: bool
    _is_busy: bool
    _is_behind: bool
    _goes_slowly: bool

    def read(self, size: SupportsIndex | None = -1, /) -> Coroutine[Any, Any, bytes]:
        """Await up to size bytes, fewer only at the end; all that is left if size is negative."""

    def readline(self, size: SupportsIndex | None = -1, /) -> Coroutine[Any, Any, bytes]:
        """Await a line with its end, or its first size bytes; b"" at the end of the file."""

    def write(self, data: ReadableBuffer, /) -> Coroutine[Any, Any, int]:
        """Await that data is taken, and how many bytes it has."""

    def __aiter__(self) -> Self:
        """Return self: the lines that are left."""

    def __anext__(self) -> Coroutine[Any, Any, bytes]:
        """Await the next line."""

    def _enter(self) -> bool: ...
    def _buffered(self) -> int: ...
    def _take(self, count: int, /) -> bytes: ...
    def _take_line(self, limit: int, /) -> bytes: ...
    def _peek(self) -> bytes: ...
    def _skip(self, count: int, /) -> None: ...
    def _fill(self, data: bytes, /) -> None: ...
    def _gather(self, data: bytes, /) -> None: ...
    def _gathered(self) -> int: ...
    def _take_gathered(self) -> list[bytes]: ...
    def _set_request(self, request: object, /) -> None: ...

@disjoint_base
class _TextBase:
    """The part in C++ of TextFile: the text that was decoded. Private."""

    _position: int
    _line_end: int
    _encoding: int
    _is_iterating: bool
    _translates: bool
    _goes_slowly: bool

    def read(self, size: SupportsIndex | None = -1, /) -> Coroutine[Any, Any, str]:
        """Await up to size characters, fewer only at the end; all left if size is negative."""

    def readline(self, size: SupportsIndex | None = -1, /) -> Coroutine[Any, Any, str]:
        """Await a line with its end, or its first size characters; "" at the end of the file."""

    def write(self, text: str, /) -> Coroutine[Any, Any, int]:
        """Await that text is taken, and how many characters it has."""

    def __aiter__(self) -> Self:
        """Return self: the lines that are left."""

    def __anext__(self) -> Coroutine[Any, Any, str]:
        """Await the next line."""

    def _fill(self, text: str | None, /) -> None: ...
    def _get_text(self) -> str | None: ...
    def _left(self) -> int: ...
    def _take(self, count: int, /) -> str: ...
    def _take_line(self, limit: int, /) -> str: ...
    def _ends_line(self, text: str, /) -> bool: ...
    def _set_file(self, file: _FileBase | None, /) -> None: ...
