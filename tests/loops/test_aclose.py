# SPDX-License-Identifier: Apache-2.0
"""aclose() and the end of `async with`, whatever has become of the loop's executor."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sys
import threading
import time
from pathlib import Path

import pytest

from linux_aio import AIOContext
from linux_aio._threads import BackgroundThread
from support.forked import in_child
from support.loops import LOOP_FACTORIES, LoopFactory, run, until

every_loop = pytest.mark.parametrize("factory", LOOP_FACTORIES)


@every_loop
def test_the_executor_is_busy(factory: LoopFactory, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"data")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        release = threading.Event()
        jobs = [loop.run_in_executor(None, release.wait, 60) for _ in range(100)]
        fd = os.open(path, os.O_RDONLY)
        async with AIOContext() as ctx:
            assert await ctx.read(4, fd) == b"data"
        assert ctx.closed
        assert not jobs[0].done()
        release.set()
        await asyncio.gather(*jobs)
        os.close(fd)

    run(main(), factory)


@pytest.mark.skipif(sys.version_info >= (3, 13) and not sys._is_gil_enabled(), reason="no GIL")
def test_a_background_thread_is_not_waited_for() -> None:
    """With such an interval it runs only if the thread that starts it waits for something."""
    ran: list[bool] = []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(60)
    try:
        thread = BackgroundThread(target=ran.append, args=(True,))
        thread.start()
        was_waited_for = bool(ran) or thread.ident is not None
    finally:
        sys.setswitchinterval(interval)
    assert not was_waited_for
    while not ran:
        time.sleep(0.001)


@pytest.mark.engine("auto", "uring", "threads")  # which don't wait for a pipe in submit
@every_loop
def test_with_operations_in_flight_no_thread_is_waited_for(factory: LoopFactory) -> None:
    """The kernel counts how often this thread waited."""

    def waits() -> int:
        return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw

    async def main() -> None:
        source, sink = os.pipe()
        waited = 0
        for _ in range(40):
            ctx = AIOContext(4)
            reading = asyncio.ensure_future(ctx.read(1, source))
            await asyncio.sleep(0.002)  # a thread of ours has it
            before = waits()
            closing = ctx.aclose()
            with contextlib.suppress(StopIteration):
                closing.send(None)
            waited += waits() - before
            closing.close()
            await until(lambda: ctx.closed)  # noqa: B023
            await asyncio.wait([reading])
            assert reading.exception() is not None
        assert waited < 10  # some wait for a lock, on a busy machine
        os.close(source)
        os.close(sink)

    run(main(), factory)


@every_loop
def test_the_executor_was_shut_down(factory: LoopFactory) -> None:
    async def main() -> None:
        await asyncio.get_running_loop().shutdown_default_executor()
        async with AIOContext() as ctx:
            await ctx.fsync(os.open(os.path.dirname(__file__), os.O_RDONLY))
        assert ctx.closed

    run(main(), factory)


@every_loop
def test_cancelled(factory: LoopFactory) -> None:
    """The context is closed all the same."""

    async def main() -> None:
        contexts = []
        for turns in range(5):
            ctx = AIOContext()
            contexts.append(ctx)
            task = asyncio.ensure_future(ctx.aclose())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await until(lambda: all(ctx.closed for ctx in contexts[1:]))
        contexts[0].close()  # its close never came to its first step

    run(main(), factory)


@every_loop
def test_no_thread_can_be_started(factory: LoopFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        ctx = AIOContext()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            await ctx.aclose()
        assert ctx.closed

    run(main(), factory)


@pytest.mark.needs_root
def test_after_chroot(tmp_path: Path) -> None:
    """Nothing can be imported then."""
    (tmp_path / "file").write_bytes(b"data")

    def use() -> bytes:
        async def main() -> bytes:
            async with AIOContext() as ctx:
                return await ctx.read(4, fd)

        with AIOContext(engine="threads") as ctx:
            ctx.submit()
        fd = os.open(tmp_path / "file", os.O_RDONLY)
        os.chroot(tmp_path)
        os.chdir("/")
        return asyncio.run(main())

    assert in_child(use) == b"data"
