# SPDX-License-Identifier: Apache-2.0
"""A signal in the middle of a call that waits."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

# Long enough to be inside the call then; if not, what is tested is still true.
DELAY = 0.02


class AlarmError(Exception):
    """What the handler of `raising_alarm` raises."""


@contextlib.contextmanager
def alarm(action: Callable[[], object]) -> Iterator[None]:
    """Inside the block, once: after `DELAY` a signal whose handler does this."""

    def handler(_number: int, _frame: FrameType | None) -> None:
        action()

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, DELAY)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def raising_alarm() -> Iterator[None]:
    """Inside the block, once: after `DELAY` an `AlarmError` out of the signal's handler."""

    def fail() -> None:
        raise AlarmError

    with alarm(fail):
        yield
