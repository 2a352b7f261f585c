# SPDX-License-Identifier: Apache-2.0
"""Contexts and event loops: which one a context serves, and how each outlives the other."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import errno
import gc
import os
import select
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from linux_aio import AIOContext, AIOOperation
from support.files import Gate, file_in_memory, is_readable
from support.fusefs import HoldingFS
from support.loops import LOOP_FACTORIES, LoopFactory, run, run_briefly, turns, until
from support.measure import open_fds, soon
from support.workers import PATIENCE, finish, start

pytest_plugins = ["support.fixtures"]

DATA = bytes(number % 251 for number in range(4096))

every_loop = pytest.mark.parametrize("factory", LOOP_FACTORIES)


@pytest.fixture
def fd() -> Iterator[int]:
    with file_in_memory(DATA) as number:
        yield number


async def result_of(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def poll(context: AIOContext, gate: Gate) -> asyncio.Task[int]:
    return asyncio.create_task(context.poll(gate, select.POLLIN))


class File:
    """A file object that does something when it is asked for its number."""

    def __init__(self, fd: int, action: Callable[[], object]) -> None:
        self.fd = fd
        self.action = action

    def fileno(self) -> int:
        action, self.action = self.action, lambda: None
        action()
        return self.fd


# Closing


@every_loop
def test_aclose_ends_what_is_in_flight_and_queued(factory: LoopFactory, gate: Gate) -> None:
    async def main() -> None:
        context = AIOContext(2)
        polls = [poll(context, gate) for _ in range(5)]
        await turns(2)
        await context.aclose()
        assert context.closed
        results = await asyncio.gather(*polls, return_exceptions=True)
        assert [getattr(result, "errno", None) for result in results[:2]] == [errno.ECANCELED] * 2
        assert [type(result) for result in results[2:]] == [ValueError] * 3
        assert "closed" in str(results[2])
        await context.aclose()  # harmless
        with pytest.raises(ValueError, match="closed"):
            await context.poll(gate, select.POLLIN)

    run(main(), factory)


@every_loop
def test_async_with(factory: LoopFactory, fd: int, gate: Gate) -> None:
    async def main() -> None:
        async with AIOContext(2) as context:
            assert await context.read(4, fd) == DATA[:4]
            polls = [poll(context, gate) for _ in range(3)]
            await turns(2)
        assert context.closed
        results = await asyncio.gather(*polls, return_exceptions=True)
        assert isinstance(results[2], ValueError)
        with pytest.raises(ValueError, match="closed"):
            async with context:
                pass

    run(main(), factory)


@pytest.mark.needs_root
@every_loop
def test_aclose_waits_without_blocking_the_loop(factory: LoopFactory, fs: HoldingFS) -> None:
    direct = os.open(fs.create("data", DATA), os.O_RDWR | os.O_DIRECT)
    buffer = bytearray(len(DATA))
    fs.hold()

    async def main() -> None:
        context = AIOContext(2)
        reads = [
            asyncio.create_task(context.readinto(buffer, direct)),
            asyncio.create_task(context.read(len(DATA), direct)),
            asyncio.create_task(context.read(len(DATA), direct)),
        ]
        await until(lambda: fs.held() == 2)
        closing = asyncio.create_task(context.aclose())
        await asyncio.sleep(0.03)
        assert not closing.done()
        assert isinstance(reads[2].exception(), ValueError)
        assert not reads[0].done()
        fs.release()
        assert await reads[0] == len(DATA)
        assert await reads[1] == DATA
        await closing
        assert buffer == DATA

    try:
        run(main(), factory)
    finally:
        fs.unhold()
        os.close(direct)


@pytest.mark.needs_root
def test_aclose_that_is_cancelled(fs: HoldingFS) -> None:
    direct = os.open(fs.create("data", DATA), os.O_RDWR | os.O_DIRECT)
    fs.hold()

    async def main() -> None:
        context = AIOContext(2)
        read = asyncio.create_task(context.read(len(DATA), direct))
        await until(lambda: fs.held() == 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await context.aclose()
        assert context.closed
        fs.release()
        await context.aclose()
        assert await read == DATA

    try:
        run(main())
    finally:
        fs.unhold()
        os.close(direct)


def test_close_in_the_loops_thread(gate: Gate) -> None:
    async def main() -> None:
        context = AIOContext(2)
        polls = [poll(context, gate) for _ in range(3)]
        await turns(2)
        context.close()
        async with asyncio.timeout(5):
            results = await asyncio.gather(*polls, return_exceptions=True)
        assert isinstance(results[2], ValueError)

    run(main())


@every_loop
def test_close_in_another_thread(factory: LoopFactory, gate: Gate) -> None:
    async def main() -> None:
        context = AIOContext(2)
        polls = [poll(context, gate) for _ in range(5)]
        await turns(2)
        closing = start(context.close)
        async with asyncio.timeout(5):
            results = await asyncio.gather(*polls, return_exceptions=True)
        assert all(isinstance(result, ValueError) for result in results[2:])
        await asyncio.to_thread(finish, closing)

    run(main(), factory)


@every_loop
def test_nothing_of_it_is_left(factory: LoopFactory, fd: int, gate: Gate) -> None:
    async def main() -> None:
        await asyncio.to_thread(lambda: None)
        before = open_fds()
        for _ in range(20):
            async with AIOContext(2) as context:
                await context.read(4, fd)
                polls = [poll(context, gate) for _ in range(3)]
                await turns(2)
            await asyncio.gather(*polls, return_exceptions=True)
            await turns(2)
        assert soon(lambda: open_fds() <= before)

    run(main(), factory)


# The loop ends first


@every_loop
def test_asyncio_run_again_with_the_same_context(
    factory: LoopFactory, ctx: AIOContext, fd: int, gate: Gate
) -> None:
    async def main() -> None:
        later = poll(ctx, gate)
        assert await ctx.read(4, fd) == DATA[:4]
        await turns(2)
        gate.open()
        assert await later == select.POLLIN
        gate.shut()

    for _ in range(5):
        run(main(), factory)


@every_loop
def test_the_loop_it_serves(factory: LoopFactory, ctx: AIOContext, fd: int) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert ctx.loop is loop  # before anything is awaited, too: aiofile asks for it
        await ctx.read(4, fd)
        assert ctx.loop is loop

    run(main(), factory)
    run(main(), factory)


@every_loop
def test_loop_closed_under_the_context(
    factory: LoopFactory, ctx: AIOContext, fd: int, gate: Gate
) -> None:
    loop = factory()
    loop.set_exception_handler(lambda _, __: None)  # "Task was destroyed but it is pending!"
    tasks = [loop.create_task(ctx.poll(gate, select.POLLIN)) for _ in range(100)]
    for _ in range(100):  # in how many turns they are submitted is the engine's choice
        run_briefly(loop)
        if ctx.in_flight == ctx.max_requests:
            break
    assert ctx.in_flight == ctx.max_requests
    loop.close()
    gate.open()

    async def main() -> None:
        assert await ctx.read(4, fd) == DATA[:4]
        assert await ctx.poll(gate, select.POLLIN) == select.POLLIN
        assert ctx.in_flight == 0

    run(main(), factory)
    assert not any(task.done() for task in tasks)
    del tasks
    gc.collect()
    run(main(), factory)


def test_tasks_of_a_closed_loop_that_go_late(ctx: AIOContext, fd: int, gate: Gate) -> None:
    """They are not counted among those that wait in the loop that the context serves by then."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, __: None)
    tasks = [loop.create_task(ctx.poll(gate, select.POLLIN)) for _ in range(3)]
    run_briefly(loop)
    loop.close()

    async def main() -> None:
        waiting = poll(ctx, gate)
        await turns(2)
        tasks.clear()
        gc.collect()
        with pytest.raises(RuntimeError, match="another event loop"):
            await asyncio.to_thread(run, ctx.read(4, fd))
        gate.open()
        assert await waiting == select.POLLIN

    run(main())


def test_closed_after_its_loop(gate: Gate) -> None:
    context = AIOContext(2)

    async def main() -> None:
        tasks = [poll(context, gate) for _ in range(3)]
        await turns(2)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    run(main())
    context.close()


@every_loop
def test_closed_after_its_loop_with_tasks_left(factory: LoopFactory, gate: Gate) -> None:
    context = AIOContext(2)
    loop = factory()
    loop.set_exception_handler(lambda _, __: None)
    tasks = [loop.create_task(context.poll(gate, select.POLLIN)) for _ in range(5)]
    run_briefly(loop)
    loop.close()
    context.close()
    assert context.in_flight == 0
    del tasks
    gc.collect()


# A second loop


def test_second_loop_while_the_first_is_idle(ctx: AIOContext, fd: int, gate: Gate) -> None:
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        for _ in range(3):
            for loop in (first, second):
                assert loop.run_until_complete(ctx.read(4, fd)) == DATA[:4]
                loop.call_later(0.005, gate.open)
                assert loop.run_until_complete(ctx.poll(gate, select.POLLIN)) == select.POLLIN
                assert ctx.loop is loop
                gate.shut()
    finally:
        first.close()
        second.close()


@every_loop
def test_another_threads_loop(factory: LoopFactory, ctx: AIOContext, fd: int, gate: Gate) -> None:
    async def main() -> None:
        waiting = poll(ctx, gate)
        await turns(2)
        for awaited in (ctx.read(4, fd), ctx.poll(gate, select.POLLIN)):
            with pytest.raises(RuntimeError, match="another event loop"):
                await asyncio.to_thread(run, awaited)
        gate.open()
        assert await waiting == select.POLLIN
        # now it is idle
        assert await asyncio.to_thread(run, ctx.read(4, fd)) == DATA[:4]
        assert await ctx.read(4, fd) == DATA[:4]
        gate.shut()
        asyncio.get_running_loop().call_later(0.01, gate.open)
        assert await ctx.poll(gate, select.POLLIN) == select.POLLIN

    run(main(), factory)


def test_another_loop_that_comes_in_the_middle_of_the_first_step(
    ctx: AIOContext, fd: int, gate: Gate
) -> None:
    """The file object lets another thread use the context, which seems to be idle then."""

    def let_in() -> None:
        def use_it() -> None:
            try:
                run(ctx.read(4, fd))
            except RuntimeError as error:
                errors.append(str(error))

        finish(start(use_it))

    errors: list[str] = []

    async def main() -> None:
        file = File(gate.fileno(), lambda: None)
        task = asyncio.create_task(ctx.poll(file, select.POLLIN))
        file.action = let_in
        await turns(3)
        gate.open()
        assert await asyncio.wait_for(task, 5) == select.POLLIN

    run(main())


class IntrudedLoop(asyncio.SelectorEventLoop):
    """Does something in the midst of being told what to watch."""

    intrude: Callable[[], object] = int

    def add_reader(self, *arguments: Any) -> None:  # type: ignore[override]
        super().add_reader(*arguments)
        intrude, self.intrude = self.intrude, int
        intrude()


def test_another_loop_that_comes_while_the_first_is_told(ctx: AIOContext, gate: Gate) -> None:
    """The context serves the one that was faster; the other is told to forget it."""
    loop, intruder = IntrudedLoop(), asyncio.new_event_loop()
    tasks: list[asyncio.Task[int]] = []

    def intrude() -> None:
        # a thread has one task that runs, from Python 3.14 on for all of its loops
        current = asyncio.current_task(loop)
        assert current is not None
        asyncio.tasks._leave_task(loop, current)
        asyncio._set_running_loop(None)
        tasks.append(intruder.create_task(ctx.poll(gate, select.POLLIN)))
        run_briefly(intruder)
        asyncio._set_running_loop(loop)
        asyncio.tasks._enter_task(loop, current)

    async def main() -> None:
        watched = len(loop._selector.get_map())  # type: ignore[attr-defined]
        loop.intrude = intrude
        with pytest.raises(RuntimeError, match="serves another event loop"):
            await ctx.poll(gate, select.POLLIN)
        assert len(loop._selector.get_map()) == watched  # type: ignore[attr-defined]

    run(main(), lambda: loop)
    gate.open()
    assert intruder.run_until_complete(tasks[0]) == select.POLLIN
    intruder.close()


# Threads that reap


class Reaper:
    """A thread that takes completions out of the kernel, again and again."""

    def __init__(self, look: Callable[[], object]) -> None:
        self._look = look
        self._end = threading.Event()
        self._thread = start(self._run)

    def _run(self) -> None:
        while not self._end.is_set():
            self._look()

    def stop(self) -> None:
        self._end.set()
        finish(self._thread)


@every_loop
@pytest.mark.parametrize("look", ["getevents", "get_result", "done"])
def test_a_foreign_thread_that_reaps(look: str, factory: LoopFactory, ctx: AIOContext) -> None:
    """Futures are resolved in the loop's thread, or debug mode complains of call_soon()."""

    async def main() -> None:
        with Gate() as never, Gate() as gate:
            other = AIOOperation.poll(never, select.POLLIN)
            other.submit(ctx)

            def take() -> None:
                if look == "get_result":
                    with pytest.raises(BlockingIOError):
                        other.get_result()
                elif look == "done":
                    assert not other.done
                else:
                    assert ctx.getevents(1, timeout=0.01) == []

            reaper = Reaper(take)
            try:
                async with asyncio.timeout(30):
                    for _ in range(5):
                        waiting = [poll(ctx, gate) for _ in range(10)]
                        await turns(2)
                        gate.open()
                        assert await asyncio.gather(*waiting) == [select.POLLIN] * 10
                        gate.shut()
            finally:
                reaper.stop()
            ctx.cancel(other)

    run(main(), factory, debug=True)


@pytest.mark.parametrize("look", ["get_result", "done"])
def test_a_foreign_thread_that_looks_at_what_is_awaited(look: str, ctx: AIOContext) -> None:
    async def main() -> None:
        with Gate() as gate:
            current: list[AIOOperation[Any]] = [AIOOperation.fsync(gate)]

            def take() -> None:
                operation = current[0]
                with contextlib.suppress(BlockingIOError, RuntimeError):
                    operation.done if look == "done" else operation.get_result()

            reaper = Reaper(take)
            try:
                async with asyncio.timeout(10):
                    for _ in range(200):
                        operation = AIOOperation.poll(gate, select.POLLIN)
                        operation.submit(ctx)
                        current[0] = operation
                        asyncio.get_running_loop().call_soon(gate.open)
                        assert await operation == select.POLLIN
                        gate.shut()
            finally:
                reaper.stop()

    run(main())


def test_threads_submit_while_a_loop_awaits(ctx: AIOContext, fd: int) -> None:
    async def main() -> None:
        def use() -> None:
            for number in range(300):
                operation = AIOOperation.read(8, fd, number)
                try:
                    operation.submit(ctx)
                except BlockingIOError:
                    continue
                while not operation.done:
                    pass
                assert operation.get_result() == DATA[number : number + 8]

        threads = [start(use) for _ in range(3)]
        for _ in range(10):
            reads = [ctx.read(8, fd, at) for at in range(200)]
            assert await asyncio.gather(*reads) == [DATA[at : at + 8] for at in range(200)]
        await asyncio.to_thread(finish, *threads)

    run(main())


# What the loop keeps


class Token:
    """Something that a context variable may hold."""


variable: contextvars.ContextVar[Token] = contextvars.ContextVar("variable")


@every_loop
def test_nobodys_context_variables_are_kept(
    factory: LoopFactory, ctx: AIOContext, fd: int, gate: Gate
) -> None:
    async def use() -> weakref.ref[Token]:
        token = Token()
        variable.set(token)
        await ctx.read(4, fd)
        waiting = poll(ctx, gate)
        reads = [asyncio.create_task(ctx.read(4, fd, at)) for at in range(500)]
        await asyncio.gather(*reads)
        gate.open()
        await waiting
        return weakref.ref(token)

    async def main() -> None:
        token = await asyncio.create_task(use())
        await turns(3)
        gc.collect()
        assert token() is None

    run(main(), factory)


@every_loop
@pytest.mark.filterwarnings("ignore:unclosed <linux_aio:ResourceWarning")
def test_the_loop_does_not_keep_the_context(factory: LoopFactory, fd: int, gate: Gate) -> None:
    async def main() -> None:
        before = open_fds()
        context = AIOContext(4)
        await context.read(4, fd)
        waiting = poll(context, gate)
        await turns(2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        while context.in_flight:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        dropped = weakref.ref(context)
        del context, waiting
        await turns(3)
        gc.collect()
        assert dropped() is None
        await turns(2)
        assert soon(lambda: open_fds() <= before)

    run(main(), factory)


@every_loop
@pytest.mark.filterwarnings("ignore:unclosed <linux_aio:ResourceWarning")
def test_dropped_by_another_thread(factory: LoopFactory, fd: int) -> None:
    async def main() -> None:
        await asyncio.to_thread(lambda: None)
        before = open_fds()
        contexts = [AIOContext(4)]
        await contexts[0].read(4, fd)
        await asyncio.to_thread(contexts.clear)
        await asyncio.sleep(0.01)
        gc.collect()
        assert soon(lambda: open_fds() <= before)

    run(main(), factory)


# Numbers that are closed and used again


@every_loop
def test_number_that_was_closed_without_telling_the_loop(
    factory: LoopFactory, ctx: AIOContext, gate: Gate
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        stale = [os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(10)]
        heard: list[int] = []
        for number in stale:
            loop.add_reader(number, heard.append, number)
        await turns(2)
        for number in stale:
            os.close(number)
        waiting = poll(ctx, gate)  # its eventfd gets one of those numbers
        await turns(2)
        gate.open()
        async with asyncio.timeout(5):
            assert await waiting == select.POLLIN
        assert heard == []
        for number in stale:
            loop.remove_reader(number)

    run(main(), factory)


@every_loop
def test_contexts_that_take_each_others_numbers(factory: LoopFactory, fd: int, gate: Gate) -> None:
    async def main() -> None:
        numbers = set()
        for _ in range(20):
            context = AIOContext(4)
            numbers.add(context.fileno)
            waiting = poll(context, gate)
            await turns(2)
            gate.open()
            async with asyncio.timeout(5):
                assert await waiting == select.POLLIN
            gate.shut()
            context.close()
            await turns(1)
        assert len(numbers) < 20

    run(main(), factory)


@every_loop
def test_program_that_watches_the_context_itself(
    factory: LoopFactory, ctx: AIOContext, fd: int, gate: Gate
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        collected: list[AIOOperation] = []
        loop.add_reader(ctx.fileno, lambda: collected.extend(ctx.getevents(0)))
        waiting = poll(ctx, gate)
        mine = [AIOOperation.read(4, fd, at) for at in range(10)]
        assert ctx.submit(*mine) == 10
        await until(lambda: len(collected) == 10)
        gate.open()
        assert await waiting == select.POLLIN
        loop.remove_reader(ctx.fileno)
        # threads of ours may complete them in another order
        assert sorted(collected, key=mine.index) == mine

    run(main(), factory)


@every_loop
@pytest.mark.parametrize("collected_first", [True, False])
def test_program_that_watches_while_its_operation_is_awaited(
    collected_first: bool, factory: LoopFactory, ctx: AIOContext, fd: int, gate: Gate
) -> None:
    """One number tells of both: neither the program nor the loop misses what is its own."""

    async def main() -> None:
        number = ctx.fileno
        awaited = AIOOperation.poll(gate, select.POLLIN)
        mine = AIOOperation.read(4, fd)
        awaited.submit(ctx)
        waiting = asyncio.create_task(result_of(awaited))
        await turns(3)
        mine.submit(ctx)
        await until(lambda: mine.done)
        assert is_readable(number, PATIENCE)
        if collected_first:
            gate.open()
            assert ctx.getevents(0) == [mine]
            assert await waiting == select.POLLIN
        else:
            gate.open()
            assert await waiting == select.POLLIN
            await turns(2)
            assert is_readable(number, PATIENCE)
            assert ctx.getevents(0) == [mine]
        await turns(2)
        assert not is_readable(number)

    run(main(), factory)


# Other libraries


@every_loop
def test_aiofile(factory: LoopFactory, tmp_path: Path) -> None:
    aiofile = pytest.importorskip("aiofile")

    async def main() -> None:
        async with AIOContext(4) as context:
            async with aiofile.async_open(tmp_path / "file", "wb+", context=context) as file:
                await file.write(b"Hello\nworld\n")
                file.seek(0)
                assert await file.read() == b"Hello\nworld\n"
            async with aiofile.AIOFile(tmp_path / "file", "r+", context=context) as file:
                await asyncio.gather(*(file.write(f"{at:04}", at * 4) for at in range(100)))
                await file.fsync()
                assert await file.read(8, 40) == "00100011"
                reader = aiofile.LineReader(file)
                assert await reader.readline()

    run(main(), factory)


def test_aiofile_in_two_runs(ctx: AIOContext, tmp_path: Path) -> None:
    aiofile = pytest.importorskip("aiofile")
    (tmp_path / "file").write_bytes(DATA)

    async def main() -> None:
        async with aiofile.async_open(tmp_path / "file", "rb", context=ctx) as file:
            assert await file.read(4) == DATA[:4]

    run(main())
    run(main())
