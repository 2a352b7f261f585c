# SPDX-License-Identifier: Apache-2.0
"""NumPy's .npy files at the disk's speed. Needs the extra `numpy`."""

from __future__ import annotations

import contextlib
import errno
import io
import math
import operator
import os
import stat
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias

try:
    import numpy as np
except ImportError as error:
    raise ImportError(
        "linux_aio.numpy needs NumPy: pip install 'linux-aio-python[numpy]'", name="numpy"
    ) from error

from linux_aio import _copying
from linux_aio._numpy_memory import empty
from linux_aio.bulk import Direct, Progress, load_into

if TYPE_CHECKING:
    from _typeshed import StrOrBytesPath
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

__all__ = ["load", "save"]


def load(
    path: StrOrBytesPath,
    *,
    rows: slice | range | Sequence[int] | None = None,
    out: Array | None = None,
    direct: Direct = "auto",
    chunk: int | None = None,
    depth: int | None = None,
    progress: Progress | None = None,
) -> Array:
    """Return the array of a .npy file: numpy.load. The array owns its memory.

    rows=, a slice, a range or numbers of the first axis, reads only these rows; IndexError for one
    that the array has not. out=, a contiguous array of the same shape and type, is filled and
    returned. `direct`, `chunk`, `depth` and `progress` are as for bulk.load_into.

    ValueError for what is no .npy file, for an array of Python objects, which is a pickle, and for
    an unfit `out`; ShortFileError, an EOFError, for a file that is cut short.
    """
    with open(path, "rb") as file:
        shape, fortran, dtype, start = _read_header(file)
        picked = None if rows is None else _picked_rows(rows, shape)
        wanted = shape if picked is None else (len(picked), *shape[1:])
        order: Literal["C", "F"] = "F" if fortran and len(shape) > 1 else "C"
        if out is None:
            array = empty(wanted, dtype, start, order)
        else:
            array = _checked_out(out, wanted, dtype, order)
        segments = _segments(array, shape, picked, start, order)
        load_into(file, segments, direct=direct, chunk=chunk, depth=depth, progress=progress)
    return array if out is None else out


def _read_header(file: io.BufferedReader) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return the shape, whether the order is Fortran's, the type, and the offset of the data."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version in ((2, 0), (3, 0)):
        # version 3.0 is the format of 2.0, but with the names of fields in UTF-8
        if version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            shape, fortran, dtype = _header_reader()(file, version=version)
    else:
        raise ValueError(f"version {version} of the .npy format is not known")
    if dtype.hasobject:
        raise ValueError("an array of Python objects can't be loaded: it is a pickle")
    if dtype.subdtype is not None:
        raise ValueError(f"the type of an array's elements can't be an array, {dtype}")
    if any(length < 0 for length in shape):
        raise ValueError(f"a negative length in the shape {shape}")
    return shape, fortran, dtype, file.tell()


def _header_reader() -> Any:
    """Return NumPy's function for headers of all versions, which has no public name."""
    for module in (getattr(np.lib, "_format_impl", None), np.lib.format):
        reader = getattr(module, "_read_array_header", None)
        if reader is not None:
            return reader
    raise ValueError("this NumPy does not read version 3.0 of the .npy format")


def _row(number: Any) -> int:
    if isinstance(number, bool):
        raise TypeError("rows are given by their numbers, not by True and False")
    return operator.index(number)


def _picked_rows(rows: slice | range | Sequence[int], shape: tuple[int, ...]) -> Sequence[int]:
    if not shape:
        raise ValueError("an array without axes has no rows")
    count = shape[0]
    if isinstance(rows, slice):
        return range(count)[rows]
    if isinstance(rows, range) and all(0 <= row < count for row in (*rows[:1], *rows[-1:])):
        return rows
    picked: Sequence[int] = rows if isinstance(rows, range) else [_row(row) for row in rows]
    for row in picked:
        if not -count <= row < count:
            raise IndexError(f"row {row} of an array of {count} rows")
    return [row % count for row in picked]


def _checked_out(out: Array, shape: tuple[int, ...], dtype: np.dtype[Any], order: str) -> Array:
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(
            f"out must have the shape {shape} and the type {dtype}, not {out.shape} and {out.dtype}"
        )
    if not out.flags.writeable or not (
        out.flags.f_contiguous if order == "F" else out.flags.c_contiguous
    ):
        raise ValueError(f"out must be writable, and contiguous in the file's order, {order!r}")
    return out


def _segments(
    array: Array,
    shape: tuple[int, ...],
    picked: Sequence[int] | None,
    start: int,
    order: str,
) -> list[tuple[int, memoryview]]:
    if array.nbytes == 0:
        return []
    # a matrix has two dimensions in any case
    flat = np.asarray(array).reshape(-1, order=order)  # type: ignore[call-overload]
    # arrays of some types, such as dates, don't export buffers
    memory = memoryview(flat.view(np.uint8))
    if picked is None:
        return [(start, memory)]
    # In Fortran's order, the rows of one column lie together; else the bytes of one row do.
    size = array.dtype.itemsize * (1 if order == "F" else math.prod(shape[1:]))
    columns = math.prod(shape[1:]) if order == "F" else 1
    runs = _runs(picked)
    segments = []
    place = 0
    for column in range(columns):
        base = start + column * shape[0] * size
        for first, count in runs:
            segments.append((base + first * size, memory[place : place + count * size]))
            place += count * size
    return segments


def _runs(picked: Sequence[int]) -> list[tuple[int, int]]:
    """Return runs of consecutive rows, as (first row, number of rows)."""
    if isinstance(picked, range) and picked.step == 1:
        return [(picked.start, len(picked))]
    runs: list[tuple[int, int]] = []
    for row in picked:
        if runs and row == runs[-1][0] + runs[-1][1]:
            runs[-1] = runs[-1][0], runs[-1][1] + 1
        else:
            runs.append((row, 1))
    return runs


def save(path: StrOrBytesPath, array: Any, *, durable: bool = False) -> None:
    """Write an array as a .npy file: numpy.save.

    The name is taken as it is, without adding ".npy". A file of that name is replaced when the new
    one is whole; with durable=True it is on the disk when the call returns (fsync(2)). ValueError
    for an array of Python objects, which would be a pickle; open()'s OSError for a file that may
    not be written to, whatever its folder allows.
    """
    array = np.asanyarray(array)
    if array.dtype.hasobject:
        raise ValueError("an array of Python objects can't be saved: it would be a pickle")
    if isinstance(array, np.ma.MaskedArray):
        raise NotImplementedError("a .npy file has no place for a mask")
    given = os.fsdecode(path)
    _copying.check_file_name(given)
    target = os.path.realpath(given)
    if not _is_to_be_replaced(given, target):
        with open(given, "wb") as file:
            _write_through(file, array)
            if durable:
                file.flush()
                _copying.sync(file.fileno())
        return
    with contextlib.closing(_copying.NewFile(target)) as new:
        new.take_mode()
        with open(new.fd, "wb", closefd=False) as file:
            if new.has_name:
                _write_through(file, array)  # a server may tell errors at close(2)
            else:
                _write_by_numpy(file, array, given)
        if durable:
            os.fsync(new.fd)
        new.replace_target(durable)


def _write_through(file: BinaryIO, array: Array) -> None:
    """Write the array by calls of file.write(), which raise every error. Copies it, in parts."""
    np.lib.format.write_array(SimpleNamespace(write=file.write), array, allow_pickle=False)


def _write_by_numpy(file: BinaryIO, array: Array, path: str) -> None:
    """Let NumPy write the array to the regular file, from the array's memory."""
    try:
        np.lib.format.write_array(file, array, allow_pickle=False)
    except OSError as error:
        if error.errno is None:  # NumPy has counted only
            _raise_reason(file.fileno(), path)
        raise
    file.flush()
    # NumPy writes the last bytes by fclose(3), and ignores its error.
    size = os.fstat(file.fileno()).st_size
    if size < file.tell():
        os.lseek(file.fileno(), size, os.SEEK_SET)
        _raise_reason(file.fileno(), path)
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)


def _raise_reason(fd: int, path: str) -> None:
    """Raise the OSError of a write that goes on where another one was cut short."""
    try:
        for _ in range(16):
            os.write(fd, bytes(1 << 16))
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None


def _is_to_be_replaced(given: str, target: str) -> bool:
    """Whether the target is a regular file or does not exist. Devices and the like stay."""
    try:
        status = os.stat(given)  # a link in /proc can lead to a file that has no name
    except FileNotFoundError:
        return True
    is_regular = stat.S_ISREG(status.st_mode) and _copying.is_name_of(target, status)
    if is_regular:
        _copying.check_writable(target)
    return is_regular
