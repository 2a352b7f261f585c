# SPDX-License-Identifier: Apache-2.0
"""Sends a signal during a blocking call."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

# Long enough for the thread to be inside the call; if it isn't, the test passes, too.
DELAY = 0.02

# Not SIGALRM: the tests' own time-outs may use it.
SIGNAL = signal.SIGUSR1


class AlarmError(Exception):
    """What the handler of `raising_alarm` raises."""


@contextlib.contextmanager
def alarm(action: Callable[[], object]) -> Iterator[None]:
    """After `DELAY` seconds of the block, have a signal handler of this thread call `action`."""

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
    """After `DELAY` seconds of the block, raise an `AlarmError` from a signal handler."""

    def fail() -> None:
        raise AlarmError

    with alarm(fail):
        yield
