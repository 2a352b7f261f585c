# SPDX-License-Identifier: Apache-2.0
"""What becomes of files that are opened, cancelled, closed and dropped; in asyncio and in Trio."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import random
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

import linux_aio
from support.loops import run
from support.open_files import settle_below

# kernel AIO, and so the engine `aio`, refuses files of devices and of /proc
by_more_than_aio = pytest.mark.engine("auto", "uring", "threads")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def settle(count: int) -> None:
    """Wait until no more than count descriptors are open: some are closed in the background."""
    for _ in range(500):
        if descriptors() <= count:
            return
        gc.collect()
        await asyncio.sleep(0.01)
    assert descriptors() <= count


def test_read_and_write(tmp_path: Path) -> None:
    async def main() -> None:
        async with linux_aio.open(tmp_path / "file", "w") as file:
            assert await file.write("first\n") == 6
            await file.writelines(["second\n", "third"])
        async with linux_aio.open(tmp_path / "file") as file:
            assert [line async for line in file] == ["first\n", "second\n", "third"]
        binary = await linux_aio.open(tmp_path / "file", "rb")
        assert await binary.read(5) == b"first"
        assert await binary.pread(6, 6) == b"second"
        assert await binary.tell() == 5
        await binary.close()
        assert binary.closed

    run(main())


def test_closed_after_an_exception(tmp_path: Path) -> None:
    kept: list[Any] = []

    async def main() -> None:
        async def use() -> None:
            async with linux_aio.open(tmp_path / "file", "wb") as file:
                kept.append(file)
                await file.write(b"written")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await use()
        assert kept[0].closed
        assert (tmp_path / "file").read_bytes() == b"written"

    run(main())


def test_the_open_of_a_fifo_is_cancelled(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    async def main() -> None:
        async with linux_aio.open(os.devnull):
            pass
        before = descriptors()
        for _ in range(20):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await linux_aio.open(tmp_path / "fifo")
        await settle(before)

    run(main())


def test_opens_cancelled_at_random_leak_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    chance = random.Random(1)

    modes = ["rb", "r+b", "ab"]

    async def use(mode: str) -> None:
        async with linux_aio.open(path, mode) as file:
            await file.read(10) if file.readable() else await file.write(b"y")

    async def main() -> None:
        for mode in modes:  # the context, and its threads, keep what they have
            await use(mode)
        before = descriptors()
        for _ in range(150):
            task = asyncio.create_task(use(chance.choice(modes)))
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await settle(before)

    run(main())


def test_a_cancelled_close_closes(tmp_path: Path) -> None:
    async def main() -> None:
        for turns in range(6):
            file = await linux_aio.open(tmp_path / "file", "wb")
            await file.write(b"gathered")
            task = asyncio.create_task(file.close())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            del file, task
            await settle_below(tmp_path)
            if turns:
                assert (tmp_path / "file").read_bytes() == b"gathered"

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # one never came to its first step
        run(main())


def test_dropped_open(tmp_path: Path) -> None:
    """It warns, and what was gathered is written all the same."""

    async def main() -> None:
        await (await linux_aio.open(os.devnull)).close()
        before = descriptors()
        files = [await linux_aio.open(tmp_path / "file", "wb")]
        await files[0].write(b"gathered")
        with pytest.warns(ResourceWarning, match="unclosed"):
            files.clear()
        await settle(before)
        deadline = time.monotonic() + 10
        while (tmp_path / "file").read_bytes() != b"gathered":
            assert time.monotonic() < deadline
            await asyncio.sleep(0.001)

    run(main())


@by_more_than_aio
def test_no_space_is_told_once() -> None:
    async def main() -> None:
        file = await linux_aio.open("/dev/full", "wb", buffering=100)
        await file.write(b"x")
        with pytest.raises(OSError, match="No space") as caught:
            await file.flush()
        assert caught.value.errno == errno.ENOSPC
        with pytest.raises(OSError, match="No space"):  # what was gathered is not given up
            await file.close()
        assert file.closed
        await file.close()

    run(main())


def test_calls_of_many_tasks_are_done_in_order(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(200)))

    async def main() -> None:
        async with linux_aio.open(tmp_path / "file", "rb", buffering=16) as file:
            parts = await asyncio.gather(*(file.read(10) for _ in range(20)))
        assert b"".join(parts) == bytes(range(200))

    run(main())


@by_more_than_aio
@pytest.mark.parametrize(
    "name", ["/proc/self/status", "/sys/kernel/mm/transparent_hugepage/enabled"]
)
def test_files_whose_size_lies(name: str) -> None:
    if not os.path.exists(name):
        pytest.skip(f"there is no {name}")
    beginnings = []

    async def main() -> None:
        async with linux_aio.open(name) as file:
            beginnings.append((await file.read())[:4])

    run(main())
    assert beginnings == [Path(name).read_text()[:4]]


def test_in_trio(tmp_path: Path) -> None:
    trio: Any = pytest.importorskip("trio")

    async def main() -> None:
        async with linux_aio.open(tmp_path / "file", "w") as file:
            for number in range(1000):
                await file.write(f"{number}\n")
        async with linux_aio.open(tmp_path / "file") as file:
            assert [int(line) async for line in file] == list(range(1000))
        os.mkfifo(tmp_path / "fifo")
        with trio.move_on_after(0.05) as scope:
            await linux_aio.open(tmp_path / "fifo")
        assert scope.cancelled_caught

    for _ in range(2):
        trio.run(main)
        (tmp_path / "fifo").unlink()
    before = descriptors()
    trio.run(main)
    assert descriptors() <= before
