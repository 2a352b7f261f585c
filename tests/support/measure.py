# SPDX-License-Identifier: Apache-2.0
"""Measures what this process uses: memory, file descriptors and AIO contexts."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path

# AddressSanitizer delays freeing memory, so that resident memory grows without a leak.
UNDER_ADDRESS_SANITIZER = "libasan" in os.environ.get("LD_PRELOAD", "")


def resident_bytes() -> int:
    """The memory of this process that is in RAM."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * mmap.PAGESIZE


def soon(condition: Callable[[], bool], seconds: float = 10) -> bool:
    """Whether the condition is true, or soon becomes so: our threads close some things late."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def open_fds() -> set[int]:
    """The numbers of this process's open file descriptors."""
    # The list has the descriptor of the listing itself, which is closed by now.
    return {fd for fd in map(int, os.listdir("/proc/self/fd")) if is_open(fd)}


def mapped_rings() -> int:
    """How many kernel AIO contexts this process has: each has a ring mapped into its memory."""
    return Path("/proc/self/maps").read_text(encoding="utf-8").count("/[aio]")


def is_open(fd: int) -> bool:
    """Whether the number is that of an open file."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
