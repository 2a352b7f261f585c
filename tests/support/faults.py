# SPDX-License-Identifier: Apache-2.0
"""Has libaio's calls fail, or do only a part of their work, when a test says so.

    with faulty_libaio() as faults:
        faults.inject("submit", error=errno.EAGAIN, after=1, times=2)
        ...                     # the second and the third io_submit fail
        assert faults.count("submit") == 3

This needs the module `_faults` in the build directory. Skip the test if `faults_reason()` gives a
reason. What to know:

- The faults of one call form a queue: the first skips `after` calls, then affects `times` calls (or
  all, with `FOR_EVER`), and then the next fault begins.
- Faults affect every context of the process, in every thread.
- `getevents` is called only to wait, and with `LINUX_AIO_USER_RING=0` also to take events.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Literal

from support.rings import wait_for_destroyed

Call = Literal["setup", "destroy", "submit", "cancel", "getevents"]

FOR_EVER = -1


@functools.cache
def faults_reason() -> str | None:
    """Why there can be no faults here, or None if there can."""
    try:
        import _faults  # noqa: F401
    except ImportError as error:
        return f"no _faults, which LINUX_AIO_BUILD/tests/cpp has: {error}"
    return None


class Faults:
    """Controls the shim between linux_aio and libaio."""

    def inject(
        self,
        call: Call,
        *,
        error: int = 0,
        at_most: int = -1,
        after: int = 0,
        times: int = 1,
        signal: int = 0,
    ) -> None:
        """Have calls fail with an errno, or (submit, getevents) ask for no more than `at_most`.

        `signal` is raised in the thread that makes the call, before it fails.
        """
        import _faults

        if call == "setup":
            wait_for_destroyed()  # else a call that fails is made again after that
        _faults.inject(call, error, at_most, after, times, signal)

    def clear(self) -> None:
        """Forget all faults, and all counts."""
        import _faults

        _faults.clear()

    def count(self, call: Call) -> int:
        """How often the call was made since the last `clear`, failed calls included."""
        import _faults

        return _faults.count(call)


@contextlib.contextmanager
def faulty_libaio() -> Iterator[Faults]:
    """Faults that end with the block."""
    faults = Faults()
    faults.clear()
    try:
        yield faults
    finally:
        faults.clear()
