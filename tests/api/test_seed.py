# SPDX-License-Identifier: Apache-2.0
"""The flow that linux_aio was first described by: asyncio waits for eventfds, and nothing else.

Nobody calls getevents. The names are those of the description.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from linux_aio import AIOContext, AIOOperation, EventFD

# What an eventfd that was signalled once is read as.
ONE = (1).to_bytes(8, sys.byteorder)


def on_read(fileno: int, future: asyncio.Future[bytes]) -> None:
    future.set_result(os.read(fileno, 8))
    asyncio.get_running_loop().remove_reader(fileno)


async def wait_aio_operation(op: AIOOperation, ctx: AIOContext, efd: EventFD) -> bytes:
    loop = asyncio.get_running_loop()
    result: asyncio.Future[bytes] = loop.create_future()
    loop.add_reader(efd.fileno, on_read, efd.fileno, result)

    op.submit(ctx, efd)

    return await result


@asynccontextmanager
async def results_of(*efds: EventFD) -> AsyncIterator[asyncio.Queue[tuple[int, int]]]:
    """A queue of what the eventfds are read for: (fileno, count)."""
    loop = asyncio.get_running_loop()
    results: asyncio.Queue[tuple[int, int]] = asyncio.Queue()

    def on_event(efd: EventFD) -> None:
        results.put_nowait((efd.fileno, efd.read()))

    for efd in efds:
        loop.add_reader(efd.fileno, on_event, efd)
    try:
        yield results
    finally:
        for efd in efds:
            loop.remove_reader(efd.fileno)


async def one_operation_after_another(path: Path) -> None:
    with AIOContext() as ctx, EventFD() as efd, path.open("wb+") as fp:
        fd = fp.fileno()

        # Execute one write operation
        op: AIOOperation = AIOOperation.write(b"Hello world", fd, offset=0)
        assert await wait_aio_operation(op, ctx, efd) == ONE

        # Execute one read operation
        op = AIOOperation.read(32, fd, offset=0)
        assert await wait_aio_operation(op, ctx, efd) == ONE
        assert op.get_result() == b"Hello world"

        # Execute one sync operation
        op = AIOOperation.fdsync(fd)
        assert await wait_aio_operation(op, ctx, efd) == ONE
        assert op.get_result() is None

        assert op.eventfd == efd
        assert op.context == ctx
        assert fp.read() == b"Hello world"


async def several_eventfds_and_a_queue(path: Path) -> None:
    with AIOContext() as ctx, EventFD() as efd1, EventFD() as efd2, path.open("wb+") as fp:
        fd = fp.fileno()
        async with results_of(efd1, efd2) as results:
            op: AIOOperation = AIOOperation.write(b"Hello world", fd, 0)
            assert op.submit(ctx, efd1) == 1
            assert (await results.get())[0] == efd1.fileno
            assert op.get_result() == 11

            op = AIOOperation.read(32, fd, 0)
            assert op.submit(ctx, efd1) == 1
            assert (await results.get())[0] == efd1.fileno
            assert op.get_result() == b"Hello world"

            op = AIOOperation.fdsync(fd)
            assert op.submit(ctx, efd1) == 1
            assert (await results.get())[0] == efd1.fileno

            assert fp.read() == b"Hello world"
            fp.seek(0)

            op1 = AIOOperation.write(b"Hello from ", fd, 0)
            op2 = AIOOperation.write(b"async world", fd, 11)
            op1.prepare(efd1)
            op2.prepare(efd2)

            assert ctx.submit(op1, op2) == 2

            res = [
                (await results.get())[0],
                (await results.get())[0],
            ]

            assert sorted(res) == sorted([efd1.fileno, efd2.fileno])

            op = AIOOperation.fdsync(fd)
            assert op.submit(ctx, efd1) == 1

            assert (await results.get())[0] == efd1.fileno

            assert fp.read() == b"Hello from async world"

            assert op1.eventfd == efd1
            assert op2.eventfd == efd2

            assert op1.context == op2.context == ctx

            assert op1.get_result() == 11
            assert op2.get_result() == 11
            assert results.empty()


async def many_more_than_fit_into_the_context(path: Path) -> None:
    with AIOContext(8) as ctx, EventFD() as efd, path.open("wb+") as fp:
        fp.write(bytes(range(256)))
        fp.flush()
        async with results_of(efd) as results:
            for start in range(0, 20_000, 8):
                ops = [AIOOperation.read(1, fp, (start + i) % 256) for i in range(8)]
                for op in ops:
                    op.prepare(efd)
                assert ctx.submit(*ops) == 8
                signals = 0
                while signals < 8:
                    signals += (await results.get())[1]
                assert signals == 8
                assert [op.get_result()[0] for op in ops] == [(start + i) % 256 for i in range(8)]


@pytest.mark.parametrize(
    "main",
    [
        one_operation_after_another,
        several_eventfds_and_a_queue,
        many_more_than_fit_into_the_context,
    ],
)
def test_the_flow(main: Callable[[Path], Coroutine[Any, Any, None]], tmp_path: Path) -> None:
    asyncio.run(main(tmp_path / "test.file"))
