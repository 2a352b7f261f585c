# SPDX-License-Identifier: Apache-2.0
"""A signal in the middle of a call that waits."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

# Long enough to be inside the call then; if not, what is tested is still true.
DELAY = 0.02

# Not SIGALRM: the tests' own time-outs may use it.
SIGNAL = signal.SIGUSR1


class AlarmError(Exception):
    """What the handler of `raising_alarm` raises."""


@contextlib.contextmanager
def alarm(action: Callable[[], object]) -> Iterator[None]:
    """Inside the block, once: after `DELAY` a signal to this thread, whose handler does this."""

    def handler(_number: int, _frame: FrameType | None) -> None:
        action()

    before = signal.signal(SIGNAL, handler)
    sender = threading.Timer(DELAY, signal.pthread_kill, (threading.get_ident(), SIGNAL))
    sender.start()
    try:
        yield
    finally:
        sender.cancel()
        sender.join()
        signal.signal(SIGNAL, before)


@contextlib.contextmanager
def raising_alarm() -> Iterator[None]:
    """Inside the block, once: after `DELAY` an `AlarmError` out of the signal's handler."""

    def fail() -> None:
        raise AlarmError

    with alarm(fail):
        yield
