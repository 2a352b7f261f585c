# SPDX-License-Identifier: Apache-2.0
"""One interface to event loops of each kind, for tests that are to pass on all of them.

The fixture `any_loop` of `support.fixtures` gives asyncio, uvloop and Trio, one after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from support.loops import LoopFactory, uvloop_factory
from support.loops import run as run_asyncio
from support.workers import PATIENCE

Result = TypeVar("Result")
Main = Callable[[], Awaitable[Result]]


class Scope:
    """A cancellation scope. It ends by `cancel()`, or by its time-out, if it has one."""

    was_cancelled = False

    def __init__(self, cancel: Callable[[], object]) -> None:
        self.cancel = cancel


class Group:
    """A group of tasks. All of them have ended when its block ends."""

    def __init__(self, start: Callable[..., object], cancel: Callable[[], object]) -> None:
        self.start = start  # (coroutine function, *arguments)
        self.cancel = cancel


class AnyLoop(ABC):
    name: str

    @abstractmethod
    def run(self, main: Main[Result]) -> Result:
        """Run main() in a new loop, for PATIENCE seconds at most."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None: ...

    @abstractmethod
    def scope(self, seconds: float | None = None) -> AbstractAsyncContextManager[Scope]:
        """A block that is cancelled by its Scope or after so many seconds, without an exception."""

    @abstractmethod
    def shield(self) -> AbstractAsyncContextManager[None]:
        """A block that outer scopes don't cancel, if the loop has shields."""

    @abstractmethod
    def group(self) -> AbstractAsyncContextManager[Group]: ...

    @abstractmethod
    async def in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result: ...

    @property
    @abstractmethod
    def cancelled(self) -> type[BaseException]:
        """The exception that is raised in a cancelled task."""

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the loop run until the condition is true."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end
            await self.sleep(0.001)

    async def turns(self, count: int = 1) -> None:
        """Let the loop run so many turns."""
        for _ in range(count):
            await self.sleep(0)


class AsyncioLoop(AnyLoop):
    cancelled = asyncio.CancelledError

    def __init__(self, name: str, factory: LoopFactory) -> None:
        self.name = name
        self.factory = factory

    def run(self, main: Main[Result]) -> Result:
        async def coroutine() -> Result:
            return await main()

        return run_asyncio(coroutine(), self.factory)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    @contextlib.asynccontextmanager
    async def scope(self, seconds: float | None = None) -> AsyncIterator[Scope]:
        loop = asyncio.get_running_loop()
        timer = asyncio.timeout(seconds)
        scope = Scope(lambda: timer.reschedule(loop.time()))
        try:
            async with timer:
                yield scope
        except TimeoutError:
            if not timer.expired():
                raise
            scope.was_cancelled = True

    @contextlib.asynccontextmanager
    async def shield(self) -> AsyncIterator[None]:
        yield

    @contextlib.asynccontextmanager
    async def group(self) -> AsyncIterator[Group]:
        tasks: list[asyncio.Task[Any]] = []

        def cancel() -> None:
            for task in tasks:
                task.cancel()

        async with asyncio.TaskGroup() as group:

            def start(function: Callable[..., Any], *arguments: Any) -> None:
                tasks.append(group.create_task(function(*arguments)))

            yield Group(start, cancel)

    async def in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.to_thread(function, *arguments)


class TrioLoop(AnyLoop):
    name = "trio"

    def __init__(self) -> None:
        import trio

        self.trio: Any = trio

    @property
    def cancelled(self) -> type[BaseException]:
        kind: type[BaseException] = self.trio.Cancelled
        return kind

    def run(self, main: Main[Result]) -> Result:
        async def watched() -> Result:
            with self.trio.fail_after(PATIENCE):
                return await main()

        result: Result = self.trio.run(watched)
        return result

    async def sleep(self, seconds: float) -> None:
        await self.trio.sleep(seconds)

    @contextlib.asynccontextmanager
    async def scope(self, seconds: float | None = None) -> AsyncIterator[Scope]:
        with self.trio.CancelScope() as inner:
            if seconds is not None:
                inner.deadline = self.trio.current_time() + seconds
            scope = Scope(inner.cancel)
            yield scope
        scope.was_cancelled = inner.cancelled_caught

    @contextlib.asynccontextmanager
    async def shield(self) -> AsyncIterator[None]:
        with self.trio.CancelScope(shield=True):
            yield

    @contextlib.asynccontextmanager
    async def group(self) -> AsyncIterator[Group]:
        scopes: list[Any] = []

        async def run(scope: Any, function: Callable[..., Any], arguments: Any) -> None:
            with scope:
                await function(*arguments)

        def cancel() -> None:
            for scope in scopes:
                scope.cancel()

        async with self.trio.open_nursery() as nursery:

            def start(function: Callable[..., Any], *arguments: Any) -> None:
                scopes.append(self.trio.CancelScope())
                nursery.start_soon(run, scopes[-1], function, arguments)

            yield Group(start, cancel)

    async def in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        result: Result = await self.trio.to_thread.run_sync(function, *arguments)
        return result


KINDS = ("asyncio", "uvloop", "trio")

# The loop of the current test, for functions that have no fixture.
current: AnyLoop = AsyncioLoop("asyncio", asyncio.new_event_loop)


def reason_unavailable(name: str) -> str | None:
    """Why there is no loop of this kind here, or None if there is."""
    if name == "asyncio" or importlib.util.find_spec(name) is not None:
        return None
    return f"{name} is not installed"


def make(name: str) -> AnyLoop:
    if name == "trio":
        return TrioLoop()
    return AsyncioLoop(name, asyncio.new_event_loop if name == "asyncio" else uvloop_factory)
