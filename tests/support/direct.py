# SPDX-License-Identifier: Apache-2.0
"""Files that are open for direct I/O, and memory at addresses that a test chooses."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from linux_aio import aligned_buffer

PAGE = 4096


def direct_reason(folder: Path) -> str | None:
    """Why files in this folder can't be opened for direct I/O, or None if they can."""
    path = folder / "is there O_DIRECT"
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_DIRECT))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return f"no O_DIRECT on the file system of {folder}"
    finally:
        path.unlink(missing_ok=True)
    return None


@contextlib.contextmanager
def direct_file(path: Path, data: bytes = b"") -> Iterator[int]:
    """Give the descriptor of a new file with these contents, open for direct I/O."""
    path.write_bytes(data)
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    try:
        yield fd
    finally:
        os.close(fd)
        path.unlink()


def address_of(buffer: memoryview) -> int:
    """Return the address of a writable buffer."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def buffer_at(distance: int, nbytes: int) -> memoryview:
    """Return zeroed memory that begins `distance` bytes after the start of a page."""
    whole: memoryview = aligned_buffer(distance + nbytes, PAGE)
    return whole[distance:]
