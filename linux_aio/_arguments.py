# SPDX-License-Identifier: Apache-2.0
"""Numbers and memory that programs pass."""

from __future__ import annotations

import errno
import operator
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


def not_negative(number: int) -> int:
    """The number as an int. TypeError if it is none; OSError, as of pread(2), if it is negative."""
    number = operator.index(number)
    if number < 0:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return number


def readable(data: ReadableBuffer) -> memoryview:
    """The memory that a call is to write. TypeError, as of io's files, if there is none."""
    try:
        return memoryview(data)
    except TypeError:
        msg = f"a bytes-like object is required, not '{type(data).__name__}'"
        raise TypeError(msg) from None


def writable(buffer: WriteableBuffer, call: str) -> memoryview:
    """The memory that a call is to fill. TypeError, as of io's files, if it is read-only."""
    view = memoryview(buffer)
    if view.readonly:
        view.release()
        kind = type(buffer).__name__
        msg = f"{call}() argument must be read-write bytes-like object, not {kind}"
        raise TypeError(msg)
    return view


def as_bytes(view: memoryview) -> memoryview:
    """The same memory as bytes. BufferError if it is not contiguous."""
    if not view.c_contiguous:
        msg = "memoryview: underlying buffer is not C-contiguous"
        raise BufferError(msg)
    return bytes_of(view)


def bytes_of(view: memoryview) -> memoryview:
    """The same memory as bytes. An empty view of several dimensions can't be cast."""
    return view.cast("B") if view.nbytes else memoryview(bytearray())
