# SPDX-License-Identifier: Apache-2.0
"""Many contexts of one process, while much goes wrong: every byte is right, nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from linux_aio import AIOContext, AIOOperation
from support.fusefs import HoldingFS
from support.measure import open_fds, soon
from support.operations import wait_done
from support.workers import beside

pytest_plugins = ["support.fixtures"]

pytestmark = [pytest.mark.engine("auto", "uring", "threads"), pytest.mark.needs_root]

BLOCK = 4096
BLOCKS = 64
SECONDS = 3.0


def block(number: int) -> bytes:
    return number.to_bytes(4, "little") * (BLOCK // 4)


@contextlib.contextmanager
def hanging_server(fs: HoldingFS) -> Iterator[None]:
    """Its server stands still again and again, and answers in the end."""

    def stop_and_go(over: threading.Event) -> None:
        while not over.wait(0.02):
            os.kill(fs.server_pid, signal.SIGSTOP)
            over.wait(0.1)
            os.kill(fs.server_pid, signal.SIGCONT)

    with beside(stop_and_go):
        yield


def churn(path: Path, mine: int, end: float) -> None:
    """One thread's contexts: made, used, cancelled in, closed and dropped, each block checked."""
    rng = random.Random(mine)
    reader, writer = os.pipe()
    fd = os.open(path, os.O_RDWR)
    try:
        while time.monotonic() < end:
            context = AIOContext(rng.choice([4, 16, 64]))
            stuck = AIOOperation.read(1, reader)
            stuck.submit(context)
            number = rng.randrange(BLOCKS) & ~3 | mine
            write = AIOOperation.write(block(number), fd, number * BLOCK)
            write.submit(context)
            wait_done(write)
            assert write.get_result() == BLOCK
            read = AIOOperation.read(BLOCK, fd, number * BLOCK)
            sync = AIOOperation.fsync(fd)
            context.submit(read, sync)
            wait_done(read)
            assert read.get_result() == block(number)
            wait_done(sync)
            if rng.random() < 0.5:
                context.cancel(stuck)
            if rng.random() < 0.7:
                context.close()
            del context, stuck, read, write, sync
    finally:
        os.close(fd)
        os.close(reader)
        os.close(writer)


async def loop_churn(path: Path, end: float) -> None:
    fd = os.open(path, os.O_RDONLY)
    reader, writer = os.pipe()
    try:
        while time.monotonic() < end:
            async with AIOContext(8) as context:
                never = asyncio.ensure_future(context.read(1, reader))
                answers = await asyncio.gather(
                    *(context.read(BLOCK, fd, BLOCK * i) for i in range(12))
                )
                assert all(len(answer) == BLOCK for answer in answers)
                never.cancel()
                await asyncio.gather(never, return_exceptions=True)
    finally:
        os.close(fd)
        os.close(reader)
        os.close(writer)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_chaos(fs: HoldingFS, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"".join(block(i) for i in range(BLOCKS)))
    sick = fs.create("sick", b"x" * BLOCK * BLOCKS)
    gc.collect()
    time.sleep(0.5)
    before = open_fds()
    end = time.monotonic() + SECONDS
    failures: list[BaseException] = []

    def guarded(call: Any, *arguments: Any) -> None:
        try:
            call(*arguments)
        except BaseException as failure:
            failures.append(failure)

    def forks() -> None:
        while time.monotonic() < end:
            child = os.fork()
            if child == 0:
                status = 1
                with contextlib.suppress(BaseException):
                    fd = os.open(path, os.O_RDONLY)
                    with AIOContext(4) as context:
                        sync = AIOOperation.fsync(fd)
                        sync.submit(context)
                        wait_done(sync)
                        sync.get_result()
                    status = 0
                os._exit(status)
            assert os.waitpid(child, 0)[1] == 0
            time.sleep(0.05)

    with hanging_server(fs), AIOContext(256) as sick_context:
        sick_fd = os.open(sick, os.O_RDWR)
        hung: list[AIOOperation[Any]] = []
        for i in range(100):
            hung.append(AIOOperation.read(512, sick_fd, 512 * i))
            hung.append(AIOOperation.fsync(sick_fd))
        sick_context.submit(*hung)
        threads = [
            *(threading.Thread(target=guarded, args=(churn, path, i, end)) for i in range(4)),
            threading.Thread(target=guarded, args=(asyncio.run, loop_churn(path, end))),
            threading.Thread(target=guarded, args=(forks,)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    os.close(sick_fd)
    assert failures == []
    assert path.read_bytes() == b"".join(block(i) for i in range(BLOCKS))
    deadline = time.monotonic() + 20
    while open_fds() != before and time.monotonic() < deadline:
        gc.collect()
        AIOContext(1).close()
        time.sleep(0.01)
    assert soon(lambda: open_fds() <= before)
