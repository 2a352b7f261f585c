# SPDX-License-Identifier: Apache-2.0
"""Gate: for what a task waits that another task or thread lets go on."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import TYPE_CHECKING, Any

from ._core import _in_trio

if TYPE_CHECKING:
    from collections.abc import Callable


class Gate:
    """An event of the running loop, asyncio or Trio. Any thread may set it: another loop's, too."""

    __slots__ = ("_call", "_claim", "_event", "_thread")

    def __init__(self) -> None:
        self._claim = threading.Lock()
        self._thread = threading.get_ident()
        self._event: Any
        self._call: Callable[[Callable[[], object]], object]
        if _in_trio():
            trio = sys.modules["trio"]
            self._event = trio.Event()
            self._call = trio.lowlevel.current_trio_token().run_sync_soon
        else:
            self._event = asyncio.Event()
            self._call = asyncio.get_running_loop().call_soon_threadsafe

    def set(self) -> bool:
        """Let the waiting task go on. Return False if its loop was closed."""
        try:
            if self._thread == threading.get_ident():
                self._event.set()
            else:
                self._call(self._event.set)
        except RuntimeError:
            return False
        return True

    def claim(self) -> bool:
        """Return True to the first caller only: it passes on the turn of a task that can't run."""
        return self._claim.acquire(blocking=False)

    async def wait(self) -> None:
        await self._event.wait()
