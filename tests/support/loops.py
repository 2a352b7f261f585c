# SPDX-License-Identifier: Apache-2.0
"""asyncio's and uvloop's event loops for tests, which fail if a loop reports a problem."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from support.workers import PATIENCE

Result = TypeVar("Result")
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def uvloop_factory() -> asyncio.AbstractEventLoop:
    """Make a loop of uvloop's. The test is skipped if uvloop is not installed."""
    loop: asyncio.AbstractEventLoop = pytest.importorskip("uvloop").new_event_loop()
    return loop


LOOP_FACTORIES = [
    pytest.param(asyncio.new_event_loop, id="asyncio"),
    pytest.param(
        uvloop_factory,
        id="uvloop",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("uvloop") is None, reason="uvloop is not installed"
        ),
    ),
]


def run(
    main: Coroutine[Any, Any, Result],
    factory: LoopFactory = asyncio.new_event_loop,
    *,
    debug: bool = False,
) -> Result:
    """Run it in a new loop. Fail if it hangs, or if the loop has reported any problem.

    Such problems are exceptions in callbacks, and exceptions of tasks that nobody retrieved.
    """
    complaints: list[str] = []

    async def watched() -> Result:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, what: complaints.append(repr(what)))
        async with asyncio.timeout(PATIENCE):
            return await main

    with asyncio.Runner(debug=debug, loop_factory=factory) as runner:
        result = runner.run(watched())
        gc.collect()
    assert not complaints, "\n".join(complaints)
    return result


def run_briefly(loop: asyncio.AbstractEventLoop) -> None:
    """Run two turns of the loop, without checking for problems or closing it."""
    loop.call_soon(lambda: loop.call_soon(loop.stop))
    loop.run_forever()


async def turns(count: int = 1) -> None:
    """Let the loop run so many turns."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until the condition is true."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
