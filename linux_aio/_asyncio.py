# SPDX-License-Identifier: Apache-2.0
"""The coroutines of AIOContext that are not worth writing in C++."""

import asyncio

from ._core import AIOContext


async def aenter(context: AIOContext) -> AIOContext:
    return context


async def aclose(context: AIOContext) -> None:
    """Close without blocking the loop.

    close() waits for what can't be cancelled, and io_destroy(2) takes some ten milliseconds even
    if nothing is in flight: both in a thread.
    """
    context._start_closing()
    await asyncio.get_running_loop().run_in_executor(None, context.close)
