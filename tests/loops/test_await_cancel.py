# SPDX-License-Identifier: Apache-2.0
"""Cancelling what is awaited: at once, or when the kernel has let go of the program's memory.

Where requests have to be in flight they are held, by a file system that answers when it is told.
"""

from __future__ import annotations

import asyncio
import gc
import os
import select
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest

from linux_aio import AIOContext, AIOOperation
from support.files import Gate, file_in_memory
from support.fusefs import HoldingFS
from support.loops import LOOP_FACTORIES, LoopFactory, run, run_briefly, turns, until
from support.operations import wait_idle
from support.quarantine import Quarantine
from support.workers import PATIENCE

pytest_plugins = ["support.fixtures"]

NBYTES = 4096
ODD = 200_003  # as no other block has
DATA = bytes(number % 199 for number in range(ODD))

Start = Callable[[AIOContext, int, bytearray], Coroutine[Any, Any, Any]]

# The caller's memory that can change: the cancellation is put off.
DEFERRED: dict[str, Start] = {
    "readinto": lambda ctx, fd, buffer: ctx.readinto(buffer, fd),
    "readv": lambda ctx, fd, buffer: ctx.readv([bytearray(8), buffer], fd),
    "write bytearray": lambda ctx, fd, buffer: ctx.write(buffer, fd),
    "write memoryview": lambda ctx, fd, buffer: ctx.write(memoryview(buffer).toreadonly(), fd),
    "writev": lambda ctx, fd, buffer: ctx.writev([b"x" * 8, buffer], fd),
}

# What is ours, or does not change: it takes effect at once.
IMMEDIATE: dict[str, Start] = {
    "read": lambda ctx, fd, _: ctx.read(NBYTES, fd),
    "write bytes": lambda ctx, fd, _: ctx.write(bytes(NBYTES), fd),
    "writev bytes": lambda ctx, fd, _: ctx.writev((bytes(NBYTES), bytes(8)), fd),
}

every_loop = pytest.mark.parametrize("factory", LOOP_FACTORIES)


@pytest.fixture
def direct(fs: HoldingFS) -> Iterator[int]:
    """A file whose requests stay in flight while the file system holds them."""
    fd = os.open(fs.create("data", DATA), os.O_RDWR | os.O_DIRECT)
    yield fd
    fs.unhold()
    os.close(fd)


@pytest.fixture
def fd() -> Iterator[int]:
    with file_in_memory(DATA) as number:
        yield number


async def result_of(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def is_exported(buffer: bytearray) -> bool:
    """Whether somebody holds its memory, so that it can't be resized."""
    try:
        buffer.append(0)
    except BufferError:
        return True
    del buffer[-1]
    return False


async def is_cancelled_by_now(task: asyncio.Task[Any]) -> bool:
    await turns(4)
    return task.cancelled()


# In flight, with memory that can change


@pytest.mark.needs_root
@every_loop
@pytest.mark.parametrize("name", DEFERRED)
def test_put_off_until_the_kernel_has_let_go(
    name: str, factory: LoopFactory, ctx: AIOContext, fs: HoldingFS, direct: int
) -> None:
    buffer = bytearray(NBYTES)
    fs.hold()

    async def main() -> None:
        task = asyncio.create_task(DEFERRED[name](ctx, direct, buffer))
        await until(lambda: fs.held() == 1)
        task.cancel()
        await asyncio.sleep(0.02)
        assert not task.done()
        assert is_exported(buffer)
        fs.release()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not is_exported(buffer)
        assert ctx.in_flight == 0

    run(main(), factory)


@pytest.mark.needs_root
def test_cancelled_again_and_again(ctx: AIOContext, fs: HoldingFS, direct: int) -> None:
    buffer = bytearray(NBYTES)
    fs.hold()

    async def main() -> None:
        task = asyncio.create_task(ctx.readinto(buffer, direct))
        await until(lambda: fs.held() == 1)
        for number in range(5):
            task.cancel(f"number {number}")
            await turns(3)
            assert not task.done()
            assert is_exported(buffer)
        fs.release()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not is_exported(buffer)

    run(main())


@pytest.mark.needs_root
def test_cancelled_twice_in_one_turn_and_answered_before_it(
    ctx: AIOContext, fs: HoldingFS, direct: int
) -> None:
    buffer = bytearray(NBYTES)
    fs.hold()

    async def main() -> None:
        for reap_first in (False, True):
            task = asyncio.create_task(ctx.readinto(buffer, direct))
            await until(lambda: fs.held() == 1)
            task.cancel()
            await turns(2)
            fs.release()
            if reap_first:
                while ctx.in_flight:
                    ctx.getevents(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not is_exported(buffer)

    run(main())


@pytest.mark.needs_root
@pytest.mark.parametrize("answer", ["success", "error"])
def test_answered_while_the_cancellation_waits(
    answer: str, ctx: AIOContext, fs: HoldingFS, direct: int
) -> None:
    buffer = bytearray(NBYTES)
    fs.hold()
    if answer == "error":
        fs.fail(5)

    async def main() -> None:
        task = asyncio.create_task(ctx.readinto(buffer, direct))
        await until(lambda: fs.held() == 1)
        task.cancel("mine")
        await turns(2)
        fs.release()
        with pytest.raises(asyncio.CancelledError):
            await task
        if answer == "success":
            assert buffer == DATA[:NBYTES]

    run(main())


@pytest.mark.needs_root
@every_loop
def test_timeouts(factory: LoopFactory, ctx: AIOContext, fs: HoldingFS, direct: int) -> None:
    buffer = bytearray(NBYTES)
    fs.hold()

    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def expire_when_held(timer: asyncio.Timeout) -> None:
            await until(lambda: fs.held() == 1)
            timer.reschedule(loop.time())
            loop.call_later(0.05, fs.release)

        async def with_timeout(awaitable: Awaitable[Any]) -> None:
            async with asyncio.timeout(None) as timer:
                expiring = asyncio.create_task(expire_when_held(timer))
                try:
                    await awaitable
                finally:
                    await expiring

        with pytest.raises(TimeoutError):
            await with_timeout(ctx.read(NBYTES, direct))
        await until(lambda: fs.held() == 0)
        with pytest.raises(TimeoutError):
            await with_timeout(ctx.readinto(buffer, direct))
        assert not is_exported(buffer)
        loop.call_later(0.05, fs.unhold)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ctx.readinto(buffer, direct), 0.01)
        assert not is_exported(buffer)

    run(main(), factory)


@pytest.mark.needs_root
def test_task_group_waits_for_the_kernel(ctx: AIOContext, fs: HoldingFS, direct: int) -> None:
    buffers = [bytearray(NBYTES) for _ in range(10)]
    fs.hold()

    async def fail() -> None:
        await asyncio.sleep(0.01)
        asyncio.get_running_loop().call_later(0.03, fs.unhold)
        raise KeyError

    async def read_all() -> None:
        async with asyncio.TaskGroup() as group:
            for buffer in buffers:
                group.create_task(ctx.readinto(buffer, direct))
            group.create_task(fail())

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            await read_all()
        assert [type(error) for error in caught.value.exceptions] == [KeyError]
        assert not any(map(is_exported, buffers))

    run(main())


@pytest.mark.needs_root
def test_cancelled_gather(ctx: AIOContext, fs: HoldingFS, direct: int) -> None:
    buffers = [bytearray(NBYTES) for _ in range(10)]
    fs.hold()

    async def main() -> None:
        tasks = [asyncio.create_task(ctx.readinto(buffer, direct)) for buffer in buffers]
        together = asyncio.gather(*tasks)
        await until(lambda: fs.held() == 10)
        together.cancel()
        await turns(2)
        assert all(map(is_exported, buffers))
        fs.release(10)
        with pytest.raises(asyncio.CancelledError):
            await together
        await asyncio.wait(tasks)
        assert not any(map(is_exported, buffers))

    run(main())


@pytest.mark.needs_root
def test_closed_coroutine_keeps_the_memory(
    ctx: AIOContext, fs: HoldingFS, direct: int, quarantine: Quarantine
) -> None:
    fs.hold()

    async def main() -> None:
        coroutine = ctx.readinto(bytearray(ODD), direct)
        coroutine.send(None)
        await until(lambda: fs.held() == 1)
        coroutine.close()
        del coroutine
        gc.collect()
        assert quarantine.given_back(ODD) == 0
        assert ctx.in_flight == 1
        fs.release()
        await until(lambda: ctx.in_flight == 0)
        assert quarantine.given_back(ODD) == 1
        assert quarantine.damaged() == 0

    run(main())


@pytest.mark.needs_root
def test_thrown_into_by_hand(ctx: AIOContext, fs: HoldingFS, direct: int) -> None:
    buffer = bytearray(NBYTES)
    fs.hold()

    async def main() -> None:
        coroutine = ctx.readinto(buffer, direct)
        first = coroutine.send(None)
        await until(lambda: fs.held() == 1)
        second: Any = coroutine.throw(KeyError("x"))
        assert second is not first
        assert asyncio.isfuture(second)
        fs.release()
        second._asyncio_future_blocking = False  # which is a task's to do
        await second
        with pytest.raises(KeyError):
            coroutine.send(None)

    run(main())


# In flight, with memory of our own


@pytest.mark.needs_root
@every_loop
@pytest.mark.parametrize("name", IMMEDIATE)
def test_at_once(
    name: str, factory: LoopFactory, ctx: AIOContext, fs: HoldingFS, direct: int
) -> None:
    fs.hold()

    async def main() -> None:
        task = asyncio.create_task(IMMEDIATE[name](ctx, direct, bytearray()))
        await until(lambda: fs.held() == 1)
        task.cancel()
        assert await is_cancelled_by_now(task)
        assert ctx.in_flight == 1
        fs.release()
        await until(lambda: ctx.in_flight == 0)
        assert ctx.getevents(0) == []

    run(main(), factory)


@pytest.mark.needs_root
def test_a_cancelled_read_keeps_its_memory(
    ctx: AIOContext, fs: HoldingFS, direct: int, quarantine: Quarantine
) -> None:
    fs.hold()

    async def main() -> None:
        task = asyncio.create_task(ctx.read(ODD, direct))
        await until(lambda: fs.held() == 1)
        task.cancel()
        assert await is_cancelled_by_now(task)
        del task
        gc.collect()
        assert quarantine.given_back(ODD) == 0
        fs.release()
        await until(lambda: ctx.in_flight == 0)
        assert quarantine.given_back(ODD) == 1
        assert quarantine.damaged() == 0

    run(main())


@pytest.mark.needs_root
def test_a_cancelled_write_of_bytes_keeps_them(ctx: AIOContext, fs: HoldingFS, direct: int) -> None:
    fs.hold()

    async def main() -> None:
        payload = os.urandom(NBYTES)
        before = sys.getrefcount(payload)
        task = asyncio.create_task(ctx.write(payload, direct))
        await until(lambda: fs.held() == 1)
        task.cancel()
        assert await is_cancelled_by_now(task)
        assert sys.getrefcount(payload) > before
        fs.release()
        await until(lambda: ctx.in_flight == 0)
        assert fs.contents("data")[:NBYTES] == payload
        del task
        assert sys.getrefcount(payload) == before

    run(main())


@every_loop
def test_poll(factory: LoopFactory, ctx: AIOContext, gate: Gate) -> None:
    async def main() -> None:
        task = asyncio.create_task(ctx.poll(gate, select.POLLIN))
        await turns(2)
        task.cancel()
        assert await is_cancelled_by_now(task)
        await until(lambda: ctx.in_flight == 0)  # the kernel cancels it, too
        assert ctx.statistics()["cancelled"] == 1
        gate.open()
        assert await ctx.poll(gate, select.POLLIN) == select.POLLIN

    run(main(), factory)


def test_places_of_cancelled_ones_are_free_when_the_kernel_is_through(gate: Gate) -> None:
    async def main() -> None:
        async with AIOContext(2) as context:
            polls = [asyncio.create_task(context.poll(gate, select.POLLIN)) for _ in range(2)]
            await turns(2)
            last = asyncio.create_task(context.poll(gate, select.POLLIN))
            await turns(2)
            for poll in polls:
                poll.cancel()
            await asyncio.wait(polls)
            await until(lambda: context.in_flight == 1)
            gate.open()
            assert await last == select.POLLIN

    run(main())


# Queued


@every_loop
@pytest.mark.parametrize("name", [*DEFERRED, *IMMEDIATE, "fsync"])
def test_queued(name: str, factory: LoopFactory, fd: int, gate: Gate) -> None:
    buffer = bytearray(NBYTES)
    starts: dict[str, Start] = {
        **DEFERRED,
        **IMMEDIATE,
        "fsync": lambda ctx, fd, _: ctx.fsync(fd),
    }

    async def main() -> None:
        async with AIOContext(1) as context:
            poll = asyncio.create_task(context.poll(gate, select.POLLIN))
            await turns(2)
            tasks = [asyncio.create_task(starts[name](context, fd, buffer)) for _ in range(5)]
            last = asyncio.create_task(context.read(4, fd, 1))
            await turns(2)
            for task in tasks:
                task.cancel()
            await turns(4)
            assert all(task.cancelled() for task in tasks)
            del tasks, task
            assert not is_exported(buffer)
            assert not last.done()
            gate.open()
            assert await last == DATA[1:5]
            await poll
            assert context.statistics()["submitted"] == 2

    run(main(), factory)


def test_queued_timeouts(fd: int, gate: Gate) -> None:
    async def main() -> None:
        async with AIOContext(1) as context:
            poll = asyncio.create_task(context.poll(gate, select.POLLIN))
            await turns(2)
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.005):
                        await context.readinto(bytearray(4), fd)
            poll.cancel()
            assert await context.read(4, fd) == DATA[:4]

    run(main())


def test_in_the_turn_in_which_room_appears(fd: int, gate: Gate) -> None:
    async def main() -> None:
        async with AIOContext(1) as context:
            poll = asyncio.create_task(context.poll(gate, select.POLLIN))
            await turns(2)
            tasks = [asyncio.create_task(context.read(4, fd, at)) for at in range(20)]
            await turns(2)
            poll.add_done_callback(lambda _: [task.cancel() for task in tasks[::2]])
            gate.open()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert results[1::2] == [DATA[at : at + 4] for at in range(1, 20, 2)]
            for at, result in enumerate(results):
                assert result == DATA[at : at + 4] or isinstance(result, asyncio.CancelledError)

    run(main())


# Just started, just completed


@every_loop
def test_before_the_first_step(factory: LoopFactory, ctx: AIOContext, fd: int) -> None:
    async def main() -> None:
        task = asyncio.create_task(ctx.write(b"never", fd))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main(), factory)
    assert ctx.statistics()["submitted"] == 0


@every_loop
@pytest.mark.parametrize("reaped", [False, True])
def test_just_completed(reaped: bool, factory: LoopFactory, ctx: AIOContext, gate: Gate) -> None:
    async def main() -> None:
        task = asyncio.create_task(ctx.poll(gate, select.POLLIN))
        await turns(2)
        gate.open()
        if reaped:
            wait_idle(ctx)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await ctx.poll(gate, select.POLLIN) == select.POLLIN

    run(main(), factory)


def test_after_its_future_was_resolved(ctx: AIOContext, gate: Gate) -> None:
    """The task is about to run: whichever comes first, it ends, and nothing is left."""

    async def main() -> None:
        tasks = [asyncio.create_task(ctx.poll(gate, select.POLLIN)) for _ in range(20)]
        await turns(2)
        tasks[0].add_done_callback(lambda _: [task.cancel() for task in tasks])
        gate.open()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results[0] == select.POLLIN
        for result in results[1:]:
            assert result == select.POLLIN or isinstance(result, asyncio.CancelledError)
        wait_idle(ctx)  # those that were cancelled before our threads saw them ready

    run(main())


# Operations that are awaited


def test_operation_comes_back_to_getevents(ctx: AIOContext, gate: Gate) -> None:
    async def main() -> None:
        operation = AIOOperation.poll(gate, select.POLLIN)
        operation.submit(ctx)
        task = asyncio.create_task(result_of(operation))
        await turns(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(ctx.getevents) == [operation]

    run(main())


@pytest.mark.needs_root
def test_operation_awaited_again_after_a_cancellation(
    ctx: AIOContext, fs: HoldingFS, direct: int
) -> None:
    fs.hold()

    async def main() -> None:
        operation = AIOOperation.read(NBYTES, direct)
        operation.submit(ctx)
        await until(lambda: fs.held() == 1)  # until then it could be cancelled
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.005):
                    await operation
        asyncio.get_running_loop().call_later(0.01, fs.release)
        assert await operation == DATA[:NBYTES]
        assert ctx.getevents(0) == []

    run(main())


@pytest.mark.needs_root
def test_operation_with_the_programs_buffer(ctx: AIOContext, fs: HoldingFS, direct: int) -> None:
    buffer = bytearray(NBYTES)
    fs.hold()

    async def main() -> None:
        operation = AIOOperation.readinto(buffer, direct)
        operation.submit(ctx)
        task = asyncio.create_task(result_of(operation))
        await turns(2)
        await until(lambda: fs.held() == 1)
        task.cancel()
        await turns(4)
        assert not task.done()
        fs.release()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert operation.get_result() == NBYTES
        assert buffer == DATA[:NBYTES]

    run(main())


# Whoever dies


@pytest.mark.needs_root
@every_loop
def test_task_destroyed_while_suspended(
    factory: LoopFactory, ctx: AIOContext, fs: HoldingFS, direct: int, quarantine: Quarantine
) -> None:
    fs.hold()
    loop = factory()
    loop.set_exception_handler(lambda _, __: None)  # "Task was destroyed but it is pending!"
    task = loop.create_task(ctx.readinto(bytearray(ODD), direct))
    run_briefly(loop)
    assert ctx.in_flight == 1
    fs.wait_held(1)
    loop.close()
    del task, loop
    gc.collect()
    assert quarantine.given_back(ODD) == 0
    fs.release()

    async def main() -> None:
        assert await ctx.poll(direct, select.POLLIN) & select.POLLIN

    run(main())
    while ctx.in_flight:
        ctx.getevents(0)
    gc.collect()
    assert quarantine.damaged() == 0


# --- tasks that are destroyed


@pytest.mark.engine("auto", "uring", "threads")  # kernel AIO reads a pipe inside io_submit(2)
@pytest.mark.parametrize("way", ["dropped", "closed"])
@pytest.mark.parametrize("what", ["read", "poll"])
def test_the_place_of_an_endless_request_becomes_free(way: str, what: str) -> None:
    async def wait(context: AIOContext, fd: int) -> None:
        await (context.read(1, fd) if what == "read" else context.poll(fd, select.POLLIN))

    async def main() -> None:
        read_end, write_end = os.pipe()
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        async with AIOContext(4) as context:
            if way == "dropped":
                for _ in range(4):
                    asyncio.create_task(wait(context, read_end))  # noqa: RUF006 - that is the point
                    await asyncio.sleep(0.005)
                gc.collect()
            else:
                for _ in range(4):
                    coroutine = wait(context, read_end)
                    coroutine.send(None)
                    await asyncio.sleep(0.005)
                    coroutine.close()
            with file_in_memory(b"data") as file:
                assert await asyncio.wait_for(context.read(4, file), PATIENCE) == b"data"
            os.write(write_end, b"kept")
            assert await asyncio.wait_for(context.read(4, read_end), PATIENCE) == b"kept"
        os.close(read_end)
        os.close(write_end)

    asyncio.run(main())
