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

def _is_mapped_from_disk(buffer: ReadableBuffer, /) -> bool:
    """Whether to touch the memory may wait, since it is mapped from a file on a disk or server."""

def _ends_slice() -> bool:
    """Return whether the running task has gone on for so long that it is to let others run.

    The caller then does so: the next task begins a slice of its own.
    """

@final
class _DirEntry(Generic[AnyStr]):
    """An entry of a directory, as os.DirEntry."""

    @property
    def name(self) -> AnyStr:
        """The name in its directory."""

    @property
    def path(self) -> AnyStr:
        """The directory's path, as scandir() was given it, and the name."""

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a directory."""

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a regular file."""

    def is_symlink(self) -> bool:
        """Whether it is a link."""

    def is_junction(self) -> bool:
        """False, on Linux."""

    def inode(self) -> int:
        """The inode's number."""

    def stat(self, *, follow_symlinks: bool = True) -> stat_result:
        """Return the os.stat_result of the time when the directory was read: see stat(2).

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

def _take_old_status(path: Any, fd: int, /) -> bool:
    """Give an open file the owner, extended attributes and mode of the file at `path`.

    The owner and the attributes are given as far as the system allows that. False if there is no
    such file. Blocks, without the GIL.
    """

def build_info() -> dict[str, str]:
    """Return what was chosen when the extension was built, as a dict of str.

    'libaio' is 'built-in' or the system's library; 'uring' is liburing's version or
    'not built in'; 'version' is that of linux_aio.
    """

def engines() -> dict[str, str]:
    """Return what AIOContext(engine=...) can be here and now, as a dict of str: for each
    engine 'available', or the reason why not. Each is tried: io_setup(2),
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

    Returns (nbytes, direct, cached, engine, chunk, depth, end), or (errno, offset) of a request
    that failed; `end` is None, or where the file ended before the end of a buffer. The descriptors
    are those of one file without and with O_DIRECT; -1: not open so.
    """

def _group_ranges(
    ranges: ReadableBuffer,
    ends: ReadableBuffer,
    first_window: int,
    max_gap: int,
    max_merge: int,
    /,
) -> tuple[bytes, bytes, bytes]:
    """Put ranges that lie close together into groups, each of which is read at once.

    `ranges` is an array("q") of the offset and the length of each range, which are not checked,
    `ends` one of the end of each window. Returns bytes, which are such arrays: the indices of the
    ranges, in the order of the groups; for each group its offset, its length, the place of its
    first range in that order, and the place after its last; and for each group what _PieceReader
    reads. Releases the GIL.
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

def _sync_folder(folder_fd: int, file_fd: int, /) -> None:
    """Have the names of a folder on the disk; the folder's descriptor may be of O_PATH.

    Of a folder that may not be read, the whole file system of the open file is synced: syncfs(2).
    Blocks.
    """

def _numpy_memory(api: object, shift: int, make: Callable[[], _Made], /) -> _Made:
    """Return make(), during which NumPy's arrays get memory at multiples of 4096 plus shift.

    `api` is NumPy's table of functions. Older versions than 1.22 choose the memory themselves.
    """

def aligned_buffer(nbytes: SupportsIndex, alignment: SupportsIndex = 4096) -> memoryview:
    """Return a writable memoryview of nbytes zero bytes at an address that is a multiple of
    alignment, a power of two, for direct I/O. See direct_alignment and the notes on O_DIRECT in
    open(2).
    """

def direct_alignment(fd: int | EventFD | AIOContext | HasFileno, /) -> tuple[int, int]:
    """Return what direct I/O on the file needs, whether or not it was opened with O_DIRECT: the
    alignment of memory, and that of offset and length, in bytes. (1, 1): any will do.

    From statx(2) where it tells (STATX_DIOALIGN, Linux 6.1), else the logical block size of the
    device, else what the file system is known to take, else a page. OSError for a bad fd.
    """

@final
class EventFD:
    """An event counter in the kernel, to be told of completions by: eventfd(2).

    The kernel adds 1 when an operation that names it completes. Its fileno can be given
    to loop.add_reader, select and epoll. initval is the counter's first value, from 0 to
    2**32 - 1; flags are EFD_* of the os module. OSError if the kernel refuses.
    """

    def __new__(cls, initval: SupportsIndex = 0, flags: SupportsIndex = ...) -> Self:
        """Make one: initval from 0 to 2**32 - 1, flags EFD_* of os (default: EFD_CLOEXEC).

        ValueError beyond these limits, OSError if the kernel refuses.
        """

    @property
    def fileno(self) -> int:
        """The descriptor's number, for add_reader and the like."""

    @property
    def closed(self) -> bool:
        """Whether close() was called."""

    def read(self) -> int:
        """Return the counter and set it to 0 (or, with EFD_SEMAPHORE, 1 and count down).

        Waits, without the GIL, while the counter is 0; with EFD_NONBLOCK raises
        BlockingIOError instead. See eventfd(2).
        """

    def write(self, value: SupportsIndex = 1) -> None:
        """Add value, from 0 to 2**64 - 2, to the counter.

        Waits, without the GIL, while that would take the counter beyond 2**64 - 2; with
        EFD_NONBLOCK raises BlockingIOError instead. See eventfd(2).
        """

    def close(self) -> None:
        """Close the descriptor. Closing twice is harmless; any other use is a ValueError.

        Operations in flight that signal it are not disturbed: the kernel has a reference of
        its own.
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

@final
class AIOOperation(Generic[_Result]):
    """One request to the kernel, and what became of it: see io_submit(2).

    Made by the class methods read, readinto, readv, write, writev, fsync, fdsync and
    poll. fd is an int, an EventFD, an AIOContext, or an object with a fileno() method,
    which is asked again at each submission. A completed operation can be submitted
    again, which forgets its last result. While it is in flight the operation, its
    buffers, its file object and its EventFD are kept alive.
    """

    def __class_getitem__(cls, result: Any, /) -> GenericAlias:
        """AIOOperation[bytes]: the type of its result."""

    @classmethod
    def read(
        cls,
        nbytes: SupportsIndex,
        fd: int | EventFD | AIOContext | HasFileno,
        offset: SupportsIndex | None = 0,
        priority: SupportsIndex = 0,
        flags: SupportsIndex = 0,
    ) -> AIOOperation[bytes]:
        """Read up to nbytes bytes, from 0 to 0x7ffff000, from byte offset of the file.

        The result is a bytes object as long as what was read: shorter than nbytes where the
        kernel read less, b'' at the end of the file. With O_DIRECT any nbytes and offset will do:
        the aligned range around them is read. With offset None it reads at the position of the
        open file, which moves on; a stream has none: any offset but 0 is ESPIPE there. priority
        is what ioprio() returns (0: that of the thread; see ioprio_set(2)), flags are RWF_* of the
        os module or of linux_aio. ValueError beyond these limits, and for a closed file. See
        preadv2(2).
        """

    @classmethod
    def readinto(
        cls,
        buffer: WriteableBuffer,
        fd: int | EventFD | AIOContext | HasFileno,
        offset: SupportsIndex | None = 0,
        priority: SupportsIndex = 0,
        flags: SupportsIndex = 0,
    ) -> AIOOperation[int]:
        """Read from byte offset of the file into buffer, any writable contiguous buffer, as many
        bytes as it has.

        The result is how many bytes were read, which may be fewer; 0 at the end of the file.
        Nothing is copied. The buffer can't be resized until the operation completes.
        BufferError for a buffer that is read-only or not contiguous; the rest as in read. See
        preadv2(2).
        """

    @classmethod
    def readv(
        cls,
        buffers: Sequence[WriteableBuffer],
        fd: int | EventFD | AIOContext | HasFileno,
        offset: SupportsIndex | None = 0,
        priority: SupportsIndex = 0,
        flags: SupportsIndex = 0,
    ) -> AIOOperation[int]:
        """Read from byte offset of the file into a sequence of writable contiguous buffers, filling
        each before the next.

        At most IOV_MAX (1024) buffers. The result is how many bytes were read, which may be
        fewer than they have; the rest as in readinto. See preadv2(2).
        """

    @classmethod
    def write(
        cls,
        payload: ReadableBuffer,
        fd: int | EventFD | AIOContext | HasFileno,
        offset: SupportsIndex | None = 0,
        priority: SupportsIndex = 0,
        flags: SupportsIndex = 0,
    ) -> AIOOperation[int]:
        """Write the bytes of payload, any contiguous buffer, to the file from byte offset on.

        The result is how many bytes were written, which may be fewer. The buffer is used as it
        is, without a copy, and must not change while the operation is in flight. priority is an
        ioprio value (0: that of the thread; ioprio_set(2)), flags are RWF_* of the os module. See
        pwritev2(2).
        """

    @classmethod
    def writev(
        cls,
        buffers: Sequence[ReadableBuffer],
        fd: int | EventFD | AIOContext | HasFileno,
        offset: SupportsIndex | None = 0,
        priority: SupportsIndex = 0,
        flags: SupportsIndex = 0,
    ) -> AIOOperation[int]:
        """Write a sequence of contiguous buffers, one after the other, to the file from byte offset
        on.

        At most IOV_MAX (1024) buffers; the rest as in write. See pwritev2(2).
        """

    @classmethod
    def fsync(cls, fd: int | EventFD | AIOContext | HasFileno) -> AIOOperation[None]:
        """Have all that was written to the file before, and its metadata, put on the disk.

        Covers writes that have completed, not those still in flight. The result is None. See
        fsync(2).
        """

    @classmethod
    def fdsync(cls, fd: int | EventFD | AIOContext | HasFileno) -> AIOOperation[None]:
        """Have all that was written to the file before put on the disk, with as much of the
        metadata as it takes to read it again.

        Covers writes that have completed, not those still in flight. The result is None. See
        fdatasync(2).
        """

    @classmethod
    def poll(
        cls, fd: int | EventFD | AIOContext | HasFileno, events: SupportsIndex
    ) -> AIOOperation[int]:
        """Wait until one of the events (select.POLL*, a mask) is there on the file.

        Completes once; the result is the mask of the events that are there. See poll(2).
        """

    def prepare(self, eventfd: EventFD | int) -> None:
        """Name the EventFD (or its number) that completions of this operation signal.

        Holds for every submission until another prepare or submit names another one.
        ValueError while the operation is in flight, or if the EventFD is closed.
        """

    def submit(self, context: AIOContext, eventfd: EventFD | int | None = None) -> int:
        """Submit this one operation to an AIOContext, as context.submit(self), and return 1.

        eventfd names the EventFD (or its number) to be signalled upon completion; None
        leaves it as prepared. See AIOContext.submit for the errors, and io_submit(2).
        """

    def get_result(self) -> _Result:
        """Return the operation's result, or raise the OSError that it met.

        For a read the bytes that were read; for readinto and readv how many were read; for a
        write or writev how many were written; for a poll the mask of events; for a sync None:
        see preadv2(2), pwritev2(2), poll(2), fsync(2).

        Never waits: BlockingIOError (EINPROGRESS) while the operation is in flight,
        RuntimeError if it was never submitted. Can be called again. AIOContext.getevents
        does not return the operation afterwards.
        """

    def __await__(self) -> Generator[Any, Any, _Result]:
        """Wait, in an event loop, for the result of an operation already submitted.

        RuntimeError if it was not, if it signals an EventFD of the program's, or if it is awaited
        already. getevents does not return it.
        """

    @property
    def done(self) -> bool:
        """Whether the operation has completed since it was last submitted. Never waits."""

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
        """The ioprio value; 0: that of the thread."""

    @property
    def flags(self) -> int:
        """The RWF_* flags; see preadv2(2)."""

    @property
    def eventfd(self) -> EventFD | int | None:
        """The EventFD, or number, that completions signal; None if none was named."""

    @property
    def context(self) -> AIOContext | None:
        """The AIOContext of the last submission, or None."""

    @property
    def offset(self) -> int | None:
        """The byte of the file to start at; None: where the file stands. Can be set while the
        operation is not in flight.
        """

    @offset.setter
    def offset(self, value: SupportsIndex | None) -> None: ...
    @property
    def payload(self) -> ReadableBuffer | tuple[ReadableBuffer, ...] | None:
        """The buffer of a write or readinto, which can be set while the operation is not in flight;
        the tuple of buffers of a writev or readv; the result of a read, or None before.
        """

    @payload.setter
    def payload(self, value: ReadableBuffer) -> None: ...

@final
class AIOContext:
    """A queue of at most max_requests operations in flight: see io_setup(2).

    max_requests is from 1 to 2**31 - 1. engine is 'auto', 'aio', 'uring' or 'threads'; with
    None the environment variable LINUX_AIO_ENGINE names it, and without that it is 'auto'.
    ValueError for other values, OSError if the system refuses the queue or the engine.

    An operation that signals no EventFD holds its place until getevents has returned it or
    its result was asked for. Use the context in a with or async with statement, or close
    it: one that is dropped while open warns with ResourceWarning. Any mix of threads can use
    it. In a child process, after fork(2), it can only be closed.
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
        """The number of the context's own eventfd: readable while completed operations that signal
        no EventFD of the program's wait to be collected. For add_reader and the like; not to be
        read or closed.
        """

    @property
    def loop(self) -> AbstractEventLoop | None:
        """asyncio's event loop that the context serves: that in which something of it is awaited,
        else the running one. None in a Trio run. RuntimeError if no loop runs.
        """

    def submit(self, *operations: AIOOperation[object]) -> int:
        """Submit operations, in order, and return how many the kernel took.

        It takes fewer than given if the queue becomes full, or one in the middle is refused:
        those left over are untouched and can be submitted again. If not even the first is
        taken, its OSError is raised; BlockingIOError (EAGAIN) for a full queue. ValueError,
        and nothing is submitted, if one is in flight already, comes twice, or names a closed
        file or EventFD.

        Operations complete before submit returns or later, whatever the engine: ask done, or
        wait in getevents. With the engine 'auto' submit never waits for a disk. With 'aio' the
        kernel carries out reads and writes without O_DIRECT inside submit, which then waits for
        the disk without the GIL. See io_submit(2).
        """

    def cancel(self, operation: AIOOperation[object], /) -> bool:
        """Ask the kernel to cancel an operation in flight, and return whether it will.

        True: the operation ends with ECANCELED. False: it could not be cancelled and ends by
        itself; so do reads and writes of a disk, while a poll can always be cancelled. Either
        way it completes exactly once, and its EventFD is signalled. Waits for the answer
        without the GIL; signals are handled meanwhile. ValueError if it is not in flight in
        this context. See io_cancel(2).
        """

    def statistics(self) -> dict[str, int]:
        """Return counts since the context was made, as a dict of int.

        submitted: operations that the engine took; completed; failed: of these, with an
        error; cancelled: cancellations that the kernel took; submissions: calls to the
        engine; short_submissions: of these, calls that did not take all; waits: times that a
        thread went to wait for completions.

        Which way the operations went, unless the engine is 'aio': inline: done by the
        submitting thread, without waiting; aio, uring, threads: handed to these. rerouted:
        those that 'auto' could not do in the shortest way, in all and by the reason:
        rerouted_uncached: a read would have waited for the disk; rerouted_unsupported: the
        file can't tell whether it would; rerouted_large: copying takes long;
        rerouted_write: a write may wait; rerouted_stream: a pipe, socket or terminal that
        was not ready; rerouted_other.
        """

    def getevents(
        self,
        min_nr: SupportsIndex = 1,
        max_nr: SupportsIndex | None = None,
        timeout: SupportsFloat | SupportsIndex | None = None,
    ) -> list[AIOOperation]:
        """Wait for completed operations and return a list of them, in order of completion.

        Returns once there are min_nr (0 to max_requests), when timeout (seconds; None: no
        end) is over, or when nothing that could still be returned is in flight; at most
        max_nr (None: all that are there). Each completed operation is returned at most once,
        and not if its result was asked for before. Those that signal an EventFD of the
        program's are returned only if the program still holds them. Waits without the GIL;
        signals are handled meanwhile. ValueError for a min_nr out of its limits, a max_nr
        below it, or a negative timeout. See io_getevents(2).
        """

    def close(self) -> None:
        """Cancel what can be cancelled, wait for the rest without the GIL, and free the queue.

        No result is lost: operations keep theirs. Closing twice is harmless; any other use
        of a closed context is a ValueError. If a signal's handler raises while close waits,
        close can be called again to go on. See io_destroy(2).
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
        offset: SupportsIndex | None = 0,
        priority: SupportsIndex = 0,
        flags: SupportsIndex = 0,
    ) -> Coroutine[Any, Any, bytes]:
        """Await a read of up to nbytes bytes from byte offset of the file: see preadv2(2).

        Returns bytes, as long as what was read: b'' at the end of the file. A cancelled task
        ends at once; what the kernel still reads is dropped.

        Arguments and errors are those of AIOOperation.read. Beyond max_requests, awaits
        queue in order. What is returned is a coroutine: it can be awaited once.
        """

    def readinto(
        self,
        buffer: WriteableBuffer,
        fd: int | EventFD | AIOContext | HasFileno,
        offset: SupportsIndex | None = 0,
        priority: SupportsIndex = 0,
        flags: SupportsIndex = 0,
    ) -> Coroutine[Any, Any, int]:
        """Await a read from byte offset of the file into a writable buffer: see preadv2(2).

        Returns how many bytes were read, 0 at the end of the file. Nothing is copied. A cancelled
        task ends when the kernel no longer writes to the buffer.

        Arguments and errors are those of AIOOperation.readinto. Beyond max_requests, awaits
        queue in order. What is returned is a coroutine: it can be awaited once.
        """

    def readv(
        self,
        buffers: Sequence[WriteableBuffer],
        fd: int | EventFD | AIOContext | HasFileno,
        offset: SupportsIndex | None = 0,
        priority: SupportsIndex = 0,
        flags: SupportsIndex = 0,
    ) -> Coroutine[Any, Any, int]:
        """Await a read from byte offset of the file into several buffers: see preadv2(2).

        Returns how many bytes were read in all. Each buffer is filled before the next. A cancelled
        task ends when the kernel no longer writes to the buffers.

        Arguments and errors are those of AIOOperation.readv. Beyond max_requests, awaits
        queue in order. What is returned is a coroutine: it can be awaited once.
        """

    def write(
        self,
        payload: ReadableBuffer,
        fd: int | EventFD | AIOContext | HasFileno,
        offset: SupportsIndex | None = 0,
        priority: SupportsIndex = 0,
        flags: SupportsIndex = 0,
    ) -> Coroutine[Any, Any, int]:
        """Await a write of the payload, any buffer, at byte offset of the file: see pwritev2(2).

        Returns how many bytes were written, which may be fewer than the payload has. A cancelled
        task ends at once if the payload is bytes, else when the kernel no longer reads it; the
        write may be made all the same.

        Arguments and errors are those of AIOOperation.write. Beyond max_requests, awaits
        queue in order. What is returned is a coroutine: it can be awaited once.
        """

    def writev(
        self,
        buffers: Sequence[ReadableBuffer],
        fd: int | EventFD | AIOContext | HasFileno,
        offset: SupportsIndex | None = 0,
        priority: SupportsIndex = 0,
        flags: SupportsIndex = 0,
    ) -> Coroutine[Any, Any, int]:
        """Await a write of several buffers, one after the other, at byte offset: see pwritev2(2).

        Returns how many bytes were written in all. A cancelled task ends at once if all are bytes,
        else when the kernel no longer reads them; the write may be made all the same.

        Arguments and errors are those of AIOOperation.writev. Beyond max_requests, awaits
        queue in order. What is returned is a coroutine: it can be awaited once.
        """

    def fsync(self, fd: int | EventFD | AIOContext | HasFileno) -> Coroutine[Any, Any, None]:
        """Await that what was written to the file, and its metadata, is on the disk: see fsync(2).

        Returns None. It covers writes that have completed, not those in flight.

        Arguments and errors are those of AIOOperation.fsync. Beyond max_requests, awaits
        queue in order. What is returned is a coroutine: it can be awaited once.
        """

    def fdsync(self, fd: int | EventFD | AIOContext | HasFileno) -> Coroutine[Any, Any, None]:
        """Await that what was written to the file is on the disk: see fdatasync(2).

        Returns None. Of the metadata it syncs what is needed to read the data. It covers writes
        that have completed, not those in flight.

        Arguments and errors are those of AIOOperation.fdsync. Beyond max_requests, awaits
        queue in order. What is returned is a coroutine: it can be awaited once.
        """

    def poll(
        self, fd: int | EventFD | AIOContext | HasFileno, events: SupportsIndex
    ) -> Coroutine[Any, Any, int]:
        """Await one of the events, a mask of select.POLL*, on the file: see poll(2).

        Returns the mask of the events that are there. A cancelled task ends at once.

        Arguments and errors are those of AIOOperation.poll. Beyond max_requests, awaits
        queue in order. What is returned is a coroutine: it can be awaited once.
        """

    def aclose(self) -> Coroutine[Any, Any, None]:
        """Close, without blocking the event loop: what is queued fails with ValueError, what is
        in flight is cancelled or awaited. A coroutine.
        """

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

    def _open_described(
        self, path: Any, flags: int, mode: int = 0o777, dir_fd: int | None = None, /
    ) -> Coroutine[Any, Any, tuple[int, int, int, int, int, int]]:
        """Await openat(2): the fd, st_mode, st_size, the position or -1, whether a terminal,
        whether the file system is known to be local.
        """

    def _describe(self, fd: int, /) -> Coroutine[Any, Any, tuple[int, int, int, int, int, int]]:
        """Await the same of a descriptor."""

    def _seek(self, fd: int, offset: int, whence: int, /) -> Coroutine[Any, Any, int]:
        """Await lseek(2)."""

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

    def _start_closing(self) -> bool:
        """The part of close() that does not wait; whether the rest does not wait either."""

    def _lift_limit(self) -> None:
        """From now on, any number of operations may be in flight."""

    def _is_inherited(self) -> bool:
        """Whether this is a child of the process that made the context."""

    def _check_process(self) -> None:
        """Raise RuntimeError in a child of the process that made the context."""

class _Awaitable(Coroutine[Any, Any, _Result]):  # type: ignore[misc]
    """What the methods of AIOContext return. Private."""

    def _start(self) -> None:
        """Submit or queue the operation now; whoever awaits this later gets its result.

        The operation goes on whatever becomes of tasks: cancelling one that waits for it ends
        only the wait.
        """

    def _is_over(self) -> bool:
        """Whether awaiting it would not suspend."""

    def _is_finished(self) -> bool:
        """Whether its result or exception was given out."""

    def _result_if_over(self) -> _Result | None:
        """Return the result of what was started, or raise its exception; None if it is not over.

        No loop has to run. A task that waits for it must be one that never runs again. What was not
        yet submitted is withdrawn: ValueError.
        """

@disjoint_base
class _FileBase:
    """The part in C++ of File: its buffers, and what can be answered from them. Private."""

    _offset: int
    _fd: int
    _beside: int
    _closes_fd: bool
    _size: int
    _data_fd: int
    _chunk: int
    _limit: int
    _releases_slowly: bool
    _is_open: bool
    _is_readable: bool
    _is_writable: bool
    _is_locked: bool
    _is_behind: bool
    _goes_slowly: bool

    def read(self, size: SupportsIndex | None = -1, /) -> Coroutine[Any, Any, bytes]:
        """Read up to size bytes, or all that is left if size is negative or None: see preadv2(2).

        The result is shorter only at the end of the file, where it is b"", or with buffering=0.
        """

    def readline(self, size: SupportsIndex | None = -1, /) -> Coroutine[Any, Any, bytes]:
        """Read a line with its end, or its first size bytes.

        The result is b"" at the end of the file. A line that is in the buffer costs no system call.
        """

    def write(self, data: ReadableBuffer, /) -> Coroutine[Any, Any, int]:
        """Write data, a bytes-like object, and return how many bytes it has: see pwritev2(2).

        The bytes are gathered, and written while the program goes on, unless they are more than the
        buffer takes. An error of that is raised by the next write(), flush() or close().
        """

    def close(self) -> Coroutine[Any, Any, None]:
        """Write what was gathered, and close the file: see close(2). Again is harmless.

        OSError if something could not be written; the file is closed all the same. A cancelled call
        raises at once, and the rest is done in the background.
        """

    def __aiter__(self) -> Self:
        """Return self: the lines that are left."""

    def __anext__(self) -> Coroutine[Any, Any, bytes]:
        """Await the next line."""

    def _take_over(self) -> None: ...
    def _check_holds_nothing(self) -> None: ...
    def _try_acquire(self) -> bool: ...
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
    def _set_reader(self, context: AIOContext, /) -> None: ...

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
        """Read up to size characters, or all that are left if size is negative or None.

        The result is shorter only at the end of the file, where it is "". UnicodeDecodeError, a
        ValueError, for bytes that are not of the encoding.
        """

    def readline(self, size: SupportsIndex | None = -1, /) -> Coroutine[Any, Any, str]:
        """Read a line with its end, or its first size characters.

        The result is "" at the end of the file. A line that is in the buffer costs no system call.
        """

    def write(self, text: str, /) -> Coroutine[Any, Any, int]:
        """Write text, and return how many characters it has.

        It is gathered, and written while the program goes on, unless it is more than the buffer
        takes. An error of that is raised by the next write(), flush() or close().
        UnicodeEncodeError, a ValueError, for characters that the encoding does not have.
        """

    def __aiter__(self) -> Self:
        """Return self: the lines that are left."""

    def __anext__(self) -> Coroutine[Any, Any, str]:
        """Await the next line."""

    def _fill(self, text: str | None, /) -> None: ...
    def _get_text(self) -> str | None: ...
    def _left(self) -> int: ...
    def _take(self, count: int, /) -> str: ...
    def _take_line(self, limit: int, /) -> str: ...
    def _take_lines(self, lines: list[str], most: int, /) -> int: ...
    def _ends_line(self, text: str, /) -> bool: ...
    def _set_file(self, file: _FileBase | None, /) -> None: ...
