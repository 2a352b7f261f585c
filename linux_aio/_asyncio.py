# SPDX-License-Identifier: Apache-2.0
"""The coroutines of AIOContext that are better written in Python than in C++.

`import linux_aio` imports this module, too. It can't be imported later: a program may change its
root directory before it closes a context, and then Python no longer finds the module.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING, Any

from ._core import _in_trio

if TYPE_CHECKING:
    import asyncio

    from ._core import AIOContext


async def aenter(context: AIOContext) -> AIOContext:
    return context


async def aclose(context: AIOContext) -> None:
    """Close without blocking the loop.

    With nothing in flight, close() does not wait. Else a new thread waits for the operations that
    can't be cancelled: the threads of the loop's executor may be busy, or gone. If the call is
    cancelled, the context is closed nevertheless.
    """
    if context._start_closing():
        context.close()
        if _in_trio():
            await sys.modules["trio"].lowlevel.cancel_shielded_checkpoint()
        return
    if _in_trio():
        trio: Any = sys.modules["trio"]
        with trio.CancelScope(shield=True):
            # a new limiter, because all of Trio's threads may be busy
            await trio.to_thread.run_sync(context.close, limiter=trio.CapacityLimiter(1))
    else:
        await _close_beside(context, sys.modules["asyncio"].get_running_loop())


async def _close_beside(context: AIOContext, loop: asyncio.AbstractEventLoop) -> None:
    closed: asyncio.Future[None] = loop.create_future()

    def tell(error: BaseException | None) -> None:
        if closed.done():  # the task was cancelled
            return
        if error is None:
            closed.set_result(None)
        else:
            closed.set_exception(error)

    def close() -> None:
        error = None
        try:
            context.close()
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(tell, error)

    try:
        threading.Thread(target=close, name="linux_aio close").start()
    except RuntimeError:  # no thread can be started
        context.close()
    else:
        await closed
