# SPDX-License-Identifier: Apache-2.0
"""The parts of Trio that the extension uses, and its code for Trio that is written in Python.

`import linux_aio` imports this module, too, and the module itself does not import Trio: a program
may change its root directory or its user before it awaits something in a Trio run, and then Python
no longer finds modules.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._core import _Watcher


_runs: weakref.WeakSet[Any] = weakref.WeakSet()


class Run:
    """A run of Trio, and the system task that watches eventfds for the extension.

    It has those methods of an asyncio loop that the extension calls.
    """

    __slots__ = ("__weakref__", "_epoll", "_is_parents", "_readers", "_trio", "closed", "token")

    def __init__(self, trio: Any) -> None:
        self._trio = trio
        self._epoll = select.epoll()
        self._readers: dict[int, _Watcher] = {}
        self.token = trio.lowlevel.current_trio_token()
        self.closed = False
        self._is_parents = False
        _runs.add(self)

    def close_in_child(self) -> None:
        """Close the child's copy of the epoll(7), to which it could add files of its own."""
        self._is_parents = self.closed = True
        self._readers.clear()
        with contextlib.suppress(OSError):
            self._epoll.close()

    def add_reader(self, fd: int, watcher: _Watcher) -> None:
        """Have the watcher called whenever fd is readable."""
        if self.closed:
            msg = "the Trio run is ending"
            if self._is_parents:
                msg = "the Trio run is that of the parent process"
            raise RuntimeError(msg)
        self._epoll.register(fd, select.EPOLLIN)
        self._readers[fd] = watcher

    def remove_reader(self, fd: int) -> None:
        """Stop calling the watcher of fd. Do nothing if the run is over."""
        if self._readers.pop(fd, None) is not None:
            with contextlib.suppress(OSError):  # the program has closed the number
                self._epoll.unregister(fd)

    async def watch(self) -> None:
        """Call the watchers until the run ends: a system task, one for each run.

        One epoll(7) has all the eventfds. So a context costs a descriptor, and no task; and the
        program itself can wait until one of its eventfds is readable.
        """
        try:
            while True:
                await self._wait_and_call()
        finally:
            # Trio cancels its system tasks last. Other system tasks may wait until the kernel no
            # longer writes to their memory: this task, shielded, still wakes them.
            with self._trio.CancelScope(shield=True):
                while self._is_awaited():
                    # tasks woken by a cancellation or a closing context make no fd readable
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


def _close_in_child() -> None:
    for run in list(_runs):
        run.close_in_child()


os.register_at_fork(after_in_child=_close_in_child)


def _make_suspension(lowlevel: Any) -> Callable[[Any], object]:
    """Return a function that makes the object that a coroutine yields to Trio to wait.

    Trio offers only a coroutine function that yields the object. If the object's class can be
    called directly, that saves one coroutine for each wait.
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
    """Return the objects of Trio that the extension uses, ordered as TrioApi in state.hpp."""
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

    def is_within_asyncio() -> bool:
        """Return whether this thread's task of asyncio runs the task of Trio, not the reverse."""
        asyncio: Any = sys.modules["asyncio"]
        try:
            inner = lowlevel.current_task().coro.cr_frame
            outer = asyncio.current_task().get_coro().cr_frame
        except (RuntimeError, AttributeError):
            return False
        frame: Any = sys._getframe()
        while frame is not None and frame is not inner and frame is not outer:
            frame = frame.f_back
        return frame is not None and frame is inner

    # Versions without in_trio_run, such as 0.22, set a context variable of sniffio's.
    is_old = not hasattr(lowlevel, "in_trio_run")
    return (
        # the attribute `name` of this object is "trio" in a thread where Trio runs
        sniffio.thread_local if sniffio is not None and not is_old else None,
        in_old_trio_run if is_old else lowlevel.in_trio_run,
        is_within_asyncio,
        current_run,
        lowlevel.current_trio_token,
        lowlevel.current_task,
        trio.current_effective_deadline,
        _make_suspension(lowlevel),
        lowlevel.reschedule,
        lowlevel.Abort.SUCCEEDED,
        lowlevel.Abort.FAILED,
    )
