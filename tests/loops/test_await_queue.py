# SPDX-License-Identifier: Apache-2.0
"""More awaits than a context has places for wait for their turn, in order."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import select
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from linux_aio import RWF_ATOMIC, AIOContext, AIOOperation, EventFD
from support.faults import FOR_EVER, Faults, faults_reason, faulty_libaio
from support.files import Gate, contents, file_in_memory
from support.fusefs import HoldingFS
from support.loops import LOOP_FACTORIES, LoopFactory, run, turns, until
from support.operations import wait_done
from support.workers import PATIENCE, finish, start

pytest_plugins = ["support.fixtures"]

DATA = bytes(number % 251 for number in range(4096))
PLACES = 4

every_loop = pytest.mark.parametrize("factory", LOOP_FACTORIES)


@pytest.fixture
def small() -> Iterator[AIOContext]:
    with AIOContext(PLACES) as context:
        yield context


@pytest.fixture
def fd() -> Iterator[int]:
    with file_in_memory(DATA) as number:
        yield number


@pytest.fixture
def faults() -> Iterator[Faults]:
    reason = faults_reason()
    if reason is not None:
        pytest.skip(reason)
    with faulty_libaio() as faults:
        yield faults


class File:
    """A file object that writes down when it was asked for its number."""

    def __init__(self, fd: int, log: list[Any], name: object) -> None:
        self.fd = fd
        self.log = log
        self.name = name
        self.action: Callable[[], object] = lambda: None

    def fileno(self) -> int:
        self.log.append(self.name)
        action, self.action = self.action, lambda: None
        action()
        if self.fd < 0:
            raise ValueError("I/O operation on closed file")
        return self.fd


async def result_of(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def fill(context: AIOContext, gate: Gate, places: int = PLACES) -> list[asyncio.Task[int]]:
    """Take places of the context, until the gate is opened."""
    return [asyncio.create_task(context.poll(gate, select.POLLIN)) for _ in range(places)]


# In order


@every_loop
def test_in_order(factory: LoopFactory, small: AIOContext, fd: int, gate: Gate) -> None:
    log: list[Any] = []

    async def main() -> None:
        polls = fill(small, gate)
        await turns()
        reads = [asyncio.create_task(small.read(4, File(fd, log, at), at)) for at in range(500)]
        await turns(3)
        assert small.in_flight == PLACES
        assert log == []
        gate.open()
        assert await asyncio.gather(*reads) == [DATA[at : at + 4] for at in range(500)]
        assert log == list(range(500))
        await asyncio.gather(*polls)

    run(main(), factory)
    assert small.statistics()["submissions"] < 500  # in batches


def test_never_more_than_max_requests(small: AIOContext) -> None:
    async def main() -> None:
        with ExitStack() as stack:
            gates = [stack.enter_context(Gate()) for _ in range(20)]
            polls = [asyncio.create_task(small.poll(gate, select.POLLIN)) for gate in gates]
            for number, gate in enumerate(gates):
                await until(lambda: small.in_flight == min(PLACES, 20 - number))  # noqa: B023
                assert [poll.done() for poll in polls] == [at < number for at in range(20)]
                gate.open()
                assert await polls[number] == select.POLLIN

    run(main())


def test_one_that_comes_later_does_not_overtake(small: AIOContext, fd: int, gate: Gate) -> None:
    log: list[Any] = []

    async def main() -> None:
        polls = fill(small, gate)
        await turns()
        first = asyncio.create_task(small.read(4, File(fd, log, 1)))
        await turns()
        polls[0].cancel()
        gate.open()
        gate.shut()  # whoever polled was woken
        second = asyncio.create_task(small.read(4, File(fd, log, 2)))
        await asyncio.gather(first, second)
        assert log == [1, 2]
        gate.open()
        await asyncio.gather(*polls, return_exceptions=True)

    run(main())


def test_getevents_in_a_thread_frees_room(small: AIOContext, fd: int) -> None:
    async def main() -> None:
        kept = [AIOOperation.read(4, fd, at) for at in range(PLACES)]
        assert small.submit(*kept) == PLACES
        wait_done(*kept)
        task = asyncio.create_task(small.read(4, fd, 7))
        await asyncio.sleep(0.02)
        assert not task.done()
        collected = await asyncio.to_thread(small.getevents, 1, 1)
        assert await task == DATA[7:11]
        assert len(collected) == 1
        assert set(collected + small.getevents(0)) == set(kept)

    run(main())


def test_get_result_frees_room(small: AIOContext, fd: int) -> None:
    async def main() -> None:
        kept = [AIOOperation.read(4, fd, at) for at in range(PLACES)]
        assert small.submit(*kept) == PLACES
        wait_done(*kept)
        tasks = [asyncio.create_task(small.read(4, fd, 7)) for _ in range(3)]
        await turns(3)
        assert kept[2].get_result() == DATA[2:6]
        assert await asyncio.gather(*tasks) == [DATA[7:11]] * 3

    run(main())


@every_loop
def test_room_held_by_eventfd_operations_that_nobody_looks_at(
    factory: LoopFactory, small: AIOContext, fd: int, gate: Gate
) -> None:
    async def main() -> None:
        with EventFD() as eventfd:
            for _ in range(PLACES):
                AIOOperation.poll(gate, select.POLLIN).submit(small, eventfd)
            tasks = [asyncio.create_task(small.read(4, fd, at)) for at in range(10)]
            await asyncio.sleep(0.02)
            assert not any(task.done() for task in tasks)
            gate.open()
            assert await asyncio.gather(*tasks) == [DATA[at : at + 4] for at in range(10)]
            assert eventfd.read() == PLACES

    run(main(), factory)


def test_looking_for_room_does_not_pile_up(gate: Gate) -> None:
    """Each wake-up of the loop may start it again, and must not do so beside another."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with AIOContext(2) as context, Gate() as other, EventFD() as eventfd:
            AIOOperation.poll(gate, select.POLLIN).submit(context, eventfd)
            polls = [asyncio.create_task(context.poll(other, select.POLLIN)) for _ in range(200)]
            other.open()
            most = 0
            while not polls[150].done():
                await asyncio.sleep(0)
                most = max(most, len(loop._scheduled))
            assert most < 20
            await asyncio.gather(*polls)

    run(main())


def test_looking_for_room_beside_a_steady_trickle(small: AIOContext, gate: Gate) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with EventFD() as eventfd, ExitStack() as stack:
            gates = [stack.enter_context(Gate()) for _ in range(100)]
            AIOOperation.poll(gate, select.POLLIN).submit(small, eventfd)
            polls = [asyncio.create_task(small.poll(other, select.POLLIN)) for other in gates]
            for number in range(90):
                gates[number].open()
                await polls[number]
            await asyncio.sleep(0.01)
            assert len(loop._scheduled) + len(loop._ready) < 10
            for poll in polls:
                poll.cancel()
            await asyncio.gather(*polls, return_exceptions=True)

    run(main())


def test_a_program_that_watches_the_context_keeps_the_loop_quiet(
    small: AIOContext, fd: int, gate: Gate
) -> None:
    """An operation that waits to be collected makes the program's descriptor readable, not ours."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        assert small.fileno >= 0
        poll = asyncio.create_task(small.poll(gate, select.POLLIN))
        await turns()
        AIOOperation.read(4, fd).submit(small)
        selects = 0
        select_as_ever = loop._selector.select

        def counting_select(timeout: float | None = None) -> Any:
            nonlocal selects
            selects += 1
            return select_as_ever(timeout)

        loop._selector.select = counting_select
        await asyncio.sleep(0.1)
        assert selects < 20
        assert len(small.getevents(0)) == 1
        gate.open()
        await poll

    run(main())


# What the kernel refuses for the moment


@pytest.mark.engine("aio")
def test_eagain_is_waited_out(faults: Faults, small: AIOContext, fd: int) -> None:
    faults.inject("submit", error=errno.EAGAIN, times=25)

    async def main() -> None:
        tasks = [small.read(4, fd, at) for at in range(50)]
        assert await asyncio.gather(*tasks) == [DATA[at : at + 4] for at in range(50)]

    run(main())
    assert faults.count("submit") > 25


@pytest.mark.engine("aio")
def test_eagain_in_between(faults: Faults, small: AIOContext, fd: int) -> None:
    for _ in range(20):
        faults.inject("submit", error=errno.EAGAIN, after=2)
    log: list[Any] = []

    async def main() -> None:
        tasks = [small.read(4, File(fd, log, at), at) for at in range(100)]
        assert await asyncio.gather(*tasks) == [DATA[at : at + 4] for at in range(100)]

    run(main())
    order = list(dict.fromkeys(log))
    assert order == list(range(100))


@pytest.mark.engine("aio")
def test_short_submissions(faults: Faults, small: AIOContext, fd: int, gate: Gate) -> None:
    faults.inject("submit", at_most=1, times=FOR_EVER)

    async def main() -> None:
        polls = fill(small, gate)
        tasks = [asyncio.create_task(small.read(4, fd, at)) for at in range(100)]
        await turns(2)
        gate.open()
        assert await asyncio.gather(*tasks) == [DATA[at : at + 4] for at in range(100)]
        await asyncio.gather(*polls)

    run(main())


@pytest.mark.engine("aio")
def test_eagain_for_ever_can_be_cancelled(faults: Faults, small: AIOContext, fd: int) -> None:
    faults.inject("submit", error=errno.EAGAIN, times=FOR_EVER)

    async def main() -> None:
        buffer = bytearray(4)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await small.readinto(buffer, fd)
        buffer.append(0)
        faults.clear()
        assert await small.read(4, fd) == DATA[:4]

    run(main())


def test_an_error_is_that_of_one_operation(small: AIOContext, fd: int, gate: Gate) -> None:
    async def main() -> None:
        polls = fill(small, gate)
        await turns()
        fds = [fd, 1 << 20, fd, fd, 1 << 20, 1 << 20, fd]
        tasks = [asyncio.create_task(small.read(4, number)) for number in fds]
        await turns()
        gate.open()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for number, result in zip(fds, results, strict=True):
            if number == fd:
                assert result == DATA[:4]
            else:
                assert isinstance(result, OSError)
                assert result.errno == errno.EBADF
        await asyncio.gather(*polls)

    run(main())


@pytest.mark.engine("aio")
def test_injected_error_in_the_middle(faults: Faults, small: AIOContext, fd: int) -> None:
    faults.inject("submit", error=errno.ENOMEM, after=3)

    async def main() -> None:
        reads = [small.read(4, fd, at) for at in range(20)]
        results = await asyncio.gather(*reads, return_exceptions=True)
        failed = [result for result in results if isinstance(result, OSError)]
        assert [error.errno for error in failed] == [errno.ENOMEM]
        assert sum(isinstance(result, bytes) for result in results) == 19

    run(main())


# File objects


def test_file_closed_while_queued(small: AIOContext, fd: int, gate: Gate) -> None:
    async def main() -> None:
        polls = fill(small, gate)
        await turns()
        with os.fdopen(os.dup(fd), "rb", buffering=0) as file:
            closed = asyncio.create_task(small.read(4, file))
            other = asyncio.create_task(small.read(4, fd, 5))
            await turns()
        gate.open()
        with pytest.raises(ValueError, match="closed file"):
            await closed
        assert await other == DATA[5:9]
        await asyncio.gather(*polls)

    run(main())


def test_the_number_is_asked_for_when_its_turn_comes(
    small: AIOContext, fd: int, gate: Gate
) -> None:
    async def main() -> None:
        polls = fill(small, gate)
        await turns()
        file = File(-1, [], "it")
        task = asyncio.create_task(small.read(4, file, 9))
        await turns()
        file.fd = fd
        gate.open()
        assert await task == DATA[9:13]
        await asyncio.gather(*polls)

    run(main())


# File objects that do something when they are asked


Meddling = Callable[[AIOContext, Any, "asyncio.Task[bytes]"], object]

MEDDLINGS: dict[str, Meddling] = {
    "closes another's coroutine": lambda _ctx, coroutine, _task: coroutine.close(),
    "throws into another's coroutine": lambda _ctx, coroutine, _task: _throw(coroutine),
    "cancels another": lambda _ctx, _coroutine, task: task.cancel(),
    "collects garbage": lambda _ctx, _coroutine, _task: gc.collect(),
    "reaps": lambda ctx, _coroutine, _task: ctx.getevents(0),
    "submits": lambda ctx, _coroutine, _task: ctx.submit(),
}


def _throw(coroutine: Any) -> None:
    with pytest.raises(KeyError):
        coroutine.throw(KeyError("x"))


@pytest.mark.parametrize("name", MEDDLINGS)
def test_a_queued_file_object_meddles(name: str, small: AIOContext, fd: int, gate: Gate) -> None:
    async def main() -> None:
        polls = fill(small, gate)
        await turns()
        file = File(fd, [], "it")
        first = asyncio.create_task(small.read(4, file, 1))
        coroutine = small.read(4, fd, 2)
        second = asyncio.create_task(coroutine)
        third = asyncio.create_task(small.read(4, fd, 3))
        await turns()
        file.action = lambda: MEDDLINGS[name](small, coroutine, second)
        gate.open()
        assert await asyncio.wait_for(first, 5) == DATA[1:5]
        assert await asyncio.wait_for(third, 5) == DATA[3:7]
        second.cancel()  # a task whose coroutine was ended by others waits for ever
        await asyncio.wait([second])
        if not second.cancelled():
            second.exception()
        await asyncio.gather(*polls)

    run(main())


def test_a_queued_file_object_drops_the_last_reference_to_another(
    small: AIOContext, fd: int, gate: Gate
) -> None:
    async def main() -> None:
        polls = fill(small, gate)
        await turns()
        file = File(fd, [], "it")
        first = asyncio.create_task(small.read(4, file, 1))
        await turns()
        others = [small.read(4, fd, 2) for _ in range(3)]
        for other in others:
            other.send(None)  # queued, and not by a task
        file.action = others.clear
        gate.open()
        assert await asyncio.wait_for(first, 5) == DATA[1:5]
        await asyncio.gather(*polls)

    run(main())


def test_a_queued_file_object_closes_the_context(fd: int, gate: Gate) -> None:
    async def main() -> None:
        context = AIOContext(PLACES)
        polls = fill(context, gate)
        await turns()
        file = File(fd, [], "it")
        reads = [asyncio.create_task(context.read(4, file, 1))]
        reads += [asyncio.create_task(context.read(4, fd, 2)) for _ in range(10)]
        await turns()
        file.action = context.close
        gate.open()
        async with asyncio.timeout(5):
            results = await asyncio.gather(*reads, return_exceptions=True)
        assert all(isinstance(result, ValueError) for result in results)
        # the close may come before the end of some, which it cancels
        for result in await asyncio.gather(*polls, return_exceptions=True):
            is_cancelled = isinstance(result, OSError) and result.errno == errno.ECANCELED
            assert is_cancelled or result == select.POLLIN

    run(main())


@pytest.mark.needs_root
@pytest.mark.parametrize("another", ["bad fd", "refused"])
def test_closed_by_a_thread_while_a_submission_blocks(
    another: str, fs: HoldingFS, gate: Gate, request: pytest.FixtureRequest
) -> None:
    """What the kernel did not take when it came back from a batch fails with the others."""
    if another == "refused":
        request.getfixturevalue("faults").inject("submit", at_most=1, after=PLACES, times=1)
    path = fs.create("slow", DATA)
    with open(path, "rb", buffering=0) as file:

        async def main() -> None:
            context = AIOContext(PLACES)
            polls = fill(context, gate)
            await turns()
            fs.delay(0.3)
            before = len(fs.log())
            second = (1 << 20) if another == "bad fd" else file.fileno()
            numbers = [file.fileno(), second, file.fileno()]
            reads = [asyncio.create_task(context.read(4, number)) for number in numbers]
            await turns()
            loop = asyncio.get_running_loop()

            def close_soon() -> None:
                while len(fs.log()) == before:
                    time.sleep(0.001)
                context.close()

            closing = loop.run_in_executor(None, close_soon)
            gate.open()
            async with asyncio.timeout(8):
                await asyncio.gather(*reads, *polls, return_exceptions=True)
                await closing

        run(main())


@pytest.mark.engine("aio")  # whose submission of buffered reads may wait
def test_the_kernel_refuses_all_that_another_thread_submits(tmp_path: Path) -> None:
    """The places that they had are given back, and the loop is told of it: no completion does."""
    (tmp_path / "data").write_bytes(DATA)
    enough = 1000  # refusals
    interval = sys.getswitchinterval()
    with open(tmp_path / "data", "rb", buffering=0) as file, AIOContext(PLACES) as context:
        assert context.fileno >= 0  # where they are watched for, completions signal only that
        refused = [AIOOperation.read(4, file, flags=RWF_ATOMIC) for _ in range(PLACES)]

        def submit() -> None:
            for _ in range(enough):
                with pytest.raises(OSError, match="not supported"):
                    context.submit(*refused)
                time.sleep(0.0005)

        async def main() -> None:
            submission = start(submit)
            async with asyncio.timeout(PATIENCE):
                while not submission.done():
                    assert await context.read(4, file, 8) == DATA[8:12]
            finish(submission)

        sys.setswitchinterval(0.005)
        try:
            run(main())
        finally:
            sys.setswitchinterval(interval)


# Right bytes


@pytest.mark.engine("auto", "aio")  # which carry them out one by one
def test_writes_in_order_of_their_awaits(small: AIOContext, fd: int) -> None:
    async def main() -> None:
        tasks = [small.write(bytes([number]) * 8, fd, 0) for number in range(200)]
        assert await asyncio.gather(*tasks) == [8] * 200

    run(main())
    assert contents(fd)[:8] == bytes([199]) * 8
