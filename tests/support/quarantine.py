# SPDX-License-Identifier: Apache-2.0
"""Memory that Python and the extension gave back, under watch for the kernel's late writes.

What is freed inside `watching` is filled with a pattern and stays allocated: damage to the pattern
is a write to memory that was given back. That this is seen, test_quarantine.py shows.
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

# Smaller blocks are too many, and not what the tests read into.
SMALLEST = 256


def reason_unavailable() -> str | None:
    """Why nothing can be watched, or None if it can."""
    return None if AVAILABLE else "the build has no _quarantine (meson option tests)"


class Quarantine:
    """What became of memory since the quarantine was started."""

    def given_back(self, nbytes: int) -> int:
        """How many blocks were given back that were to hold so many bytes.

        They are up to two pages larger, for alignment and Python's own needs.
        """
        return _quarantine.given_back(nbytes, nbytes + 2 * mmap.PAGESIZE)

    def damaged(self) -> int:
        """How many blocks were written to after they had been given back."""
        return _quarantine.damaged()


def start(smallest: int) -> None:
    """Watch all larger blocks from now on."""
    _quarantine.start(_core.__file__, smallest)


@contextlib.contextmanager
def watching() -> Iterator[Quarantine]:
    """Watch the memory that is allocated and given back inside the block."""
    start(SMALLEST)
    try:
        yield Quarantine()
    finally:
        _quarantine.stop()


def watch_until_exit(report: int, permission: int) -> None:
    """Watch from now on, and tell what came of it when the interpreter has ended.

    At the very end of the process this writes "waiting" to `report`, waits until there is a byte to
    read from `permission`, and writes how many blocks were damaged.
    """
    os.set_inheritable(report, False)
    os.set_inheritable(permission, False)
    start(SMALLEST)
    _quarantine.report_at_exit(report, permission)


@contextlib.contextmanager
def careless_read(fd: int, address: int, nbytes: int) -> Iterator[None]:
    """In flight inside the block, a kernel AIO read for which nobody keeps the memory alive."""
    read = _quarantine.begin_read(fd, address, nbytes)
    try:
        yield
    finally:
        assert _quarantine.end_read(read) == nbytes
