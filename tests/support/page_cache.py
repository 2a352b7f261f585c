# SPDX-License-Identifier: Apache-2.0
"""What of a file is in the page cache."""

from __future__ import annotations

import ctypes
import mmap
import os

LIBC = ctypes.CDLL(None)


def cached_pages(fd: int) -> list[int]:
    """Return the numbers of the file's pages that are in the page cache: mincore(2).

    It reads nothing. A read that is told not to wait (RWF_NOWAIT) makes the kernel read ahead.
    """
    size = os.fstat(fd).st_size
    found = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
    with mmap.mmap(fd, size) as mapped:
        first = ctypes.c_char.from_buffer(mapped)
        status = LIBC.mincore(
            ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(size), found
        )
        del first  # else the mapping can't be closed
    assert status == 0
    return [number for number, page in enumerate(found) if page & 1]
