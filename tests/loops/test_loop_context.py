# SPDX-License-Identifier: Apache-2.0
"""The context of the running loop: made when it is first used, gone with the loop."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import warnings
import weakref
from pathlib import Path

import pytest

from linux_aio import AIOContext
from linux_aio._loop_context import loop_context
from support.files import Gate, file_in_memory
from support.forked import in_child
from support.loops import LOOP_FACTORIES, LoopFactory, run, turns
from support.measure import soon

pytest_plugins = ["support.fixtures"]


async def read_something() -> AIOContext:
    with file_in_memory(b"data") as fd:
        assert await loop_context().read(10, fd) == b"data"
    return loop_context()


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def aio_requests() -> int:
    return int(Path("/proc/sys/fs/aio-nr").read_text())


@pytest.mark.parametrize("factory", LOOP_FACTORIES)
def test_there_is_one_for_each_loop(factory: LoopFactory) -> None:
    async def main() -> AIOContext:
        context = await read_something()
        await turns()
        assert await read_something() is context
        assert not context.closed
        return context

    first = run(main(), factory)
    second = run(main(), factory)
    assert first is not second
    assert first.closed
    assert second.closed


def test_no_loop_no_context() -> None:
    with pytest.raises(RuntimeError, match="no event loop"):
        loop_context()


@pytest.mark.parametrize("factory", LOOP_FACTORIES)
def test_many_loops_leave_nothing(factory: LoopFactory) -> None:
    run(read_something(), factory)
    gc.collect()
    before = open_descriptors()
    for _ in range(100):
        assert run(read_something(), factory).closed
    gc.collect()
    assert soon(lambda: open_descriptors() <= before)


class Application:
    """It is held by its loop, as the handler of exceptions, and holds the loop and its tasks."""

    def __init__(self, factory: LoopFactory) -> None:
        self.loop = factory()
        self.loop.set_exception_handler(self.handle)
        self.tasks: list[asyncio.Task[bytes]] = []

    def handle(self, loop: asyncio.AbstractEventLoop, what: object) -> None:
        """It complains of nothing."""

    async def read(self, fd: int, contexts: list[AIOContext]) -> bytes:
        contexts.append(loop_context())
        return await contexts[0].read(10, fd)

    async def begin(self, fd: int, contexts: list[AIOContext]) -> None:
        self.tasks = [self.loop.create_task(self.read(fd, contexts)) for _ in range(3)]
        await turns(3)


@pytest.mark.engine("auto", "uring", "threads")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("factory", LOOP_FACTORIES)
@pytest.mark.parametrize("is_own", [False, True])
def test_closed_loops_in_cycles_with_what_waits_leave_nothing(
    factory: LoopFactory, is_own: bool
) -> None:
    made: list[weakref.ref[AIOContext]] = []

    def run_one() -> None:
        reader, writer = os.pipe()
        application = Application(factory)
        contexts = [AIOContext(8)] if is_own else []
        application.loop.run_until_complete(application.begin(reader, contexts))
        application.loop.close()
        made.append(weakref.ref(contexts[0]))
        os.close(reader)
        os.close(writer)

    run_one()
    gc.collect()
    before = open_descriptors()
    for _ in range(30):
        run_one()

    def is_all_gone() -> bool:
        gc.collect()
        return open_descriptors() <= before and not any(reference() for reference in made)

    assert soon(is_all_gone)


@pytest.mark.parametrize("factory", LOOP_FACTORIES)
def test_a_loop_that_is_closed_while_something_waits(factory: LoopFactory) -> None:
    """What can be cancelled is; nothing is waited for."""
    with Gate() as gate:

        async def wait() -> None:
            await loop_context().poll(gate, 1)

        loop = factory()
        task = loop.create_task(wait())
        loop.call_later(0.01, loop.stop)
        loop.run_forever()
        reference = weakref.ref(task)
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        del task
        loop.close()
        gc.collect()
        assert reference() is None


def test_a_loop_that_is_dropped_open_takes_its_context_with_it() -> None:
    def use() -> weakref.ref[AIOContext]:
        loop = asyncio.new_event_loop()
        return weakref.ref(loop.run_until_complete(read_something()))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # for the loop itself
        reference = use()
        gc.collect()
    assert reference() is None


def test_each_thread_has_that_of_its_loop() -> None:
    contexts: list[AIOContext] = []

    def work() -> None:
        contexts.append(run(read_something()))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(context) for context in contexts}) == 8
    assert all(context.closed for context in contexts)


def test_a_child_makes_its_own() -> None:
    async def main() -> bool:
        parents = await read_something()
        loop = asyncio.get_running_loop()

        def use_in_child() -> bool:
            asyncio._set_running_loop(None)
            return run(read_something()) is not parents and not loop.is_closed()

        result = in_child(use_in_child)
        assert await read_something() is parents
        return result

    assert run(main())


@pytest.mark.engine("auto")
def test_many_loops_leave_the_kernels_limit_alone() -> None:
    run(read_something())
    before = aio_requests()
    for _ in range(30):
        run(read_something())
    # other processes may set up queues of their own meanwhile
    assert aio_requests() < before + 30 * 256
