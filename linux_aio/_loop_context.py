# SPDX-License-Identifier: Apache-2.0
"""The context of the running event loop: one for each loop and process, closed with the loop.

When an event loop is closed, it drops the callbacks that add_reader() gave it. A keeper is such a
callback. It is the only owner of the context, and closes it when the loop drops the keeper. Under
Trio a system task owns the context; Trio cancels the task when the run ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

from ._core import AIOContext, _close_soon, _in_trio

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

# The size of the kernel's queue. It counts against fs.aio-max-nr, which all processes share. It is
# no limit of the context: what hangs or waits for a stream would take all its places.
MAX_REQUESTS = 256

# The context of each event loop (asyncio, uvloop) and each run of Trio. A context has a reference
# to its loop. So the references to contexts here are weak: else neither would ever be freed.
_contexts: weakref.WeakKeyDictionary[Any, weakref.ref[AIOContext]] = weakref.WeakKeyDictionary()


class _OfThread(threading.local):
    """The context that this thread used last: nearly always the next call needs the same."""

    def __init__(self) -> None:
        self.loop: Callable[[], Any] = lambda: None
        self.context: Callable[[], AIOContext | None] = lambda: None


_of_thread = _OfThread()


# These are called with each asyncio or uvloop loop that was closed and had a context.
at_loop_end: list[Callable[[asyncio.AbstractEventLoop], object]] = []


# Those of all loops: a child process has copies of their eventfds.
_keepers: weakref.WeakSet[Any] = weakref.WeakSet()


class _Keeper:
    """Owns the context of an asyncio or uvloop loop. Only that loop owns the keeper."""

    def __init__(self, context: AIOContext, loop: asyncio.AbstractEventLoop) -> None:
        self._context = context
        self._loop = weakref.ref(loop)
        self._pid = os.getpid()
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        _keepers.add(self)

    def __call__(self) -> None:
        """Empty the eventfd. We never signal it, but others may have been given it."""
        with contextlib.suppress(OSError):
            os.eventfd_read(self.fd)

    def replace_in_child(self) -> None:
        """Give the child an eventfd of its own in place of its copy, so that it can't signal ours.

        The number stays occupied: the child's copy of the loop still has it in its selector.
        """
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{self.fd}") != "anon_inode:[eventfd]":
                return  # the program has closed it, and the number is another file's
            try:
                own = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            except OSError:  # no number is free
                os.close(self.fd)
                return
            os.dup2(own, self.fd, inheritable=False)
            os.close(own)

    def __del__(
        self,
        close: Callable[[int], None] = os.close,
        getpid: Callable[[], int] = os.getpid,
    ) -> None:
        """Close the context.

        Operations in flight that might never complete are cancelled. The call does not wait: the
        registry of contexts closes the context once the operations have completed.
        """
        with contextlib.suppress(OSError, AttributeError):
            close(self.fd)
        loop = self._loop()
        if loop is not None and loop.is_closed() and getpid() == self._pid:
            for end in at_loop_end or ():
                end(loop)
        end_context(self._context)
        for task in list(_tasks or ()):
            if task.get_loop().is_closed():
                _tasks.discard(task)  # it never runs again; dropping it finishes its files


async def close_descriptor(context: AIOContext, fd: int) -> None:
    """Close it by the context; in the background if that is closed or that of a parent process."""
    if context.closed or context._is_inherited():
        _close_soon(fd)
    else:
        await context._close(fd)


def end_context(context: AIOContext) -> None:
    """Close a context whose loop is gone, without waiting for what is in flight."""
    with contextlib.suppress(RuntimeError):  # this is a child process
        context._start_closing()
        if context.in_flight == 0:
            context.close()


def _make_context() -> AIOContext:
    context = AIOContext(MAX_REQUESTS)
    context._lift_limit()
    return context


def _make_for_asyncio(loop: asyncio.AbstractEventLoop) -> AIOContext:
    context = _make_context()
    keeper = _Keeper(context, loop)
    loop.remove_reader(keeper.fd)  # a stale reader, whose fd was closed and had this number
    loop.add_reader(keeper.fd, keeper)
    return context


async def _keep_in_trio(trio: Any, context: AIOContext) -> None:
    try:
        await trio.sleep_forever()
    finally:
        end_context(context)


def _make_for_trio() -> AIOContext:
    trio: Any = sys.modules["trio"]
    context = _make_context()
    try:
        trio.lowlevel.spawn_system_task(_keep_in_trio, trio, context)
    except RuntimeError as error:
        context.close()
        msg = "the Trio run is ending"
        raise RuntimeError(msg) from error
    return context


def _running_loop() -> Any:
    """Return the loop of this thread, for Trio the token of the run; None if none runs.

    A thread may have both: a loop may host Trio, and a task of one may run the other.
    """
    if _in_trio():
        return sys.modules["trio"].lowlevel.current_trio_token()
    return asyncio._get_running_loop()


def loop_context() -> AIOContext:
    """Return the context of the event loop that runs in this thread; make it if there is none.

    RuntimeError if no loop runs.
    """
    loop = _running_loop()
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
    """In a child process, forget all contexts: they belong to the parent's loops."""
    for keeper in list(_keepers):
        keeper.replace_in_child()
    _contexts.clear()
    _of_thread.__init__()  # type: ignore[misc]


os.register_at_fork(after_in_child=_forget_all)


# The running tasks of spawn() and complete(). asyncio itself has only weak references to tasks.
_tasks: set[asyncio.Task[None]] = set()


def _nothing() -> None:
    pass


def _create_task(
    function: Callable[[], Coroutine[Any, Any, None]], otherwise: Callable[[], object]
) -> asyncio.Task[None]:
    """Make a task of the running loop. Call otherwise() if the task is cancelled.

    asyncio.run() may cancel the task before its first step.
    """

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
    """Have the running loop carry out a coroutine that nobody waits for. False if no loop runs.

    If the loop ends first, it cancels the coroutine. otherwise() is then called, and may block.
    """
    if not _in_trio():
        loop: Any = asyncio._get_running_loop()
        if loop is None or loop.is_closed():
            return False
        _create_task(function, otherwise)
        return True

    async def carry_out() -> None:
        try:
            await function()
        except sys.modules["trio"].Cancelled:
            otherwise()
            raise

    try:
        sys.modules["trio"].lowlevel.spawn_system_task(carry_out)
    except RuntimeError:  # the run is ending
        return False
    return True


async def complete(
    function: Callable[[], Coroutine[Any, Any, None]], otherwise: Callable[[], object] = _nothing
) -> None:
    """Await work that must be done even if the task is cancelled, as removing a temporary file.

    Trio and anyio cancel every await of a cancelled task. In Trio, the task nevertheless waits for
    the end. In asyncio it stops waiting, and another task does the work. `otherwise`: see spawn().
    """
    if _in_trio():
        with shield():
            await function()
        return
    await asyncio.shield(_create_task(function, otherwise))


async def pause(seconds: float) -> None:
    """Sleep, in asyncio or in Trio; with 0, let the other tasks take a step."""
    await sys.modules["trio" if _in_trio() else "asyncio"].sleep(seconds)


def shield() -> contextlib.AbstractContextManager[object]:
    """Shield from cancellations by Trio or anyio, which cancel every await of a cancelled task."""
    module = sys.modules.get("trio" if _in_trio() else "anyio")
    if module is None:
        return contextlib.nullcontext()
    scope: contextlib.AbstractContextManager[object] = module.CancelScope(shield=True)
    return scope


async def raise_if_cancelled() -> None:
    """Raise what cancels the running task, in Trio.

    To be called before an operation begins that no cancellation ends. A task of asyncio that is
    cancelled already has been told.
    """
    if _in_trio():
        await sys.modules["trio"].lowlevel.checkpoint_if_cancelled()


async def put_off_cancellation(
    started: Coroutine[Any, Any, int], then: Callable[[int], None]
) -> int:
    """Await an operation that was started (see `_start()`), and call `then` with the result.

    A cancellation meanwhile takes effect only after that.
    """
    if _in_trio():
        interruption: KeyboardInterrupt | None = None
        with shield():
            while True:
                try:
                    result = await started
                    break
                except KeyboardInterrupt as exception:  # which no scope holds back
                    interruption = interruption or exception
                except BaseException as error:
                    if interruption is not None:
                        raise interruption from error
                    raise
        then(result)
        if interruption is not None:
            raise interruption
        return result
    cancellation: BaseException | None = None
    with contextlib.ExitStack() as stack:
        while True:
            try:
                result = await started
                break
            except asyncio.CancelledError as exception:
                if cancellation is None:
                    stack.enter_context(shield())
                cancellation = exception
            except BaseException:
                if cancellation is not None:
                    raise cancellation from None
                raise
    then(result)
    if cancellation is not None:
        raise cancellation
    return result
