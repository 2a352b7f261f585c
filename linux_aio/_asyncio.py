# SPDX-License-Identifier: Apache-2.0
"""The coroutines of AIOContext that are not worth writing in C++.

The package imports this module at once: a program may have changed its root directory by the time
that it closes a context, and then nothing can be imported any more.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ._core import _in_trio

if TYPE_CHECKING:
    from ._core import AIOContext


async def aenter(context: AIOContext) -> AIOContext:
    return context


async def aclose(context: AIOContext) -> None:
    """Close without blocking the loop.

    close() waits for what can't be cancelled, and io_destroy(2) takes some ten milliseconds even
    if nothing is in flight: both in a thread.
    """
    context._start_closing()
    if _in_trio():
        trio: Any = sys.modules["trio"]
        with trio.CancelScope(shield=True):  # a cancelled close closes all the same
            await trio.to_thread.run_sync(context.close)
    else:
        asyncio: Any = sys.modules["asyncio"]
        await asyncio.get_running_loop().run_in_executor(None, context.close)
