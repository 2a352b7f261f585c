# SPDX-License-Identifier: Apache-2.0
"""Judges of whether something held up others: the event loop, and another Python thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from support.workers import beside

_T = TypeVar("_T")


@contextmanager
def another_thread_runs(limit: float) -> Iterator[None]:
    """Another Python thread never stands still for so many seconds."""
    longest = 0.0

    def run(over: threading.Event) -> None:
        nonlocal longest
        last = time.monotonic()
        while not over.is_set():
            time.sleep(0.001)
            now = time.monotonic()
            longest = max(longest, now - last)
            last = now

    with beside(run):
        yield
    assert longest < limit


async def beats(body: Awaitable[_T], limit: float) -> _T:
    """Await the body. The loop never stands still for so many seconds meanwhile."""
    longest = 0.0

    async def beat() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - before)

    beating = asyncio.create_task(beat())
    await asyncio.sleep(0.01)  # the body may hold up the loop in its first step
    result = await body
    await asyncio.sleep(0.01)
    beating.cancel()
    assert longest < limit
    return result
