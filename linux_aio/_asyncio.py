# SPDX-License-Identifier: Apache-2.0
"""The coroutines of AIOContext that are better written in Python than in C++.

`import linux_aio` imports this module, too. It can't be imported later: a program may change its
root directory before it closes a context, and then Python no longer finds the module.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

from ._core import _in_trio
from ._threads import BackgroundThread

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._core import AIOContext


async def aenter(context: AIOContext) -> AIOContext:
    return context


async def aclose(context: AIOContext) -> None:
    """Close without blocking the loop.

    With nothing in flight, close() does not wait. Else a new thread waits for the operations that
    can't be cancelled: the threads of the loop's executor may be busy, or gone. If the call is
    cancelled, the context is closed nevertheless.
    """
    is_trio = _in_trio()
    if context._start_closing():
        context.close()
        if is_trio:
            await sys.modules["trio"].lowlevel.cancel_shielded_checkpoint()
    elif is_trio:
        await _close_beside_trio(context)
    else:
        await _close_beside_asyncio(context)


async def _close_beside_asyncio(context: AIOContext) -> None:
    loop = sys.modules["asyncio"].get_running_loop()
    closed = loop.create_future()

    def tell(error: BaseException | None) -> None:
        if closed.done():  # the task was cancelled
            return
        if error is None:
            closed.set_result(None)
        else:
            closed.set_exception(error)

    if _start_closer(context, lambda error: loop.call_soon_threadsafe(tell, error)):
        await closed


async def _close_beside_trio(context: AIOContext) -> None:
    trio: Any = sys.modules["trio"]
    token = trio.lowlevel.current_trio_token()
    closed = trio.Event()
    errors: list[BaseException] = []

    def tell(error: BaseException | None) -> None:
        if error is not None:
            errors.append(error)
        closed.set()

    with trio.CancelScope(shield=True):
        if _start_closer(context, lambda error: token.run_sync_soon(tell, error)):
            await closed.wait()
        else:
            await trio.lowlevel.checkpoint()
    if errors:
        raise errors.pop()


def _start_closer(context: AIOContext, tell: Callable[[BaseException | None], object]) -> bool:
    """Close the context in a new thread, which then calls tell(), with the error if one was raised.

    Where no thread can be started, close the context here, and return False.
    """

    def close() -> None:
        error = None
        try:
            context.close()
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has ended; Trio's error is one as well
            tell(error)

    try:
        BackgroundThread(target=close, name="linux_aio close").start()
    except RuntimeError:  # no thread can be started
        context.close()
        return False
    return True
