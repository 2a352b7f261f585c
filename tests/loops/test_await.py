# SPDX-License-Identifier: Apache-2.0
"""What AIOContext.read() and its like return is a coroutine, and an operation can be awaited."""

from __future__ import annotations

import asyncio
import errno
import gc
import inspect
import os
import select
import sys
import warnings
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from linux_aio import AIOContext, AIOOperation, EventFD
from support.files import Gate, contents, file_in_memory, refuse_writes
from support.loops import LOOP_FACTORIES, LoopFactory, run, turns, until
from support.operations import wait_done
from support.workers import finish, start

pytest_plugins = ["support.fixtures"]

DATA = bytes(number % 251 for number in range(4096))

Start = Callable[[AIOContext, int], Coroutine[Any, Any, Any]]


@pytest.fixture
def fd() -> Iterator[int]:
    with file_in_memory(DATA) as number:
        yield number


async def result_of(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


STARTS: dict[str, Start] = {
    "read": lambda ctx, fd: ctx.read(5, fd, 3),
    "readinto": lambda ctx, fd: ctx.readinto(bytearray(5), fd, 3),
    "readv": lambda ctx, fd: ctx.readv([bytearray(2), bytearray(3)], fd, 3),
    "write": lambda ctx, fd: ctx.write(b"hello", fd, 3),
    "writev": lambda ctx, fd: ctx.writev([b"he", b"llo"], fd, 3),
    "fsync": lambda ctx, fd: ctx.fsync(fd),
    "fdsync": lambda ctx, fd: ctx.fdsync(fd),
    "poll": lambda ctx, fd: ctx.poll(fd, select.POLLIN),
}

RESULTS: dict[str, Any] = {
    "read": DATA[3:8],
    "fsync": None,
    "fdsync": None,
    "poll": select.POLLIN,
}

every_method = pytest.mark.parametrize("name", STARTS)
every_loop = pytest.mark.parametrize("factory", LOOP_FACTORIES)


# Results


@every_loop
@every_method
def test_result(name: str, factory: LoopFactory, ctx: AIOContext, fd: int) -> None:
    assert run(result_of(STARTS[name](ctx, fd)), factory) == RESULTS.get(name, 5)
    assert ctx.in_flight == 0
    assert ctx.getevents(0) == []


def test_readinto_fills_the_buffer(ctx: AIOContext, fd: int) -> None:
    buffer = bytearray(8)
    assert run(result_of(ctx.readinto(memoryview(buffer)[1:6], fd, 3))) == 5
    assert buffer == b"\0" + DATA[3:8] + b"\0\0"
    buffer.append(0)  # nobody holds it


def test_readv_fills_the_buffers(ctx: AIOContext, fd: int) -> None:
    buffers = bytearray(2), bytearray(3)
    assert run(result_of(ctx.readv(buffers, fd, 3))) == 5
    assert b"".join(buffers) == DATA[3:8]
    for buffer in buffers:
        buffer.append(0)


@pytest.mark.parametrize("name", ["write", "writev"])
def test_writes_are_in_the_file(name: str, ctx: AIOContext, fd: int) -> None:
    run(result_of(STARTS[name](ctx, fd)))
    assert contents(fd) == DATA[:3] + b"hello" + DATA[8:]


def test_keywords(ctx: AIOContext, fd: int) -> None:
    assert run(result_of(ctx.read(nbytes=5, fd=fd, offset=3, priority=0, flags=0))) == DATA[3:8]
    assert run(result_of(ctx.write(payload=b"x", fd=fd, offset=1))) == 1
    assert run(result_of(ctx.poll(fd=fd, events=select.POLLIN))) == select.POLLIN


def test_end_of_file(ctx: AIOContext, fd: int) -> None:
    assert run(result_of(ctx.read(100, fd, len(DATA) - 11))) == DATA[-11:]
    assert run(result_of(ctx.read(100, fd, len(DATA)))) == b""


@every_loop
def test_what_has_to_wait(factory: LoopFactory, ctx: AIOContext, gate: Gate) -> None:
    async def main() -> int:
        task = asyncio.create_task(ctx.poll(gate, select.POLLIN))
        await turns(5)
        assert not task.done()
        gate.open()
        return await task

    assert run(main(), factory) == select.POLLIN


# Coroutines


@every_method
def test_is_a_coroutine(name: str, ctx: AIOContext, fd: int) -> None:
    coroutine: Any = STARTS[name](ctx, fd)
    assert isinstance(coroutine, Coroutine)
    assert inspect.isawaitable(coroutine)
    assert asyncio.iscoroutine(coroutine)
    assert name in getattr(coroutine, "__qualname__")  # noqa: B009
    assert name in repr(coroutine)
    coroutine.close()
    coroutine.close()  # harmless
    assert ctx.statistics()["submitted"] == 0


@every_loop
def test_create_task_gather_and_ensure_future(
    factory: LoopFactory, ctx: AIOContext, fd: int
) -> None:
    async def main() -> None:
        task = asyncio.create_task(ctx.read(4, fd, 1), name="reader")
        assert task.get_name() == "reader"
        assert await task == DATA[1:5]
        assert await asyncio.ensure_future(ctx.read(4, fd, 2)) == DATA[2:6]
        results = await asyncio.gather(*(ctx.read(4, fd, number) for number in range(200)))
        assert results == [DATA[number : number + 4] for number in range(200)]

    run(main(), factory)


@every_loop
def test_task_group(factory: LoopFactory, ctx: AIOContext, fd: int) -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ctx.read(4, fd, number)) for number in range(200)]
        assert [task.result() for task in tasks] == [DATA[at : at + 4] for at in range(200)]

    run(main(), factory)


@every_loop
def test_wait_for(factory: LoopFactory, ctx: AIOContext, fd: int, gate: Gate) -> None:
    async def main() -> None:
        assert await asyncio.wait_for(ctx.read(4, fd), 10) == DATA[:4]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ctx.poll(gate, select.POLLIN), 0.01)

    run(main(), factory)


def test_run_coroutine_threadsafe(ctx: AIOContext, fd: int) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        def call() -> bytes:
            return asyncio.run_coroutine_threadsafe(ctx.read(4, fd), loop).result()

        assert await loop.run_in_executor(None, call) == DATA[:4]

    run(main())


def test_stepped_by_hand_outside_a_loop(ctx: AIOContext, fd: int) -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        ctx.read(4, fd).send(None)
    coroutine = ctx.read(4, fd)
    with pytest.raises(TypeError, match="non-None"):
        coroutine.send(1)
    coroutine.close()


def test_second_await(ctx: AIOContext, fd: int) -> None:
    async def main() -> None:
        coroutine = ctx.read(4, fd)
        assert await coroutine == DATA[:4]
        with pytest.raises(RuntimeError, match="already awaited"):
            await coroutine
        with pytest.raises(RuntimeError, match="already awaited"):
            await asyncio.create_task(coroutine)
        with pytest.raises(RuntimeError, match="already awaited"):
            coroutine.throw(ValueError)
        coroutine.close()

    run(main())


def test_second_await_while_the_first_waits(ctx: AIOContext, gate: Gate) -> None:
    async def main() -> None:
        coroutine = ctx.poll(gate, select.POLLIN)
        first = asyncio.create_task(result_of(coroutine))
        await turns()
        with pytest.raises(RuntimeError, match="already awaited"):
            await coroutine
        gate.open()
        assert await first == select.POLLIN

    run(main())


def test_thrown_at_before_the_first_step(ctx: AIOContext, fd: int) -> None:
    coroutine = ctx.read(4, fd)
    with pytest.raises(KeyError):
        coroutine.throw(KeyError("x"))
    with pytest.raises(RuntimeError, match="already awaited"):
        coroutine.send(None)
    assert ctx.statistics()["submitted"] == 0


@every_method
def test_never_awaited_warns(name: str, ctx: AIOContext, fd: int) -> None:
    coroutines = [STARTS[name](ctx, fd)]
    with pytest.warns(RuntimeWarning, match=f"{name}.* was never awaited"):
        coroutines.clear()


def test_awaited_ones_dont_warn(ctx: AIOContext, fd: int) -> None:
    run(result_of(ctx.read(4, fd)))
    gc.collect()


@every_method
def test_debug_mode(name: str, ctx: AIOContext, fd: int) -> None:
    async def main() -> Any:
        task = asyncio.create_task(STARTS[name](ctx, fd))
        assert name in repr(task)
        return await task

    assert run(main(), debug=True) == RESULTS.get(name, 5)


# Re-entered by the file object that is asked for its number


class Meddler:
    """A file object that does something when it is asked for its number."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.action: Callable[[], object] | None = None
        self.raised: BaseException | None = None

    def fileno(self) -> int:
        action, self.action = self.action, None
        try:
            if action is not None:
                action()
        except BaseException as error:
            self.raised = error
        return self.fd


@pytest.mark.parametrize("meddling", ["send", "throw", "close"])
def test_its_own_file_object_meddles_with_the_coroutine(
    meddling: str, ctx: AIOContext, fd: int
) -> None:
    file = Meddler(fd)

    async def main() -> bytes:
        coroutine = ctx.read(4, file)
        file.action = {
            "send": lambda: coroutine.send(None),
            "throw": lambda: coroutine.throw(KeyError("x")),
            "close": coroutine.close,
        }[meddling]
        return await coroutine

    # As of a coroutine that is executing. In a new thread, with its budget untouched, the file is
    # asked in the first step.
    assert finish(start(run, main())) == [DATA[:4]]
    assert isinstance(file.raised, ValueError)


def test_the_file_object_closes_the_context(fd: int) -> None:
    context = AIOContext(4)
    file = Meddler(fd)
    coroutine = context.read(4, file)
    file.action = context.close
    with pytest.raises(ValueError, match="closed"):
        run(result_of(coroutine))


# Errors


def test_errors_name_the_operation(ctx: AIOContext, fd: int) -> None:
    refuse_writes(fd)

    async def main() -> None:
        with pytest.raises(PermissionError, match=f"write of 5 bytes at offset 3 of fd {fd}"):
            await ctx.write(b"hello", fd, 3)
        with pytest.raises(OSError, match="read of 4 bytes") as caught:
            await ctx.read(4, 1 << 20)
        assert caught.value.errno == errno.EBADF

    run(main())


def test_wrong_arguments_are_raised_by_the_call(ctx: AIOContext, fd: int) -> None:
    anything: Any = ctx
    with pytest.raises(TypeError):
        anything.read("4", fd)
    with pytest.raises(BufferError):
        anything.readinto(b"not writable", fd)
    with pytest.raises(ValueError, match="2147479552"):
        anything.read(1 << 31, fd)


def test_closed_context(fd: int) -> None:
    context = AIOContext(4)
    coroutine = context.read(4, fd)
    context.close()
    with pytest.raises(ValueError, match="closed"):
        run(result_of(coroutine))


def test_an_error_in_a_task_group_ends_the_others(ctx: AIOContext, gate: Gate) -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.poll(gate, select.POLLIN))
            group.create_task(ctx.read(4, 1 << 20))

    with pytest.raises(ExceptionGroup) as caught:
        run(main())
    assert [type(error) for error in caught.value.exceptions] == [OSError]


# Operations


@every_loop
def test_await_operation(factory: LoopFactory, ctx: AIOContext, fd: int, gate: Gate) -> None:
    async def main() -> None:
        done = AIOOperation.read(4, fd)
        done.submit(ctx)
        assert await done == DATA[:4]
        assert await done == DATA[:4]  # as get_result, it may be asked again
        later = AIOOperation.poll(gate, select.POLLIN)
        later.submit(ctx)
        asyncio.get_running_loop().call_later(0.01, gate.open)
        assert await later == select.POLLIN
        assert ctx.getevents(0) == []

    run(main(), factory)


def test_await_operation_that_fails(ctx: AIOContext, fd: int) -> None:
    refuse_writes(fd)
    operation = AIOOperation.write(b"x", fd)
    operation.submit(ctx)
    with pytest.raises(PermissionError):
        run(result_of(operation))
    with pytest.raises(PermissionError):
        operation.get_result()


def test_await_operation_of_a_closed_context_that_is_done(fd: int) -> None:
    with AIOContext(4) as context:
        operation = AIOOperation.read(4, fd)
        operation.submit(context)
    assert run(result_of(operation)) == DATA[:4]


def test_await_operation_again_and_again(ctx: AIOContext, fd: int) -> None:
    async def main() -> None:
        operation = AIOOperation.read(4, fd)
        for offset in range(100):
            operation.offset = offset
            operation.submit(ctx)
            assert await operation == DATA[offset : offset + 4]

    run(main())


def test_await_operation_that_signals_an_eventfd(ctx: AIOContext, gate: Gate) -> None:
    operation = AIOOperation.poll(gate, select.POLLIN)
    with EventFD() as eventfd:
        operation.submit(ctx, eventfd)
        with pytest.raises(RuntimeError, match="EventFD"):
            run(result_of(operation))
        gate.open()
        assert eventfd.read() == 1
        assert operation.get_result() == select.POLLIN


def test_await_completed_operation_that_signalled_an_eventfd(ctx: AIOContext, fd: int) -> None:
    operation = AIOOperation.read(4, fd)
    with EventFD() as eventfd:
        operation.submit(ctx, eventfd)
        wait_done(operation)
        with pytest.raises(RuntimeError, match="EventFD"):
            run(result_of(operation))


def test_await_operation_never_submitted(fd: int) -> None:
    with pytest.raises(RuntimeError, match="not submitted"):
        run(result_of(AIOOperation.read(4, fd)))


def test_two_tasks_await_one_operation(ctx: AIOContext, gate: Gate) -> None:
    async def main() -> None:
        operation = AIOOperation.poll(gate, select.POLLIN)
        operation.submit(ctx)
        first = asyncio.create_task(result_of(operation))
        await turns()
        with pytest.raises(RuntimeError, match="awaited already"):
            await operation
        gate.open()
        assert await first == select.POLLIN

    run(main())


@pytest.mark.parametrize("look", ["get_result", "await", "done", "getevents", "submit"])
def test_looked_at_between_completion_and_wake_up(look: str, ctx: AIOContext, gate: Gate) -> None:
    async def main() -> None:
        operation = AIOOperation.poll(gate, select.POLLIN)
        operation.submit(ctx)
        first = asyncio.create_task(result_of(operation))
        await turns()
        gate.open()
        wait_done(operation)  # the loop has not heard of it
        if look == "get_result":
            assert operation.get_result() == select.POLLIN
        elif look == "await":
            with pytest.raises(RuntimeError, match="awaited already"):
                await operation
        elif look == "getevents":
            assert ctx.getevents(0) == []
        elif look == "submit":
            with pytest.raises(ValueError, match="in flight"):
                operation.submit(ctx)
        assert await first == select.POLLIN
        with Gate() as other:  # and the context's lists are right
            polls = [AIOOperation.poll(other, select.POLLIN) for _ in range(3)]
            assert ctx.submit(*polls) == 3
            other.open()
            assert set(ctx.getevents(3)) == set(polls)

    run(main())


def test_getevents_does_not_wait_for_what_is_awaited(ctx: AIOContext, gate: Gate) -> None:
    async def main() -> None:
        task = asyncio.create_task(ctx.poll(gate, select.POLLIN))
        await turns()
        assert await asyncio.wait_for(asyncio.to_thread(ctx.getevents, 1, None, 5.0), 2) == []
        gate.open()
        await task

    run(main())


# Eager tasks


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_eager_tasks(ctx: AIOContext, fd: int, gate: Gate) -> None:
    async def main() -> None:
        factory: Any = asyncio.eager_task_factory  # type: ignore[attr-defined,unused-ignore]
        asyncio.get_running_loop().set_task_factory(factory)
        were_done = []
        for _ in range(20):
            task = asyncio.create_task(ctx.read(4, fd))
            were_done.append(task.done())
            assert await task == DATA[:4]
        if ctx.engine in ("auto", "aio"):
            assert any(were_done)  # without a turn of the loop: if the machine is slow, not each
        polls = [asyncio.create_task(ctx.poll(gate, select.POLLIN)) for _ in range(100)]
        assert ctx.in_flight <= ctx.max_requests  # what the turn's budget was enough for
        polls[3].cancel()
        polls[-1].cancel()
        gate.open()
        results = await asyncio.gather(*polls, return_exceptions=True)
        assert results.count(select.POLLIN) == 98
        failing = asyncio.create_task(ctx.read(4, 1 << 20))
        with pytest.raises(OSError):  # noqa: PT011  # at once, or if the machine is slow, next turn
            await failing

    run(main())


# What is no use of a coroutine


def test_stepped_before_its_time(ctx: AIOContext, gate: Gate) -> None:
    async def main() -> None:
        coroutine = ctx.poll(gate, select.POLLIN)
        coroutine.send(None)
        with pytest.raises(RuntimeError, match="before what it waits for has happened"):
            coroutine.send(None)
        with pytest.raises(RuntimeError, match="already awaited"):
            coroutine.send(None)
        gate.open()
        await until(lambda: ctx.in_flight == 0)

    run(main())


THROWN: list[tuple[tuple[Any, ...], BaseException]] = [
    ((ValueError("mine"),), ValueError("mine")),
    ((ValueError,), ValueError()),
    ((ValueError, None), ValueError()),
    ((ValueError, "mine"), ValueError("mine")),
    ((ValueError, ValueError("mine")), ValueError("mine")),
    ((ValueError, ValueError("mine"), None), ValueError("mine")),
]


@pytest.mark.parametrize(("arguments", "expected"), THROWN)
def test_an_exception_thrown_in_any_form(
    arguments: tuple[Any, ...], expected: BaseException, ctx: AIOContext, fd: int
) -> None:
    coroutine: Any = ctx.read(5, fd)
    with pytest.raises(type(expected)) as raised:
        coroutine.throw(*arguments)
    assert repr(raised.value) == repr(expected)
    with pytest.raises(RuntimeError, match="already awaited"):
        coroutine.throw(*arguments)
    assert ctx.statistics()["submitted"] == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), r"throw\(\) takes from 1 to 3 arguments \(0 given\)"),
        ((ValueError, 1, None, 2), r"throw\(\) takes from 1 to 3 arguments \(4 given\)"),
        ((1,), "must be classes or instances deriving from BaseException, not int"),
        ((int,), "must be classes or instances deriving from BaseException, not type"),
    ],
)
def test_what_can_not_be_thrown(
    arguments: tuple[Any, ...], text: str, ctx: AIOContext, fd: int
) -> None:
    coroutine: Any = ctx.read(5, fd)
    with pytest.raises(TypeError, match=text):
        coroutine.throw(*arguments)
    assert run(result_of(coroutine)) == DATA[:5]  # it is none the worse for it


def test_what_refers_to_one_weakly(ctx: AIOContext, fd: int) -> None:
    coroutine: Any = ctx.read(5, fd)
    reference = weakref.ref(coroutine)
    found: Any = reference()
    assert found is coroutine
    coroutine.close()
    del coroutine, found
    assert reference() is None


def test_one_never_awaited_where_warnings_are_errors(
    ctx: AIOContext, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ignored: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: ignored.append(what.exc_value))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _ = ctx.read(5, fd)
        del _
        gc.collect()
    assert [type(error) for error in ignored] == [RuntimeWarning]
    assert "AIOContext.read' was never awaited" in str(ignored[0])


# An operation that goes elsewhere before it is awaited


def test_submitted_to_another_context_before_it_is_awaited(ctx: AIOContext, fd: int) -> None:
    async def main() -> None:
        operation = AIOOperation.read(5, fd)
        operation.submit(ctx)
        wait_done(operation)
        late = result_of(operation)
        coroutine: Any = operation.__await__()
        with AIOContext(4) as other:
            operation.submit(other)
            wait_done(operation)
            with pytest.raises(RuntimeError, match="submitted to another context before"):
                coroutine.send(None)
            assert await late == DATA[:5]
        assert ctx.getevents(0) == []

    run(main())


class Asked:
    """A file that does something when it is asked for its number."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.action: Callable[[], object] = int

    def fileno(self) -> int:
        self.action()
        return self.number


def test_awaited_while_it_is_being_submitted(ctx: AIOContext, fd: int) -> None:
    async def main() -> None:
        file = Asked(fd)
        operation = AIOOperation.read(5, file)
        operation.submit(ctx)
        wait_done(operation)
        coroutine: Any = operation.__await__()

        def step() -> None:
            with pytest.raises(RuntimeError, match="was not submitted"):
                coroutine.send(None)

        file.action = step
        assert operation.submit(ctx) == 1
        file.action = int
        with pytest.raises(RuntimeError, match="already awaited"):
            coroutine.send(None)
        assert await operation == DATA[:5]

    run(main())


@pytest.mark.engine("aio")
def test_one_that_is_awaited_while_submit_has_it_and_is_not_taken(tmp_path: Path) -> None:
    """Another thread submits it behind a read that waits inside the kernel."""
    reader, writer = os.pipe()
    refused = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)

    async def main() -> None:
        with AIOContext(4) as ctx:
            first, second = AIOOperation.read(4, reader), AIOOperation.read(4, refused)
            submitting = asyncio.ensure_future(asyncio.to_thread(ctx.submit, first, second))
            await asyncio.sleep(0.1)

            async def wait() -> object:
                return await second

            waiting = asyncio.ensure_future(wait())
            await asyncio.sleep(0.05)
            os.write(writer, b"data")
            assert await submitting == 1
            with pytest.raises(RuntimeError, match="not submitted"):
                await asyncio.wait_for(waiting, 30)
            with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
                second.submit(ctx)

    run(main())
    for number in (reader, writer, refused):
        os.close(number)
