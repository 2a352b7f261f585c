# SPDX-License-Identifier: Apache-2.0
"""Threads that the thread of an event loop may start: it does not wait until they run."""

from __future__ import annotations

import threading


class _NotWaitedFor(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        return True


class BackgroundThread(threading.Thread):
    """A thread whose start() returns at once. It can't be joined before it runs.

    Thread.start() waits for an event that the new thread sets, which takes long on a busy machine.
    At its end, Python waits for the thread as for others; before 3.13 not if it has not begun.
    """

    def start(self) -> None:
        self._started = _NotWaitedFor()
        super().start()
