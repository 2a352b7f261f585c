# SPDX-License-Identifier: Apache-2.0
"""Numbers and memory that programs pass."""

from __future__ import annotations

import errno
import operator
import os


def not_negative(number: int) -> int:
    """The number as an int. TypeError if it is none; OSError, as of pread(2), if it is negative."""
    number = operator.index(number)
    if number < 0:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return number


def as_bytes(view: memoryview) -> memoryview:
    """The same memory as bytes. BufferError if it is not contiguous."""
    if not view.c_contiguous:
        msg = "memoryview: underlying buffer is not C-contiguous"
        raise BufferError(msg)
    return bytes_of(view)


def bytes_of(view: memoryview) -> memoryview:
    """The same memory as bytes. An empty view of several dimensions can't be cast."""
    return view.cast("B") if view.nbytes else memoryview(bytearray())
