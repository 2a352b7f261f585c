# SPDX-License-Identifier: Apache-2.0
"""Files whose places on the disk are unusual: each page apart, or compressed."""

from __future__ import annotations

import fcntl
import mmap
import os
import random
import struct
from pathlib import Path

_FS_IOC_SETFLAGS = 0x40086602
_FS_COMPR_FL = 0x4


def make_fragmented(path: Path, pieces: int) -> bytes:
    """Write a file of which every page is an extent of its own; return its data."""
    page = mmap.PAGESIZE
    data = random.Random(pieces).randbytes(pieces * page)
    other = path.with_name("between")
    with path.open("wb", buffering=0) as file, other.open("wb", buffering=0) as between:
        for piece in range(pieces):
            file.write(data[piece * page :][:page])
            os.fdatasync(file.fileno())
            between.write(b"x" * page)
            os.fdatasync(between.fileno())
    other.unlink()
    return data


def make_compressed(path: Path, blocks: int) -> bytes:
    """Write a file of so many blocks of 512 bytes on btrfs, compressed; return its data."""
    data = b"".join(bytes([number % 251]) * 512 for number in range(blocks))
    with path.open("wb", buffering=0) as file:
        fcntl.ioctl(file, _FS_IOC_SETFLAGS, struct.pack("l", _FS_COMPR_FL))
        written = file.write(data)
    assert written == len(data)
    return data
