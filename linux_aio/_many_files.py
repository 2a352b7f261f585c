# SPDX-License-Identifier: Apache-2.0
"""Reads many whole files and parts of files at a time, for AioFileSystem and AioStore."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING, Any, TypeAlias

from . import _core, bulk, fs
from ._loop_context import loop_context, put_off_cancellation
from ._mapped_memory import copied
from ._whole_files import read_bytes
from ._worker import run_in_thread
from .files import open as open_file

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from ._file import File
    from .bulk import Direct

# How many files are read or written at the same time, by default.
_FILES_AT_ONCE = 64

# If so many parts of one file are wanted, or more, one request reads several parts.
_MANY_PARTS = 8

# How many files one job reads; how many jobs are in flight at most; and how many seconds for each
# file a job takes if it had to wait for a disk.
_BATCH = 16
_MOST_BATCHES = 32
_WAITED = 60e-6

# How many bytes one request for several parts has at most, and how many bytes are read before they
# are handed out.
_MOST_MERGED = 1 << 20
_MEMORY = 1 << 24

# One request reads parts of a file with at most so many bytes between them: reading the gap, too,
# costs less than a second request.
_MAX_GAP = 1 << 12

# Data that the program can change, such as an array, is copied up to this size, so that the task
# can be cancelled at once. Larger data is not copied, and a cancellation waits until it is written.
_COPIED = 1 << 17


async def in_flight(
    function: Callable[[Any], Awaitable[Any]], arguments: Sequence[Any], limit: int | None
) -> list[Any]:
    """Return the result or exception of function(argument) for each, with some calls at a time.

    Calls that find their file in the page cache don't suspend the task: a task for each file would
    cost more than the reading.
    """
    _check_batch_size(limit)
    results: list[Any] = [None] * len(arguments)
    left = iter(enumerate(arguments))

    async def work() -> None:
        for index, argument in left:
            try:
                results[index] = await function(argument)
            except Exception as error:
                results[index] = error

    count = len(arguments) if limit == -1 else min(limit or _FILES_AT_ONCE, len(arguments))
    if count == 1:
        await work()
    else:
        await asyncio.gather(*[work() for _ in range(count)])
    return results


def _check_batch_size(limit: int | None) -> None:
    """ValueError for a number of calls at a time that is none; -1 means all of them."""
    if limit is not None and limit < -1:
        msg = f"batch_size must be positive, or -1 for no limit, not {limit}"
        raise ValueError(msg)


async def read_part(path: str, start: int | None, end: int | None, direct: Direct = False) -> bytes:
    """Return content[start:end] of the file at `path`."""
    start = start or 0
    if direct is not False or (start < 0 and end is not None and end >= 0):
        return await _load_part(path, start, end, direct)
    context: Any = loop_context()
    if end is not None and end >= 0:
        return await read_part_of(context, path, start, max(end - start, 0))
    data: bytes
    if start == 0:
        data = await read_bytes(path, context=context)
    else:
        data = await read_part_of(context, path, start, -1)
    return data if end is None else data[:end]


async def read_part_of(context: Any, path: str, offset: int, length: int) -> bytes:
    """Return bytes of a file; a negative offset counts from the end, a negative length is all.

    A FIFO or device is read to its end, and the part cut out.
    """
    part: bytes | None = await context._read_part(path, offset, length)
    if part is not None:
        return part
    data = await read_bytes(path, context=context)
    if offset < 0:
        offset = max(len(data) + offset, 0)
    return data[offset:] if length < 0 else data[offset : offset + length]


async def _load_part(path: str, start: int, end: int | None, direct: Direct) -> bytes:
    size = await fs.getsize(path)
    if size == 0:  # that of a file in /proc may be wrong
        return (await read_bytes(path))[start:end]
    first, last, _ = slice(start, end).indices(size)
    buffer = bytearray(max(last - first, 0))
    if not buffer:
        return b""
    try:
        await bulk.aload_into(path, [(first, buffer)], direct=direct)
    except bulk.ShortFileError as error:
        return bytes(buffer[: error.transfer.nbytes])
    return bytes(buffer)


async def read_parts(
    paths: Sequence[str],
    starts: Sequence[int | None],
    ends: Sequence[int | None],
    *,
    direct: Direct = False,
    max_gap: int | None = None,
    limit: int | None = None,
) -> list[Any]:
    """Return the bytes, or the exception, of each part: starts[i] to ends[i] of paths[i].

    Parts of one file with at most `max_gap` bytes between them are read together.
    """
    by_path: dict[str, list[int]] = {}
    for index, path in enumerate(paths):
        by_path.setdefault(path, []).append(index)
    results: list[Any] = [None] * len(paths)
    many: list[tuple[str, list[int]]] = []
    few: list[int] = []
    for path, indices in by_path.items():
        if len(indices) >= _MANY_PARTS:
            many.append((path, indices))
        else:
            few += indices

    async def read_one(index: int) -> None:
        results[index] = await read_part(paths[index], starts[index], ends[index], direct)

    async def read_many(job: tuple[str, list[int]]) -> None:
        path, indices = job
        slices = [(starts[index], ends[index]) for index in indices]
        gap = _MAX_GAP if max_gap is None else max_gap
        parts = await run_in_thread(
            lambda check, _: _load_parts(path, slices, gap, direct, check), None
        )
        for index, part in zip(indices, parts, strict=True):
            results[index] = part

    if direct is not False or len(few) < _BATCH:
        for index, error in zip(few, await in_flight(read_one, few, limit), strict=True):
            if error is not None:
                results[index] = error
    else:
        await _read_in_batches(paths, starts, ends, few, results, limit)
    for (_, indices), error in zip(many, await in_flight(read_many, many, limit), strict=True):
        if error is not None:
            for index in indices:
                results[index] = error
    return results


async def _read_in_batches(
    paths: Sequence[str],
    starts: Sequence[int | None],
    ends: Sequence[int | None],
    indices: list[int],
    results: list[Any],
    limit: int | None,
) -> None:
    """Read parts by jobs of several files each.

    Few jobs are in flight while they find their files in the page cache: there, more threads would
    only hinder each other. When jobs have to wait for a disk, more are in flight.
    """
    _check_batch_size(limit)
    context: Any = loop_context()
    time = asyncio.get_running_loop().time
    left = iter(range(0, len(indices), _BATCH))
    most = max(1, min(-(-(limit or _MOST_BATCHES * _BATCH) // _BATCH), _MOST_BATCHES))
    tasks: list[asyncio.Task[None]] = []

    async def read_alone(index: int) -> None:
        try:
            results[index] = await read_part(paths[index], starts[index], ends[index])
        except Exception as error:
            results[index] = error

    async def work() -> None:
        for first in left:
            batch = indices[first : first + _BATCH]
            offsets, lengths, later = _offsets_and_lengths(batch, starts, ends)
            began = time()
            try:
                found = await context._read_parts(
                    [paths[index] for index in batch], offsets, lengths
                )
            except Exception:  # an argument is unfit: the others are read nevertheless
                for index in batch:
                    await read_alone(index)
                continue
            waited = time() - began > _WAITED * len(batch)
            for index, part in zip(batch, found, strict=True):
                results[index] = part
            for index in later:
                if isinstance(results[index], bytes):
                    results[index] = results[index][starts[index] : ends[index]]
            for index in batch:
                if results[index] is None:  # of a FIFO or device
                    await read_alone(index)
            for _ in range(2 if waited else 0):
                if len(tasks) < most:
                    tasks.append(asyncio.create_task(work()))

    tasks += [asyncio.create_task(work()) for _ in range(min(2, most))]
    try:
        for task in tasks:  # the list grows meanwhile
            await task
    finally:
        for task in tasks:
            task.cancel()


def _offsets_and_lengths(
    batch: list[int], starts: Sequence[int | None], ends: Sequence[int | None]
) -> tuple[list[int], list[int], list[int]]:
    """Return _read_parts' arguments, and the parts whose whole file is read, to slice later."""
    offsets: list[int] = []
    lengths: list[int] = []
    later: list[int] = []
    for index in batch:
        start, end = starts[index] or 0, ends[index]
        length = -1
        if end is not None:
            if start >= 0 and end >= 0:
                length = max(end - start, 0)
            else:
                later.append(index)
                start = 0
        offsets.append(start)
        lengths.append(length)
    return offsets, lengths, later


# Parts of a file that one request reads: where they begin and end, and the parts' indices.
_Group: TypeAlias = tuple[int, int, list[int]]


def _load_parts(
    path: str,
    slices: Sequence[tuple[int | None, int | None]],
    max_gap: int,
    direct: Direct,
    check: Callable[[], None],
) -> list[bytes | Exception]:
    """Return many slices of one file, or their errors; neighbours are read together. Blocks."""
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:  # or the size is unknown, as in /proc
            data = file.readall()
            ranges = [_range_of(start, end, len(data)) for start, end in slices]
            return [data[offset : offset + length] for offset, length in ranges]
        ranges = [_range_of(start, end, size) for start, end in slices]
        parts: list[bytes | Exception] = [b""] * len(ranges)
        for groups in _batches(_groups(ranges, max_gap)):
            check()
            for (start, _, members), found in _load_each(file, groups, ranges, direct):
                for index in members:
                    if isinstance(found, Exception):
                        parts[index] = found
                    else:
                        offset, length = ranges[index]
                        offset -= start
                        parts[index] = found[offset : offset + length]  # not a copy if it is all
    return parts


def _load_each(
    file: Any, groups: list[_Group], ranges: list[tuple[int, int]], direct: Direct
) -> Iterator[tuple[_Group, bytes | Exception]]:
    """Yield each group with its bytes, fewer at the end of the file, or with its error."""
    try:
        yield from zip(groups, _load_groups(file, groups, direct), strict=True)
        return
    except (OSError, bulk.ShortFileError) as error:
        if len(groups) == 1:
            yield from _load_alone(file, groups[0], ranges, direct, error)
            return
    for group in groups:
        yield from _load_each(file, [group], ranges, direct)


def _load_alone(
    file: Any,
    group: _Group,
    ranges: list[tuple[int, int]],
    direct: Direct,
    error: OSError | bulk.ShortFileError,
) -> Iterator[tuple[_Group, bytes | Exception]]:
    """Read a group again after an error: up to the new end of the file, or part by part."""
    start, end, members = group
    if isinstance(error, bulk.ShortFileError):
        # the file got shorter: read up to its new end, which may move again
        while isinstance(error, bulk.ShortFileError):
            end = start + error.transfer.nbytes
            if end == start:
                yield group, b""
                return
            try:
                yield group, _load_groups(file, [(start, end, members)], direct)[0]
            except bulk.ShortFileError as again:
                error = again
            except OSError as other:
                yield group, other
                return
            else:
                return
    elif len(members) == 1:
        yield group, error
    else:
        # some of the parts may be readable
        for index in members:
            offset, length = ranges[index]
            yield from _load_each(file, [(offset, offset + length, [index])], ranges, direct)


def _load_groups(file: Any, groups: list[_Group], direct: Direct) -> list[bytes]:
    """Read groups straight into the memory of the bytes objects that it returns."""
    made, views = _core._new_bytes([end - start for start, end, _ in groups])
    starts = [start for start, _, _ in groups]
    try:
        bulk.load_into(file, zip(starts, views, strict=True), direct=direct)
    finally:
        views.clear()
    return made


def _groups(ranges: list[tuple[int, int]], max_gap: int) -> list[_Group]:
    groups: list[_Group] = []
    members: list[int] = []
    first = last = -1  # where the current group begins and ends
    for index in sorted(range(len(ranges)), key=ranges.__getitem__):
        offset, length = ranges[index]
        if length == 0:
            continue
        end = offset + length
        if offset <= last + max_gap and end <= first + _MOST_MERGED and members:
            members.append(index)
            last = max(last, end)
        else:
            if members:
                groups.append((first, last, members))
            members = [index]
            first, last = offset, end
    if members:
        groups.append((first, last, members))
    return groups


def _batches(groups: list[_Group]) -> Iterator[list[_Group]]:
    """Yield lists of groups. The groups of one list are in memory at the same time."""
    batch: list[_Group] = []
    left = _MEMORY
    for group in groups:
        length = group[1] - group[0]
        if batch and length > left:
            yield batch
            batch, left = [], _MEMORY
        batch.append(group)
        left -= length
    if batch:
        yield batch


def _range_of(start: int | None, end: int | None, size: int) -> tuple[int, int]:
    """Return the offset and length of a slice."""
    if start is None:
        start = 0
    if start < 0 or end is None or end < 0 or end > size:
        start, end, _ = slice(start, end).indices(size)
    return (start, end - start) if end > start else (0, 0)


def _nothing(count: int) -> None:
    pass


async def replace_file(
    path: str,
    data: Any,
    *,
    exclusive: bool = False,
    durable: bool = False,
    makes_parents: bool = False,
) -> int:
    """Write a file that gets its name once it is complete; return its length.

    exclusive: raise FileExistsError if the path exists. durable: the data and the name are on the
    disk at the end. makes_parents: make the missing parent directories.
    """
    context: Any = loop_context()
    if not isinstance(data, bytes):
        view = memoryview(data)
        if view.nbytes <= _COPIED:
            is_plain = view.nbytes and view.c_contiguous
            data = await copied(context, view.cast("B")) if is_plain else bytes(view)
        else:
            started = context._replace_file(path, view, exclusive, durable, makes_parents)
            started._start()
            count = await put_off_cancellation(started, _nothing)
            return count if count is not None else await _write_to(context, path, view, durable)
    count = await context._replace_file(path, data, exclusive, durable, makes_parents)
    return count if count is not None else await _write_to(context, path, data, durable)


async def _write_to(context: Any, path: str, data: Any, durable: bool) -> int:
    """Write to a FIFO or device, which stays what it is, and may have to be waited for."""
    async with open_file(path, "wb", context=context) as file:
        count = await file.write(data)
        if durable:
            await _sync(file)
    return count


async def sync_file(path: str) -> None:
    """Have on the disk what was written to a file where it is."""
    async with open_file(path, "r+b", buffering=0) as file:
        await _sync(file)


async def _sync(file: File) -> None:
    try:
        await file.fsync()
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EROFS):  # a device that can't be synced
            raise
