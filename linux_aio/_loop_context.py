# SPDX-License-Identifier: Apache-2.0
"""The context of the running event loop: one for each loop and process, gone with the loop.

An event loop that is closed lets go of the callbacks that add_reader() gave it. A keeper is such a
callback: it alone owns the context, and closes it when the loop lets go. Under Trio a system task
owns the context, which Trio ends with the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

from ._core import AIOContext

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

# The kernel's queue is a share of fs.aio-max-nr, which all processes use. What exceeds it queues
# up in the context.
MAX_REQUESTS = 256

# Of asyncio's loops (and uvloop's), and of Trio's runs, each by the object that stands for it. A
# context refers to its loop, so it is not referred to from here, or neither would ever go.
_contexts: weakref.WeakKeyDictionary[Any, weakref.ref[AIOContext]] = weakref.WeakKeyDictionary()


class _OfThread(threading.local):
    """The context that this thread asked for last, which is nearly always the one wanted again."""

    def __init__(self) -> None:
        self.loop: Callable[[], Any] = lambda: None
        self.context: Callable[[], AIOContext | None] = lambda: None


_of_thread = _OfThread()


class _Keeper:
    """Owns the context of a loop of asyncio's kind, and is itself owned by that loop alone."""

    def __init__(self, context: AIOContext) -> None:
        self._context = context
        self._pid = os.getpid()
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def __call__(self) -> None:
        """Do nothing: the eventfd is never signalled."""

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        """Close the context.

        What is in flight is cancelled if it might never end; nothing is waited for. The registry
        of contexts closes the rest once it has completed.
        """
        # in a child process the eventfd is a copy, and the context lets go by itself
        with contextlib.suppress(OSError, AttributeError):
            close(self.fd)
        end_context(self._context)
        for task in list(_tasks or ()):
            if task.get_loop().is_closed():
                _tasks.discard(task)  # it will never go on: what it has is finished at its end


def end_context(context: AIOContext) -> None:
    """Close a context whose loop is gone, without waiting for what is in flight."""
    with contextlib.suppress(RuntimeError):  # inherited by a child process
        context._start_closing()
        if context.in_flight == 0:
            context.close()


def _make_for_asyncio(loop: asyncio.AbstractEventLoop) -> AIOContext:
    context = AIOContext(MAX_REQUESTS)
    keeper = _Keeper(context)
    loop.remove_reader(keeper.fd)  # of one with this number that was closed without telling
    loop.add_reader(keeper.fd, keeper)
    return context


async def _keep_in_trio(trio: Any, context: AIOContext) -> None:
    try:
        await trio.sleep_forever()
    finally:
        end_context(context)


def _make_for_trio() -> AIOContext:
    trio: Any = sys.modules["trio"]
    context = AIOContext(MAX_REQUESTS)
    trio.lowlevel.spawn_system_task(_keep_in_trio, trio, context)
    return context


def _trio_run() -> Any:
    """Return what stands for the run of Trio's in this thread, or None."""
    trio = sys.modules.get("trio")
    if trio is None:
        return None
    try:
        return trio.lowlevel.current_trio_token()
    except RuntimeError:
        return None


def loop_context() -> AIOContext:
    """Return the context of the event loop that runs in this thread, which is made if need be.

    RuntimeError if none runs.
    """
    loop: Any = asyncio._get_running_loop()
    if loop is None:
        loop = _trio_run()
        if loop is None:
            msg = "no event loop is running in this thread"
            raise RuntimeError(msg)
    if _of_thread.loop() is loop:
        context = _of_thread.context()
        if context is not None and not context.closed:
            return context
    reference = _contexts.get(loop)
    context = reference() if reference is not None else None
    if context is None or context.closed:
        if isinstance(loop, asyncio.AbstractEventLoop):
            context = _make_for_asyncio(loop)
        else:
            context = _make_for_trio()
        _contexts[loop] = weakref.ref(context)
    _of_thread.loop = weakref.ref(loop)
    _of_thread.context = weakref.ref(context)
    return context


def _forget_all() -> None:
    """In a child process: none of the contexts is of use there."""
    _contexts.clear()
    _of_thread.__init__()  # type: ignore[misc]


os.register_at_fork(after_in_child=_forget_all)


# Tasks that finish what a file left behind; asyncio itself refers to its tasks weakly.
_tasks: set[asyncio.Task[None]] = set()


def _nothing() -> None:
    pass


def _create_task(
    function: Callable[[], Coroutine[Any, Any, None]], otherwise: Callable[[], object]
) -> asyncio.Task[None]:
    """Make a task of the running loop's, which asyncio.run() may cancel before its first step."""

    def note_end(task: asyncio.Task[None]) -> None:
        _tasks.discard(task)
        if task.cancelled():
            otherwise()

    task = asyncio.get_running_loop().create_task(function())
    _tasks.add(task)
    task.add_done_callback(note_end)
    return task


def spawn(
    function: Callable[[], Coroutine[Any, Any, None]], otherwise: Callable[[], object] = _nothing
) -> bool:
    """Have the running loop carry out a coroutine that nobody waits for. False if none runs.

    A loop that ends cancels what it has not carried out: otherwise() is called then, which may wait
    for the disk.
    """
    loop: Any = asyncio._get_running_loop()
    if loop is not None:
        if loop.is_closed():
            return False
        _create_task(function, otherwise)
        return True
    if _trio_run() is None:
        return False

    async def carry_out() -> None:
        try:
            await function()
        except sys.modules["trio"].Cancelled:
            otherwise()
            raise

    sys.modules["trio"].lowlevel.spawn_system_task(carry_out)
    return True


async def complete(
    function: Callable[[], Coroutine[Any, Any, None]], otherwise: Callable[[], object] = _nothing
) -> None:
    """Await what is to be done also for a task that is cancelled, as removing a temporary file.

    Trio and anyio cancel each call of such a task. In Trio, the task waits for the end all the
    same; in asyncio it does not, and a task of the loop's goes on. `otherwise` is as in spawn().
    """
    if asyncio._get_running_loop() is None:
        with sys.modules["trio"].CancelScope(shield=True):
            await function()
        return
    await asyncio.shield(_create_task(function, otherwise))


async def pause(seconds: float) -> None:
    """Sleep, in the kind of loop that runs."""
    if asyncio._get_running_loop() is not None:
        await asyncio.sleep(seconds)
    else:
        await sys.modules["trio"].sleep(seconds)


async def put_off_cancellation(
    started: Coroutine[Any, Any, int], then: Callable[[int], None]
) -> int:
    """Await what was started (see `_start()`), and call `then` with the result.

    A cancellation meanwhile takes effect afterwards.
    """
    if asyncio._get_running_loop() is None:
        with sys.modules["trio"].CancelScope(shield=True):
            result = await started
        then(result)
        return result
    cancellation: BaseException | None = None
    while True:
        try:
            result = await started
            break
        except asyncio.CancelledError as exception:
            cancellation = exception
        except BaseException:
            if cancellation is not None:
                raise cancellation from None
            raise
    then(result)
    if cancellation is not None:
        raise cancellation
    return result
