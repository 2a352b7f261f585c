# SPDX-License-Identifier: Apache-2.0
"""Watches memory that Python and the extension have freed for late writes by the kernel.

Memory that is freed inside `watching` stays allocated, and is filled with a pattern. If the pattern
is damaged, something has written to freed memory. test_quarantine.py checks that this is noticed.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterator

from linux_aio import _core

try:
    import _quarantine
except ImportError:
    AVAILABLE = False
else:
    AVAILABLE = True

# Smaller blocks are not watched: there are too many, and tests don't read into them.
SMALLEST = 256


def reason_unavailable() -> str | None:
    """Why nothing can be watched, or None if it can."""
    return None if AVAILABLE else "the build has no _quarantine (meson option tests)"


class Quarantine:
    """Counts the memory blocks that were freed since the quarantine was started."""

    def given_back(self, nbytes: int) -> int:
        """How many freed blocks have the size of a buffer of `nbytes`.

        The blocks are up to two pages larger, for alignment and Python's own data.
        """
        return _quarantine.given_back(nbytes, nbytes + 2 * mmap.PAGESIZE)

    def damaged(self) -> int:
        """How many blocks were written to after they had been freed."""
        return _quarantine.damaged()


def start(smallest: int) -> None:
    """From now on, watch all blocks of at least `smallest` bytes."""
    _quarantine.start(_core.__file__, smallest)


@contextlib.contextmanager
def watching() -> Iterator[Quarantine]:
    """Watch the memory that is allocated and freed inside the block."""
    start(SMALLEST)
    try:
        yield Quarantine()
    finally:
        _quarantine.stop()


def watch_until_exit(report: int, permission: int) -> None:
    """Watch from now on, and report when the interpreter has ended.

    At the very end of the process this writes "waiting" to `report`, waits until there is a byte to
    read from `permission`, and writes how many blocks were damaged.
    """
    os.set_inheritable(report, False)
    os.set_inheritable(permission, False)
    start(SMALLEST)
    _quarantine.report_at_exit(report, permission)


@contextlib.contextmanager
def careless_read(fd: int, address: int, nbytes: int) -> Iterator[None]:
    """Have a kernel AIO read in flight inside the block, whose memory nothing keeps alive."""
    read = _quarantine.begin_read(fd, address, nbytes)
    try:
        yield
    finally:
        assert _quarantine.end_read(read) == nbytes
