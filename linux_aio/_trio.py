# SPDX-License-Identifier: Apache-2.0
"""What the extension uses of Trio, and the part of it that is better written in Python.

The package imports this module at once, and the module imports nothing of Trio's: a program may
have changed its root directory or its user by the time that it awaits something in a Trio run, and
then nothing can be imported any more.
"""

from __future__ import annotations

import select
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._core import _Watcher


class Run:
    """A run of Trio's: what the extension knows of it, and the task that watches for it.

    Of the methods of asyncio's loops it has those that are needed.
    """

    __slots__ = ("_epoll", "_readers", "_trio", "closed", "token")

    def __init__(self, trio: Any) -> None:
        self._trio = trio
        self._epoll = select.epoll()
        self._readers: dict[int, _Watcher] = {}
        self.token = trio.lowlevel.current_trio_token()
        self.closed = False

    def add_reader(self, fd: int, watcher: _Watcher) -> None:
        """Have the watcher called whenever fd is readable."""
        if self.closed:
            msg = "the Trio run is ending"
            raise RuntimeError(msg)
        self._epoll.register(fd, select.EPOLLIN)
        self._readers[fd] = watcher

    def remove_reader(self, fd: int) -> None:
        """Have it called no longer. Nothing if the run is over."""
        if self._readers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    async def watch(self) -> None:
        """Call the watchers until the run ends: a system task, one for each run.

        All the eventfds are behind one epoll(7). So each context costs a descriptor and not a
        task, and the program may wait for the readability of any of its own.
        """
        try:
            while True:
                await self._wait_and_call()
        finally:
            # Trio ends system tasks last. Others of these may wait for memory that the kernel
            # still writes to: they are woken here.
            with self._trio.CancelScope(shield=True):
                while self._is_awaited():
                    # who is woken by a context that closes, or cancelled, makes nothing readable
                    await self._trio.lowlevel.checkpoint()
                    if self._is_awaited():
                        with self._trio.move_on_after(0.01):
                            await self._wait_and_call()
            self._close()

    async def _wait_and_call(self) -> None:
        epoll = self._epoll
        await self._trio.lowlevel.wait_readable(epoll)
        for fd, _ in epoll.poll(0):
            watcher = self._readers.get(fd)
            if watcher is not None:
                watcher()

    def _is_awaited(self) -> bool:
        return any(watcher.is_awaited for watcher in self._readers.values())

    def _close(self) -> None:
        self.closed = True
        for watcher in list(self._readers.values()):
            watcher.end()
        self._readers.clear()
        self._epoll.close()


def _make_suspension(lowlevel: Any) -> Callable[[Any], object]:
    """Return what makes the object that a coroutine yields to Trio in order to wait.

    Trio has a coroutine function for that, and no name for the object, whose class is called here,
    if it does what it seems to do: that spares a coroutine for each wait.
    """

    def suspension(abort: Any) -> object:
        return lowlevel.wait_task_rescheduled(abort).send(None)

    def abort(_: object) -> object:
        return lowlevel.Abort.SUCCEEDED

    example = suspension(abort)
    kind: Any = type(example)
    try:
        if vars(kind(abort)) == vars(example) == {"abort_func": abort}:
            return kind  # type: ignore[no-any-return]
    except TypeError:
        pass
    return suspension


def api() -> tuple[object, ...]:
    """Return what the extension uses of Trio, in the order of TrioApi in state.hpp."""
    trio: Any = sys.modules["trio"]
    lowlevel: Any = trio.lowlevel
    sniffio: Any = sys.modules.get("sniffio")
    runs = lowlevel.RunVar("linux_aio")

    @lowlevel.enable_ki_protection  # type: ignore[untyped-decorator]
    def current_run() -> Run:
        run: Run | None = runs.get(None)
        if run is None:
            run = Run(trio)
            lowlevel.spawn_system_task(run.watch)
            runs.set(run)
        return run

    def in_old_trio_run() -> bool:
        try:
            lowlevel.current_trio_token()
        except RuntimeError:
            return False
        return True

    # Versions without it, such as 0.22, tell sniffio by a context variable.
    is_old = not hasattr(lowlevel, "in_trio_run")
    return (
        # whose `name` is "trio" where Trio runs
        sniffio.thread_local if sniffio is not None and not is_old else None,
        in_old_trio_run if is_old else lowlevel.in_trio_run,
        current_run,
        lowlevel.current_trio_token,
        lowlevel.current_task,
        trio.current_effective_deadline,
        _make_suspension(lowlevel),
        lowlevel.reschedule,
        lowlevel.Abort.SUCCEEDED,
        lowlevel.Abort.FAILED,
    )
