# SPDX-License-Identifier: Apache-2.0
"""Copies a file: by shared blocks, by copy_file_range(2), or by overlapping reads and writes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import queue
import secrets
import shutil
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from . import _core
from ._pieces import EndableThread, PieceThread, end_threads

if TYPE_CHECKING:
    from collections.abc import Callable

# from <linux/fs.h>
FICLONE = 0x40049409

# How much one copy_file_range(2) copies; after each, the program is told the progress.
RANGE_BYTES = 1 << 25

# Direct writes in flight. Each has a thread: writes that extend the file or allocate blocks block.
WRITERS = 4


def writers_of(direct_target: int) -> int:
    """Return how many threads write a copy.

    Writes to the page cache hold the file's lock, one at a time. So one thread makes them all.
    """
    return WRITERS if direct_target >= 0 else 1


# The largest alignment that direct writes need.
_BLOCK = 4096


class Source(Protocol):
    """The file that is read."""

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def buffered(self) -> int: ...
    @property
    def direct(self) -> int: ...


def resolved_target(source: str, target: str) -> str:
    """Return the copy's path: in the target folder, or where a symbolic link points; or raise."""
    if os.path.isdir(target):
        target = os.path.join(target, os.path.basename(source))
    check_file_name(target)
    given, target = target, os.path.realpath(target)
    try:
        status = os.stat(given)  # a link in /proc can lead to a file that has no name
    except FileNotFoundError:
        return target
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
    if not stat.S_ISREG(status.st_mode):
        raise shutil.SpecialFileError(f"{target!r} is a device, a pipe or a socket: no copy")
    if os.path.samestat(os.stat(source), status):
        raise shutil.SameFileError(f"{source!r} and {target!r} are the same file")
    if not is_name_of(target, status):
        raise shutil.SpecialFileError(f"{given!r} has no name that could be replaced")
    check_writable(target)
    return target


def is_name_of(path: str, status: os.stat_result) -> bool:
    """Whether the path leads to the file that the status is of."""
    try:
        return os.path.samestat(os.stat(path), status)
    except FileNotFoundError:
        return False


def check_writable(target: str) -> None:
    """Raise open()'s OSError if the process may not write to the regular file.

    To replace the file would succeed even then: rename(2) asks for the right to write to the
    folder only. os.access() is asked first, because opening and closing the file would drop the
    program's locks on it.
    """
    if not os.access(target, os.W_OK, effective_ids=True):
        # fails with the reason, such as EROFS, which os.access() does not tell
        os.close(os.open(target, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))


def check_file_name(path: str) -> None:
    """Raise as shutil.copy does if the path can only name a folder, and no such folder exists."""
    if not path:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    if path.endswith("/"):
        raise FileNotFoundError(errno.ENOENT, "Directory does not exist", path)
    if os.path.basename(path) in (".", ".."):
        os.stat(path)


def sync(fd: int) -> None:
    """Sync a file to the disk, if it is on one: a device or FIFO may have nothing to sync."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


class NewFile:
    """A file without a name in the target's folder. It replaces the target once it is complete.

    Its mode and access list are those of a file that open() makes in the folder. Where it needs a
    temporary name, only its owner can open it if it is `private`, until the caller sets its mode,
    or if the target exists, until take_mode().
    """

    def __init__(self, target: str, *, private: bool = False) -> None:
        self._target = target
        self._folder = os.path.dirname(target) or "."
        self._name: str | None = None
        self._pid = os.getpid()
        with self._named():
            self.fd = self._open(private)

    def _open(self, private: bool) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC
        if os.path.exists("/proc/self/fd"):  # where it gets its name from
            try:
                return os.open(self._folder, flags | os.O_TMPFILE, 0o666)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                    raise
        mode = 0o600 if private or os.path.lexists(self._target) else 0o666
        self._name = self._new_name()
        return os.open(self._name, flags | os.O_CREAT | os.O_EXCL, mode)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Have an OSError name the target, and neither its folder nor the file without a name."""
        try:
            yield
        except OSError as error:
            if error.errno is None:
                raise
            raise OSError(error.errno, error.strerror, self._target) from None

    def _new_name(self) -> str:
        base = os.fsdecode(os.fsencode(os.path.basename(self._target))[:200])
        return os.path.join(self._folder, f".{base}.{secrets.token_hex(6)}.tmp")

    @property
    def has_name(self) -> bool:
        """Whether it has a temporary name, as on file systems without O_TMPFILE: see open(2)."""
        return self._name is not None

    def take_mode(self) -> None:
        """Give the file the owner, attributes and mode of the old file, if there is one."""
        _core._take_old_status(self._target, self.fd)

    def take_name(self, durable: bool) -> None:
        """Give the file the target's name, or raise FileExistsError if another file has it."""
        with self._named(), self._opened_folder() as folder:
            self._check_writes()
            try:
                source = self._name or self._link
                os.link(source, self._target, src_dir_fd=folder, follow_symlinks=True)
            except OSError as error:
                # of file systems without links, where the new file has a name
                if self._name is None or error.errno not in (errno.EPERM, errno.EOPNOTSUPP):
                    raise
                if os.path.lexists(self._target):
                    raise FileExistsError(
                        errno.EEXIST, os.strerror(errno.EEXIST), self._target
                    ) from None
                os.rename(self._name, self._target)
                self._name = None
            if durable:
                _core._sync_folder(folder, self.fd)

    def replace_target(self, durable: bool) -> None:
        """Give the file the target's name; with `durable`, the name is on the disk at the end."""
        with self._named(), self._opened_folder() as folder:
            self._check_writes()
            if self._name is None:
                name = self._new_name()
                # os.link() follows the link in /proc only if it is given a folder's descriptor
                os.link(self._link, name, src_dir_fd=folder, follow_symlinks=True)
                self._name = name
            os.rename(self._name, self._target)
            self._name = None
            if durable:
                _core._sync_folder(folder, self.fd)

    @property
    def _link(self) -> str:
        return f"/proc/self/fd/{self.fd}"

    def _check_writes(self) -> None:
        """Raise the OSError of a write that failed: a server may report it only at close(2)."""
        with contextlib.suppress(InterruptedError):  # tells nothing about the writes
            os.close(os.dup(self.fd))

    @contextlib.contextmanager
    def _opened_folder(self) -> Iterator[int]:
        """Open the folder, even if the process may write to it but not read it."""
        folder = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield folder
        finally:
            os.close(folder)

    def close(self) -> None:
        """Close the file; remove it if it has only its temporary name."""
        # in a child process, the name is the parent's to remove
        if self._name is not None and self._pid == os.getpid():
            with contextlib.suppress(OSError):
                os.unlink(self._name)
        with contextlib.suppress(OSError):  # nothing was lost: see _check_writes()
            os.close(self.fd)


def clone(source: int, target: int) -> bool:
    """Let the copy share the source's blocks: see ioctl_ficlone(2). Return False if it can't."""
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError:
        return False  # on another file system, or on one that can't share blocks
    return True


def copy_by_file_system(
    source: Source, target: int, tick: Callable[[int], None], size: int
) -> bool:
    """Copy by copy_file_range(2), if the file system or its server does the copying itself."""
    if not _core._bulk_copies_itself(source.buffered):
        return False
    if os.fstat(source.buffered).st_dev != os.fstat(target).st_dev:
        return False
    os.ftruncate(target, size)
    has_copied = False
    # copy_file_range(2) may fill the copy's holes, so each part between them is copied by itself
    for start, end in extents(source.buffered, size):
        done = start
        while done < end:
            length = min(RANGE_BYTES, end - done)
            try:
                count = os.copy_file_range(source.buffered, target, length, done, done)
            except OSError:
                if not has_copied:
                    return False
                raise
            if count == 0:
                return False  # some file systems return 0 if they can't copy the file
            has_copied = True
            done += count
            tick(done)
    return True


def extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the (start, end) of each part that is no hole. See SEEK_DATA of lseek(2)."""
    position = 0
    while position < size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
            end = os.lseek(fd, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # the rest is a hole
            if position == 0:
                yield 0, size  # the file system does not tell where holes are
                return
            raise
        start -= start % _BLOCK
        start = max(start, position)
        end = min(-(-end // _BLOCK) * _BLOCK, size)
        if start < end:
            yield start, end
        position = max(end, position + 1)


def ranges(source: Source, target: int, allocate: bool) -> Iterator[tuple[int, int]]:
    """Yield each (start, end) to copy; with `allocate`, reserve its blocks in the target first."""
    for start, end in extents(source.buffered, source.size):
        if allocate:
            # Direct writes to a hole or beyond the end of the file would wait for each other.
            os.posix_fallocate(target, start, end - start)
        yield start, end


class Copier:
    """Writes the pieces of the copy in threads, as soon as they are read."""

    def __init__(self, target: int, direct_target: int) -> None:
        self._target = target
        self._direct_target = direct_target
        self._queue: queue.SimpleQueue[tuple[int, int, memoryview] | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self.wrote_direct = False

    def run(self, source: PieceThread, tick: Callable[[int], None]) -> None:
        """Write the pieces that `source` reads. Return when all are written."""

        def check(done: int) -> None:
            if self._error is not None:
                raise self._error
            tick(done)

        count = writers_of(self._direct_target)
        writers = [EndableThread(self._write, (source,), "linux_aio copy") for _ in range(count)]
        try:
            for writer in writers:
                writer.start()
            for _, offset, place, data in source.pieces(check):
                self._queue.put((offset, place, data))
        except BaseException as error:
            self._error = self._error or error  # the writers need not go on
            raise
        finally:
            end_threads(writers, lambda: self._queue.put(None))
        if self._error is not None:
            raise self._error

    def _write(self, source: PieceThread) -> None:
        while (item := self._queue.get()) is not None:
            offset, place, data = item
            try:
                if self._error is None:
                    self._write_piece(offset, data)
            except BaseException as error:
                self._error = self._error or error
            source.give_back(place)

    def _write_piece(self, offset: int, data: memoryview) -> None:
        if self._direct_target >= 0 and offset % _BLOCK == 0:
            length = len(data) - len(data) % _BLOCK
            while length:
                count = os.pwrite(self._direct_target, data[:length], offset)
                self.wrote_direct = True
                offset += count
                data = data[count:]
                if count % _BLOCK:
                    break
                length -= count
        while data:
            count = os.pwrite(self._target, data, offset)
            offset += count
            data = data[count:]
