# SPDX-License-Identifier: Apache-2.0
"""A long blocking call in a thread of its own, awaited from any event loop.

The thread notifies the loop by an eventfd. The waiting task awaits the eventfd by the extension's
own awaitables only, so it works on every kind of loop that they work on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ._core import _in_trio
from ._loop_context import loop_context, pause, shield
from ._threads import BackgroundThread

_T = TypeVar("_T")

# After so many seconds, end() looks whether a thread has finished that it can't be notified by.
_LOOK_AGAIN = 0.01


class Stopped(Exception):  # noqa: N818 - no error: the caller gave up
    """Raised by `Worker.check` in the thread, once `Worker.stop` was called."""


class Worker(Generic[_T]):
    """A thread that runs `function(worker)`, which calls `worker.check()` now and then."""

    def __init__(
        self, function: Callable[[Worker[_T]], _T], stop: Callable[[], None] | None = None
    ) -> None:
        loop_context()  # fails, if it must, before there is a thread to wait for
        self._function = function
        self._tell = stop  # called by stop(), so that the thread ends sooner
        self._loop: Any = None if _in_trio() else asyncio._get_running_loop()
        self._result: _T | None = None
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._lock = threading.Lock()  # held while the eventfd is written or closed
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.finished = False
        _workers.add(self)
        try:
            BackgroundThread(target=self._run, name="linux_aio bulk").start()
        except BaseException:
            self._close()
            raise

    def _run(self) -> None:
        try:
            self._result = self._function(self)
        except BaseException as error:
            self._error = error
        self.finished = True
        self.notify()

    @property
    def wake_fd(self) -> int:
        """The eventfd that wakes the loop; -1 once it is closed."""
        return self._fd

    def notify(self) -> None:
        """Wake the loop: the thread has news."""
        with self._lock:
            if self._fd >= 0:
                os.eventfd_write(self._fd, 1)

    def stop(self) -> None:
        """Ask the thread to end soon."""
        self._stop.set()
        if self._tell is not None:
            self._tell()

    def stop_for_nobody(self) -> None:
        """Stop the thread if its loop no longer runs: then nobody waits for the result."""
        if self._loop is not None and not self._loop.is_running():
            self.stop()

    def check(self) -> None:
        """Raise Stopped if the thread is to end. Only the thread calls this."""
        if self._stop.is_set():
            raise Stopped

    def result(self) -> _T:
        """Return or raise the function's result, once it has finished."""
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    async def news(self) -> None:
        """Wait until the thread notifies, or has finished."""
        if not self.finished:
            await loop_context().poll(self._fd, select.POLLIN)
        # The lock is not needed: only this thread reads and closes the eventfd. Once the worker has
        # finished, there may be nothing to read.
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._fd)

    async def end(self) -> None:
        """Wait until the thread has finished. A cancellation meanwhile takes effect only then."""
        cancellation: BaseException | None = None
        with shield():
            while not self.finished:
                try:
                    try:
                        await self.news()
                    except (OSError, RuntimeError):
                        # no descriptor is free for the wait, or the context is gone with its loop
                        await pause(_LOOK_AGAIN)
                except _cancellations() as exception:
                    cancellation = exception
        if cancellation is not None:
            raise cancellation

    def _close(self) -> None:
        _workers.discard(self)
        with self._lock:
            fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    async def __aenter__(self) -> Worker[_T]:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, _: object) -> None:
        """Stop the thread, and wait until it has ended: it uses descriptors of the program's.

        A generator that is dropped when its loop no longer runs can't wait.
        """
        self.stop()
        loop_runs = self._loop is None or self._loop.is_running()
        try:
            if loop_runs or not isinstance(error, GeneratorExit):
                await self.end()
        finally:
            self._close()


# The workers that have an eventfd. A child process closes its copies.
_workers: set[Worker[Any]] = set()


def _close_in_child() -> None:
    """In a child process, which has no threads, close the copies of the eventfds."""
    for worker in list(_workers):
        worker._lock = threading.Lock()
        worker._close()


os.register_at_fork(after_in_child=_close_in_child)


def _stop_for_nobody() -> None:
    """Stop the workers at the interpreter's end, which waits for their threads."""
    for worker in list(_workers):
        worker.stop_for_nobody()


# concurrent.futures ends its threads by the same function
with contextlib.suppress(AttributeError, RuntimeError):
    threading._register_atexit(_stop_for_nobody)  # type: ignore[attr-defined]


def _cancellations() -> tuple[type[BaseException], ...]:
    """Return the exceptions that end() puts off: asyncio's; in Trio none: shield() does it."""
    return () if _in_trio() else (asyncio.CancelledError,)


async def run_in_thread(
    function: Callable[[Callable[[], None], Callable[[int, int], None] | None], _T],
    progress: Callable[[int, int], object] | None,
) -> _T:
    """Run function(check, report) in a thread, and await it. Call progress in the loop's thread."""
    latest: list[tuple[int, int]] = []

    def work(worker: Worker[_T]) -> _T:
        def report(done: int, total: int) -> None:
            latest[:] = [(done, total)]
            worker.notify()

        return function(worker.check, report if progress is not None else None)

    async with Worker(work) as worker:
        while True:
            await worker.news()
            finished = worker.finished
            if latest and progress is not None:
                progress(*latest.pop())
            if finished:
                return worker.result()
