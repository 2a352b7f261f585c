# SPDX-License-Identifier: Apache-2.0
"""Requests whose descriptors go through a socket, beside those of the user's other processes.

The kernel counts the descriptors that are on their way through sockets for the user, and allows as
many as the limit of the process that sends one more: `ETOOMANYREFS` in unix(7). So a test with a
low limit may be refused one because of other tests that run at the same time, and asks again.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from linux_aio import AIOContext, AIOOperation
from support.workers import PATIENCE

Result = TypeVar("Result")


def submit_beside_others(
    operation: AIOOperation[object],
    context: AIOContext,
    refusals: tuple[int, ...] = (errno.ETOOMANYREFS,),
) -> None:
    """Submit it, again as long as it is refused with one of these errors."""
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            assert operation.submit(context) == 1
        except OSError as error:
            if error.errno not in refusals or time.monotonic() > give_up:
                raise
            time.sleep(0.01)
        else:
            return


async def beside_others(begin: Callable[[], Awaitable[Result]]) -> Result:
    """Begin it and await it, again as long as it is refused."""
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            return await begin()
        except OSError as error:
            if error.errno != errno.ETOOMANYREFS or time.monotonic() > give_up:
                raise
            await asyncio.sleep(0.01)
