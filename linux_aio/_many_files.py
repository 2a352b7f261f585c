# SPDX-License-Identifier: Apache-2.0
"""Whole files and parts of files, many at a time: for AioFileSystem and AioStore."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from . import bulk, fs
from ._loop_context import loop_context, put_off_cancellation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from .bulk import Direct

# Files that are read or written at the same time, where the program does not say.
_FILES_AT_ONCE = 64

# A file of which at least so many parts are wanted is read by bulk.read_many.
_MANY_PARTS = 8

# Less is read in vain than another request would cost.
_MAX_GAP = 1 << 14

# Data that can change, as an array's, is copied up to this size, so that the task can be cancelled
# at once. What is larger is written from where it is, and a cancellation waits for that.
_COPIED = 1 << 17


async def in_flight(
    function: Callable[[Any], Awaitable[Any]], arguments: Sequence[Any], limit: int | None
) -> list[Any]:
    """Return the result or exception of function(argument) of each, some of them at a time.

    What is in the page cache is read without suspending the task: one task for each file would cost
    more than the reading.
    """
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


async def read_part(path: str, start: int | None, end: int | None, direct: Direct = False) -> bytes:
    """Return the bytes path's content[start:end] would be."""
    start = start or 0
    if direct is not False or (start < 0 and end is not None and end >= 0):
        return await _load_part(path, start, end, direct)
    context: Any = loop_context()
    if end is not None and end >= 0:
        part: bytes = await context._read_part(path, start, max(end - start, 0))
        return part
    data: bytes
    if start == 0:
        data = await context._read_file(path)
    else:
        data = await context._read_part(path, start, -1)
    return data if end is None else data[:end]


async def _load_part(path: str, start: int, end: int | None, direct: Direct) -> bytes:
    first, last, _ = slice(start, end).indices(await fs.getsize(path))
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
    """Return the bytes, or the exception, of each part: a slice of the file of that path.

    Parts of one file with at most `max_gap` bytes between them are read together.
    """
    by_path: dict[str, list[int]] = {}
    for index, path in enumerate(paths):
        by_path.setdefault(path, []).append(index)
    results: list[Any] = [None] * len(paths)
    jobs: list[tuple[str, list[int]]] = []
    for path, indices in by_path.items():
        if len(indices) >= _MANY_PARTS:
            jobs.append((path, indices))
        else:
            jobs += [(path, [index]) for index in indices]

    async def read(job: tuple[str, list[int]]) -> None:
        path, indices = job
        if len(indices) == 1:
            index = indices[0]
            results[index] = await read_part(path, starts[index], ends[index], direct)
            return
        size = await fs.getsize(path)
        ranges = [_range_of(starts[index], ends[index], size) for index in indices]
        gap = _MAX_GAP if max_gap is None else max_gap
        stream = bulk.read_many(path, ranges, direct=direct, max_gap=gap)
        async with contextlib.aclosing(stream):
            async for number, data in stream:
                results[indices[number]] = bytes(data)

    for (_, indices), error in zip(jobs, await in_flight(read, jobs, limit), strict=True):
        if error is not None:
            for index in indices:
                results[index] = error
    return results


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
    """Write a file that gets its name when it is whole, and return its length.

    exclusive: raise FileExistsError if there is such a path. durable: the data and the name are on
    the disk at the end. makes_parents: make the directories above that are missing.
    """
    context: Any = loop_context()
    if not isinstance(data, bytes):
        view = memoryview(data)
        if view.nbytes <= _COPIED:
            data = bytes(view)
        else:
            started = context._replace_file(path, view, exclusive, durable, makes_parents)
            started._start()
            return await put_off_cancellation(started, _nothing)
    count: int = await context._replace_file(path, data, exclusive, durable, makes_parents)
    return count
