# SPDX-License-Identifier: Apache-2.0
"""How those who wait are woken: at once, where the loop looks for completions.

What is yielded to a task is a future in all that tasks ask of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import heapq
import io
import logging
import os
import select
import sys
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from linux_aio import AIOContext, AIOOperation, EventFD
from support.direct import PAGE, direct_file, direct_reason
from support.files import Gate
from support.loops import LOOP_FACTORIES, LoopFactory, run, run_briefly, turns, until
from support.quarantine import Quarantine
from support.workers import PATIENCE

pytest_plugins = ["support.fixtures"]

every_loop = pytest.mark.parametrize("factory", LOOP_FACTORIES)

DATA = bytes(number % 251 for number in range(64 * PAGE))

Number: contextvars.ContextVar[int] = contextvars.ContextVar("Number", default=0)


@pytest.fixture
def direct(tmp_path: Path) -> Iterator[int]:
    """A file whose reads are asynchronous, where the tests' files are on a disk."""
    reason = direct_reason(tmp_path)
    if reason is not None:
        pytest.skip(reason)
    with direct_file(tmp_path / "data", DATA) as fd:
        yield fd


class Wait:
    """A step taken by hand: what a task would have got to wait for."""

    def __init__(self, ctx: AIOContext, gate: Gate) -> None:
        self.coroutine = ctx.poll(gate, select.POLLIN)
        self.waiter: Any = self.coroutine.send(None)
        self.waiter._asyncio_future_blocking = False  # which is a task's to do

    def end(self) -> int:
        with pytest.raises(StopIteration) as stop:
            self.coroutine.send(None)
        result: int = stop.value.value
        return result


# A future, for tasks


def test_before_it_is_over(ctx: AIOContext, gate: Gate) -> None:
    async def main() -> None:
        coroutine = ctx.poll(gate, select.POLLIN)
        waiter: Any = coroutine.send(None)
        assert asyncio.isfuture(waiter)
        assert waiter._asyncio_future_blocking is True
        assert waiter.get_loop() is asyncio.get_running_loop()
        assert not waiter.done()
        assert not waiter.cancelled()
        assert "pending" in repr(waiter)
        for ask in (waiter.result, waiter.exception):
            with pytest.raises(asyncio.InvalidStateError):
                ask()
        coroutine.close()

    run(main())


@pytest.mark.engine("auto", "uring", "threads")  # which don't wait for a pipe in submit
@every_loop
def test_what_is_over_at_once_behind_many_that_nobody_collected(
    factory: LoopFactory, tmp_path: Path
) -> None:
    (tmp_path / "cached").write_bytes(DATA)

    async def main(file: io.FileIO) -> None:
        with AIOContext(300) as context, EventFD() as eventfd:
            reader, writer = os.pipe()
            for number in range(4):
                assert await context.read(4, file, number) == DATA[number : number + 4]
                older = [AIOOperation.read(1, reader) for _ in range(200)]
                for operation in older:
                    operation.submit(context, eventfd)
                os.write(writer, bytes(len(older)))
                told = 0
                while told < len(older):
                    told += eventfd.read()
                async with asyncio.timeout(PATIENCE):
                    assert await context.read(4, file, 8) == DATA[8:12]
                context.getevents(0, timeout=0)
            os.close(reader)
            os.close(writer)

    with io.FileIO(tmp_path / "cached") as file:
        run(main(file), factory)


@every_loop
def test_when_it_is_over(factory: LoopFactory, ctx: AIOContext, gate: Gate) -> None:
    async def main() -> None:
        wait = Wait(ctx, gate)
        gate.open()
        await until(wait.waiter.done)
        assert not wait.waiter.cancelled()
        assert wait.waiter.result() is None
        assert wait.waiter.exception() is None
        assert not wait.waiter.cancel()
        assert "over" in repr(wait.waiter)
        called: list[Any] = []
        wait.waiter.add_done_callback(called.append)
        assert called == []  # never from inside
        await turns(2)
        assert called == [wait.waiter]
        assert wait.end() == select.POLLIN

    run(main(), factory)


@every_loop
def test_cancelled(factory: LoopFactory, ctx: AIOContext, gate: Gate) -> None:
    async def main() -> None:
        wait = Wait(ctx, gate)
        await until(lambda: ctx.in_flight == 1)  # it is no longer queued
        called: list[Any] = []
        wait.waiter.add_done_callback(called.append)
        assert wait.waiter.cancel(msg="enough")
        assert not wait.waiter.cancel()
        assert called == []
        await turns(2)
        assert called == [wait.waiter]
        assert wait.waiter.cancelled()
        assert wait.waiter.done()
        for ask in (wait.waiter.result, wait.waiter.exception):
            with pytest.raises(asyncio.CancelledError, match="enough"):
                ask()
        gate.open()
        await until(lambda: ctx.in_flight == 0)
        await turns(3)
        assert called == [wait.waiter]  # once
        assert wait.end() == select.POLLIN

    run(main(), factory)


@every_loop
def test_a_wait_that_was_cancelled_while_queued_and_goes_on(
    factory: LoopFactory, ctx: AIOContext, gate: Gate
) -> None:
    """As by hand: a task gets the CancelledError instead."""

    async def main() -> None:
        other = asyncio.ensure_future(ctx.poll(gate, select.POLLIN))
        with AIOContext(1) as context:
            poll = asyncio.ensure_future(context.poll(gate, select.POLLIN))
            await until(lambda: context.in_flight == 1)
            coroutine: Any = context.poll(gate, select.POLLIN)
            waiter: Any = coroutine.send(None)
            waiter.cancel()
            gate.open()
            await poll
            await turns(3)
            again: Any = coroutine.send(None)
            await until(again.done)
            with pytest.raises(StopIteration) as stop:
                coroutine.send(None)
            assert stop.value.value == select.POLLIN
        await other

    run(main(), factory)


@every_loop
def test_all_are_called_back_in_order(factory: LoopFactory, ctx: AIOContext, gate: Gate) -> None:
    async def main() -> None:
        wait = Wait(ctx, gate)
        called: list[tuple[int, int]] = []

        def callback(name: int) -> Callable[[object], None]:
            return lambda _: called.append((name, Number.get()))

        for name in (1, 2, 3):
            context = contextvars.copy_context()
            context.run(Number.set, 10 * name)
            wait.waiter.add_done_callback(callback(name), context=context)
        Number.set(40)
        wait.waiter.add_done_callback(callback(4))  # in a copy of the caller's
        Number.set(50)
        gate.open()
        await until(lambda: len(called) == 4)
        assert called == [(1, 10), (2, 20), (3, 30), (4, 40)]
        wait.end()

    run(main(), factory)


def test_callbacks_are_taken_out_again(ctx: AIOContext, gate: Gate) -> None:
    async def main() -> None:
        wait = Wait(ctx, gate)
        called: list[Any] = []
        others: list[Any] = []
        assert wait.waiter.remove_done_callback(called.append) == 0
        wait.waiter.add_done_callback(called.append)
        wait.waiter.add_done_callback(others.append)
        wait.waiter.add_done_callback(called.append)
        assert wait.waiter.remove_done_callback(called.append) == 2
        assert wait.waiter.remove_done_callback(called.append) == 0
        gate.open()
        await until(lambda: others != [])
        await turns(2)
        assert called == []
        assert others == [wait.waiter]
        wait.end()

    run(main())


@pytest.mark.parametrize(
    "call",
    [
        lambda waiter: waiter.add_done_callback(),
        lambda waiter: waiter.add_done_callback(print, nonsense=1),
        lambda waiter: waiter.cancel("a", "b"),
        lambda waiter: waiter.cancel(nonsense=1),
        lambda waiter: type(waiter)(),
    ],
)
def test_wrong_calls(call: Callable[[Any], object], ctx: AIOContext, gate: Gate) -> None:
    async def main() -> None:
        wait = Wait(ctx, gate)
        with pytest.raises(TypeError):
            call(wait.waiter)
        wait.coroutine.close()

    run(main())


def test_several_may_wait_for_it(ctx: AIOContext, gate: Gate) -> None:
    async def main() -> None:
        wait = Wait(ctx, gate)

        async def other() -> None:
            assert await wait.waiter is None

        tasks = [asyncio.create_task(other()) for _ in range(3)]
        await turns(2)
        tasks[1].cancel()
        await turns(2)
        # as with any future that is shared and not shielded
        assert [task.cancelled() for task in tasks] == [False, True, False] or all(
            task.cancelled() for task in tasks
        )
        await asyncio.gather(*tasks, return_exceptions=True)
        wait.coroutine.close()

    run(main())


def test_what_it_refers_to_goes(ctx: AIOContext, gate: Gate) -> None:
    class Callback:
        def __call__(self, _: object) -> None: ...

    async def main() -> None:
        wait = Wait(ctx, gate)
        callback: Any = Callback()
        callback.waiter = wait.waiter  # a cycle
        wait.waiter.add_done_callback(callback)
        wait.waiter.add_done_callback(callback)
        gone = weakref.ref(callback)
        wait.coroutine.close()  # which has the loop call those who wait
        await turns(2)
        del wait, callback
        gc.collect()
        assert gone() is None

    run(main())


# All kinds of tasks


def python_task(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
) -> Any:
    return asyncio.tasks._PyTask(coroutine, loop=loop, **options)  # type: ignore[attr-defined]


def eager_task(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
) -> Any:
    options.pop("eager_start", None)  # uvloop passes it also where asyncio does not know it yet
    make: Any = asyncio.eager_task_factory  # type: ignore[attr-defined,unused-ignore]
    return make(loop, coroutine, **options)


TASK_FACTORIES = [
    pytest.param(None, id="in C"),
    pytest.param(python_task, id="in Python"),
    pytest.param(
        eager_task,
        id="eager",
        marks=pytest.mark.skipif(
            sys.version_info < (3, 12), reason="eager tasks came with Python 3.12"
        ),
    ),
]

every_task = pytest.mark.parametrize("make_task", TASK_FACTORIES)


@every_loop
@every_task
def test_tasks(make_task: Any, factory: LoopFactory, ctx: AIOContext, direct: int) -> None:
    """Of each kind: read, cancelled, out of time, in groups."""

    async def read(number: int) -> int:
        Number.set(number)
        for page in range(number, number + 20):
            await asyncio.sleep(0) if page % 7 == 0 else None
            place = page % 60 * PAGE
            assert await ctx.read(PAGE, direct, place) == DATA[place : place + PAGE]
            assert Number.get() == number
            if make_task is not python_task:  # which asyncio in C knows nothing of
                assert asyncio.current_task() is not None
        return number

    async def wait_in_vain(gate: Gate) -> None:
        async with asyncio.timeout(0.01):
            await ctx.poll(gate, select.POLLIN)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(make_task)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(read(number)) for number in range(40)]
        assert [task.result() for task in tasks] == list(range(40))
        with Gate() as gate:
            if make_task is not python_task:
                with pytest.raises(TimeoutError):
                    await asyncio.create_task(wait_in_vain(gate))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ctx.poll(gate, select.POLLIN), 0.01)
            task = asyncio.create_task(ctx.poll(gate, select.POLLIN))
            await turns(2)
            assert "WakeFuture" in repr(task)
            assert isinstance(task.get_stack(), list)
            task.print_stack(file=io.StringIO())
            # since Python 3.14
            if hasattr(asyncio, "print_call_graph") and make_task is not python_task:
                asyncio.print_call_graph(task, file=io.StringIO())
            task.cancel("enough")
            task.cancel("more than enough")
            with pytest.raises(asyncio.CancelledError):
                await task
            done, pending = await asyncio.wait(
                [asyncio.create_task(ctx.poll(gate, select.POLLIN)) for _ in range(3)], timeout=0.01
            )
            assert (len(done), len(pending)) == (0, 3)
            gate.open()
            done, pending = await asyncio.wait(pending)
            assert {task.result() for task in done} == {select.POLLIN}

    run(main(), factory)


@every_loop
@every_task
def test_cancelled_by_one_that_was_woken_before(
    make_task: Any, factory: LoopFactory, ctx: AIOContext, gate: Gate
) -> None:
    """All have landed: the first that runs cancels the others, of which each ends one way."""
    tasks: list[asyncio.Task[int]] = []
    woken: list[int] = []

    async def wait(number: int) -> int:
        result = await ctx.poll(gate, select.POLLIN)
        woken.append(number)
        if len(woken) == 1:
            for task in tasks:
                assert task is tasks[number] or task.cancel()
        return result

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(make_task)
        tasks.extend(asyncio.create_task(wait(number)) for number in range(20))
        await turns(3)
        gate.open()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results.count(select.POLLIN) == 1
        assert sum(isinstance(result, asyncio.CancelledError) for result in results) == 19
        await until(lambda: ctx.in_flight == 0)
        assert await ctx.poll(gate, select.POLLIN) == select.POLLIN

    run(main(), factory)


# At once


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts what goes through call_soon."""

    count = 0

    def call_soon(self, *arguments: Any, **options: Any) -> Any:  # type: ignore[override]
        self.count += 1
        return super().call_soon(*arguments, **options)


def test_tasks_are_not_woken_by_way_of_the_loop(ctx: AIOContext, gate: Gate) -> None:
    loop = CountingLoop()
    counts: list[int] = []

    async def wait() -> None:
        await ctx.poll(gate, select.POLLIN)
        counts.append(loop.count)

    async def main() -> None:
        tasks = [asyncio.create_task(wait()) for _ in range(5)]
        await turns(3)
        before = loop.count
        gate.open()
        await asyncio.wait(tasks)
        # between them there are but the ends of these tasks
        assert counts[0] == before
        assert counts[-1] - counts[0] <= len(tasks)

    run(main(), lambda: loop)


def test_what_woken_tasks_read_next_is_submitted_in_the_same_turn(
    ctx: AIOContext, direct: int
) -> None:
    loop = CountingLoop()
    tasks, reads = 8, 200

    async def read() -> None:
        for _ in range(reads):
            await ctx.read(PAGE, direct)

    async def main() -> None:
        before = loop.count
        async with asyncio.TaskGroup() as group:
            for _ in range(tasks):
                group.create_task(read())
        # but where the budget of a turn was used up, on a machine that was busy
        assert loop.count - before < tasks * reads / 4

    run(main(), lambda: loop)
    statistics = ctx.statistics()
    assert statistics["submitted"] == tasks * reads


def test_in_debug_mode_what_takes_long_is_found(
    ctx: AIOContext, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    async def slow() -> None:
        await ctx.poll(gate, select.POLLIN)
        time.sleep(0.12)  # noqa: ASYNC251

    async def main() -> None:
        task = asyncio.create_task(slow(), name="the slow one")
        await turns(2)
        gate.open()
        await task

    with caplog.at_level(logging.WARNING, "asyncio"):
        run(main(), debug=True)
    assert any("the slow one" in record.getMessage() for record in caplog.records)


def test_those_woken_do_not_hold_up_the_loop(ctx: AIOContext, gate: Gate) -> None:
    """All have landed, and each takes its time: the rest of the loop runs between them."""
    count, beats = 50, 0
    seen: list[int] = []

    def beat() -> None:
        nonlocal beats
        beats += 1
        if len(seen) < count:
            asyncio.get_running_loop().call_soon(beat)

    async def work() -> None:
        await ctx.poll(gate, select.POLLIN)
        time.sleep(0.001)  # noqa: ASYNC251
        seen.append(beats)

    async def main() -> None:
        tasks = [asyncio.create_task(work()) for _ in range(count)]
        await until(lambda: ctx.in_flight == count)
        await asyncio.sleep(0.02)  # that contexts of other tests had to share is forgotten
        gate.open()
        beat()
        await asyncio.wait(tasks)

    run(main())
    assert len(set(seen)) > count / 10


# Whatever the woken do


@every_loop
def test_callback_that_raises(factory: LoopFactory, ctx: AIOContext, gate: Gate) -> None:
    async def main() -> None:
        complaints: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, about: complaints.append(about))
        waits = [Wait(ctx, gate) for _ in range(3)]
        woken: list[Any] = []

        def fail(waiter: object) -> None:
            woken.append(waiter)
            raise ValueError("mine")

        for wait in waits:
            wait.waiter.add_done_callback(fail)
        gate.open()
        await until(lambda: len(woken) == 3)
        await turns(1)
        assert [str(about["exception"]) for about in complaints] == ["mine"] * 3
        assert all("fail" in about["message"] for about in complaints)
        for wait in waits:
            wait.end()

    run(main(), factory)


@every_loop
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_is_to_end_the_program_ends_the_loop(
    error: type[BaseException], factory: LoopFactory, ctx: AIOContext, gate: Gate
) -> None:
    """And nobody is forgotten: the others are woken when the loop runs again."""
    loop = factory()
    woken: list[int] = []

    async def wait(number: int) -> None:
        await ctx.poll(gate, select.POLLIN)
        woken.append(number)
        if len(woken) == 1:
            raise error

    tasks = [loop.create_task(wait(number)) for number in range(10)]
    run_briefly(loop)
    gate.open()
    with pytest.raises(error):
        loop.run_until_complete(asyncio.sleep(5))
    first = tasks.pop(woken[0])
    loop.run_until_complete(asyncio.wait_for(asyncio.wait(tasks), 5))
    assert sorted(woken) == list(range(10))
    with contextlib.suppress(error):
        first.result()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


@every_loop
def test_the_woken_close_the_context(factory: LoopFactory, gate: Gate) -> None:
    async def main() -> None:
        context = AIOContext(16)

        async def wait() -> int:
            result = await context.poll(gate, select.POLLIN)
            context.close()
            return result

        with Gate() as other:
            tasks = [asyncio.create_task(wait()) for _ in range(8)]
            tasks += [asyncio.create_task(context.poll(other, select.POLLIN)) for _ in range(28)]
            await turns(3)
            gate.open()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            # Closed by the first that is woken: what was not seen ready by then is cancelled.
            assert select.POLLIN in results[:8]
            for result in results:
                assert isinstance(result, (OSError, ValueError)) or result == select.POLLIN
            assert select.POLLIN not in results[8:]
            assert isinstance(results[-1], ValueError)  # its turn never came
            assert context.closed

    run(main(), factory)


@every_loop
def test_the_woken_drop_the_context(factory: LoopFactory, gate: Gate) -> None:
    async def main() -> None:
        context: AIOContext | None = AIOContext(4)
        assert context is not None
        wait: Wait | None = Wait(context, gate)
        gone = weakref.ref(context)

        def drop(_: object) -> None:
            nonlocal context, wait
            assert context is not None
            assert wait is not None
            wait.end()
            context.close()
            context = wait = None

        assert wait is not None
        wait.waiter.add_done_callback(drop)
        gate.open()
        await until(lambda: context is None)
        await until(lambda: (gc.collect(), gone() is None)[1])

    run(main(), factory)


class NestableLoop(asyncio.SelectorEventLoop):
    """Turns of it can be run inside its callbacks, as nest_asyncio makes it of asyncio's."""

    def _run_once(self) -> None:
        loop: Any = self
        loop._process_events(loop._selector.select(0 if loop._ready else 0.001))
        while loop._scheduled and loop._scheduled[0].when() <= self.time():
            handle = heapq.heappop(loop._scheduled)
            handle._scheduled = False
            loop._ready.append(handle)
        for _ in range(len(loop._ready)):
            if loop._ready:
                handle = loop._ready.popleft()
                if not handle.cancelled():
                    handle._run()


def test_the_woken_run_the_loop_inside(ctx: AIOContext, direct: int, gate: Gate) -> None:
    """As nest_asyncio has it: what is awaited in there must not wait for this callback's end."""

    async def read() -> bytes:
        blocks = [await ctx.read(PAGE, direct, page * PAGE) for page in range(10)]
        return b"".join(blocks)

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        results: list[bytes] = []

        def run_inside(_: object) -> None:
            tasks = [loop.create_task(read()) for _ in range(3)]
            give_up = time.monotonic() + 10
            while not all(task.done() for task in tasks):
                loop._run_once()
                assert time.monotonic() < give_up
            results.extend(task.result() for task in tasks)

        await read()  # now it is known that this file's reads had better be submitted together
        waits = [Wait(ctx, gate) for _ in range(3)]
        for wait in waits:
            wait.waiter.add_done_callback(run_inside)
        gate.open()
        await until(lambda: len(results) == 9)
        assert set(results) == {DATA[: 10 * PAGE]}
        for wait in waits:
            wait.end()

    run(main(), NestableLoop)


def test_a_callback_whose_context_is_entered_below(ctx: AIOContext, gate: Gate) -> None:
    """It can't be called at once, from within itself, but is all the same."""
    context = contextvars.copy_context()
    called: list[int] = []

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        wait = Wait(ctx, gate)
        context.run(Number.set, 7)
        wait.waiter.add_done_callback(lambda _: called.append(Number.get()), context=context)

        def run_inside() -> None:
            give_up = time.monotonic() + 10
            while not wait.waiter.done():
                loop._run_once()
                assert time.monotonic() < give_up
            assert called == []

        gate.open()
        context.run(run_inside)
        await turns(2)
        assert called == [7]
        wait.end()

    run(main(), NestableLoop)


def test_a_loop_that_can_not_say_whether_it_is_closed(gate: Gate) -> None:
    """It is taken for open: the context has itself forgotten by it."""

    class Mute(asyncio.SelectorEventLoop):
        def is_closed(self) -> bool:
            if sys._getframe(1).f_code.co_name == "close_it":
                raise RuntimeError("mute")
            return super().is_closed()

    async def main() -> None:
        context = AIOContext(4)
        loop: Any = asyncio.get_running_loop()
        watched = len(loop._selector.get_map())
        wait = Wait(context, gate)
        # Where what was awaited before has used up the turn's time, the poll is queued for the
        # next turn. Closing the context would then refuse it, with a ValueError.
        await until(lambda: context.in_flight == 1)
        assert len(loop._selector.get_map()) == watched + 1

        def close_it() -> None:
            context.close()

        close_it()
        assert len(loop._selector.get_map()) == watched
        with contextlib.suppress(OSError):
            wait.end()

    run(main(), Mute)


# Memory that direct reads land in


def test_aligned_memory_is_used_again(ctx: AIOContext, direct: int, quarantine: Quarantine) -> None:
    async def main() -> None:
        for page in range(200):
            place = page % 48 * PAGE
            block = await ctx.read(16 * PAGE, direct, place)
            assert memoryview(block) == memoryview(DATA)[place : place + 16 * PAGE]

    before = quarantine.given_back(16 * PAGE)
    run(main())
    # of each read, only what it returned is given back
    assert quarantine.given_back(16 * PAGE) - before < 250


def test_aligned_memory_is_kept_in_moderation(
    ctx: AIOContext, direct: int, quarantine: Quarantine
) -> None:
    operations = [AIOOperation.read(16 * PAGE, direct, page % 48 * PAGE) for page in range(60)]
    assert ctx.submit(*operations) == 60
    assert len(ctx.getevents(60)) == 60
    results = [operation.get_result() for operation in operations]
    for page, block in enumerate(results):
        place = page % 48 * PAGE
        assert memoryview(block) == memoryview(DATA)[place : place + 16 * PAGE]
    assert quarantine.given_back(16 * PAGE) >= 50
    assert quarantine.damaged() == 0
