# SPDX-License-Identifier: Apache-2.0
"""anyio's cancel scopes around a call that has to wait for memory that the kernel uses.

On asyncio, anyio cancels the tasks of a cancelled scope anew in each turn of the loop, until they
have left it.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import linux_aio
from linux_aio import AIOContext, aligned_buffer
from support.fusefs import HoldingFS

anyio: Any = pytest.importorskip("anyio")

pytest_plugins = ["support.fixtures"]

BLOCK = 4096


class CountingSelector(selectors.EpollSelector):
    """Counts the turns of its loop."""

    turns = 0

    def select(self, timeout: float | None = None) -> Any:
        self.turns += 1
        return super().select(timeout)


@pytest.fixture
def held(fs: HoldingFS) -> Iterator[int]:
    fd = os.open(fs.create("held", b"x" * BLOCK), os.O_RDONLY | os.O_DIRECT)
    yield fd
    fs.unhold()
    os.close(fd)


@pytest.mark.parametrize("native", [False, True], ids=["", "and the task"])
def test_a_deferred_cancellation_lets_the_loop_sleep(
    fs: HoldingFS, held: int, native: bool
) -> None:
    selector = CountingSelector()
    ended: list[bool] = []

    async def main() -> None:
        buffer = aligned_buffer(BLOCK)
        task: Any = asyncio.current_task()
        outer = anyio.CancelScope()

        async def release(ctx: AIOContext) -> None:
            await asyncio.to_thread(fs.wait_held, 1)
            outer.cancel()
            await asyncio.sleep(0.05)
            before = selector.turns
            if native:
                task.cancel()
            await asyncio.sleep(0.3)
            assert not ended
            assert ctx.in_flight == 1
            turns.append(selector.turns - before)
            threading.Timer(0.01, fs.unhold).start()

        async with AIOContext() as ctx:
            fs.hold()
            releaser = asyncio.create_task(release(ctx))
            try:
                with outer, anyio.CancelScope():
                    await ctx.readinto(buffer, held)
                ended.append(outer.cancelled_caught)
            except asyncio.CancelledError:
                ended.append(outer.cancelled_caught)
                task.uncancel()
            await releaser
            assert bytes(buffer) == b"x" * BLOCK
            # the scopes are as they were: a new one works, and is not cancelled
            with anyio.CancelScope() as scope:
                await anyio.sleep(0)
            assert not scope.cancelled_caught

    turns: list[int] = []
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(main())
    assert len(ended) == 1
    assert native or ended == [True]
    assert turns[0] < 100  # thousands, if it spins


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_scope_stays_cancelled_after_the_wait(fs: HoldingFS, held: int, backend: str) -> None:
    """Who swallows the exception is cancelled again at its next call."""
    pytest.importorskip(backend)
    seen: list[str] = []

    async def main() -> None:
        buffer = aligned_buffer(BLOCK)
        cancelled = anyio.get_cancelled_exc_class()
        async with AIOContext() as ctx:
            fs.hold()
            with anyio.move_on_after(5) as scope:
                async with anyio.create_task_group() as group:

                    async def release() -> None:
                        with anyio.CancelScope(shield=True):
                            await anyio.to_thread.run_sync(fs.wait_held, 1)
                            scope.cancel()
                            await anyio.sleep(0.05)
                            fs.unhold()

                    group.start_soon(release)
                    try:
                        await ctx.readinto(buffer, held)
                    except cancelled:
                        seen.append("the call")
                    try:
                        await anyio.sleep(5)
                    except cancelled:
                        seen.append("the next")
                        raise
            assert scope.cancelled_caught

    anyio.run(main, backend=backend)
    assert seen == ["the call", "the next"]


@pytest.mark.engine("auto", "uring", "threads")  # kernel AIO waits in the loop's thread
def test_a_cancelled_write_lets_the_loop_sleep(fs: HoldingFS) -> None:
    """A large write to a file ends before its cancellation is raised."""
    path = fs.create("target", b"")
    selector = CountingSelector()

    async def main() -> None:
        async with linux_aio.open(path, "wb", buffering=0) as file:
            fs.hold()
            asyncio.get_running_loop().call_later(0.3, fs.unhold)
            with anyio.move_on_after(0.02) as scope:
                await file.write(bytearray(b"y" * BLOCK))
            assert scope.cancelled_caught
            assert selector.turns < 100

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(main())
