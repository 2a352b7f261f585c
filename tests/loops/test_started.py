# SPDX-License-Identifier: Apache-2.0
"""Operations that go on without a task which waits for them: `_start()` of an awaitable."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from linux_aio import AIOContext
from support.files import Gate, contents, file_in_memory, refuse_writes
from support.loops import LOOP_FACTORIES, LoopFactory, run, turns, until

pytest_plugins = ["support.fixtures"]


@pytest.mark.parametrize("factory", LOOP_FACTORIES)
def test_the_result_is_there_when_it_is_awaited(factory: LoopFactory) -> None:
    async def main() -> bytes:
        with file_in_memory(b"some data") as fd:
            async with AIOContext() as context:
                read: Any = context.read(100, fd, 5)
                read._start()
                await until(read._is_over)
                assert context.in_flight == 0
                result: bytes = await read
                return result

    assert run(main(), factory) == b"data"


@pytest.mark.parametrize("factory", LOOP_FACTORIES)
def test_a_task_that_comes_early_waits(factory: LoopFactory) -> None:
    async def main() -> None:
        async with AIOContext() as context:
            with Gate() as gate:
                poll: Any = context.poll(gate, 1)
                poll._start()
                waiting = asyncio.ensure_future(poll)
                await turns(3)
                assert not waiting.done()
                gate.open()
                assert await waiting == 1

    run(main(), factory)


@pytest.mark.parametrize("factory", LOOP_FACTORIES)
def test_cancelling_who_waits_leaves_the_operation_alone(factory: LoopFactory) -> None:
    async def main() -> None:
        async with AIOContext() as context:
            with Gate() as gate:
                poll: Any = context.poll(gate, 1)
                poll._start()
                for _ in range(3):
                    waiting = asyncio.ensure_future(poll)
                    await turns(2)
                    waiting.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await waiting
                    assert not poll._is_over()
                gate.open()
                assert await poll == 1

    run(main(), factory)


def test_more_than_there_is_room_for_queue_up() -> None:
    async def main() -> None:
        with file_in_memory() as fd:
            async with AIOContext(2) as context:
                writes: list[Any] = [context.write(bytes([n]), fd, n) for n in range(20)]
                for write in writes:
                    write._start()
                for write in writes:
                    assert await write == 1
            assert contents(fd) == bytes(range(20))

    run(main())


def test_an_error_is_kept_for_who_awaits() -> None:
    async def main() -> None:
        with file_in_memory(b"sealed") as fd:
            refuse_writes(fd)
            async with AIOContext() as context:
                write: Any = context.write(b"x", fd)
                write._start()
                await until(write._is_over)
                with pytest.raises(PermissionError):
                    await write

    run(main())


def test_one_that_is_dropped_is_carried_out() -> None:
    async def main() -> None:
        with file_in_memory() as fd:
            async with AIOContext() as context:
                write: Any = context.write(b"dropped", fd)
                write._start()
                # and not queued for the loop's next turn, since this one's time is used up
                await until(lambda: context.in_flight == 1 or contents(fd) != b"")
                del write
                gc.collect()
                await until(lambda: contents(fd) == b"dropped")

    run(main())


def test_it_is_started_once() -> None:
    async def main() -> None:
        with file_in_memory(b"data") as fd:
            async with AIOContext() as context:
                read: Any = context.read(4, fd)
                read._start()
                with pytest.raises(RuntimeError, match="start"):
                    read._start()
                assert await read == b"data"
                with pytest.raises(RuntimeError):
                    await read
                closed: Any = AIOContext()
                closed.close()
                with pytest.raises(ValueError, match="closed"):
                    closed.read(1, fd)._start()

    run(main())


def test_only_in_a_loop() -> None:
    with AIOContext() as context, file_in_memory(b"data") as fd:
        read: Any = context.read(4, fd)
        with pytest.raises(RuntimeError, match="no running event loop"):
            read._start()
