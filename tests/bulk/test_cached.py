# SPDX-License-Identifier: Apache-2.0
"""load_into of what is in the page cache, which several threads copy."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import threading
from pathlib import Path

import pytest

from linux_aio.bulk import ShortFileError, aload_into, load_into
from support.forked import in_child
from support.loops import run

MIB = 1 << 20
SIZE = 40 * MIB + 12_345
DATA = random.Random(9).randbytes(SIZE)


@pytest.fixture(name="path", scope="module")
def cached_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cached") / "data"
    path.write_bytes(DATA)
    return path


@pytest.mark.long
@pytest.mark.parametrize("chunk", [None, 4096, 300_001, 64 * MIB])
@pytest.mark.parametrize("depth", [None, 1, 2])
def test_every_byte(path: Path, chunk: int | None, depth: int | None) -> None:
    dice = random.Random(f"{chunk} {depth}")
    for _ in range(3):
        cuts = sorted(dice.randrange(SIZE) for _ in range(dice.choice((0, 1, 5, 200))))
        buffer = bytearray(SIZE + 1)
        view = memoryview(buffer)[1:]
        bounds = list(zip([0, *cuts], [*cuts, SIZE], strict=True))
        dice.shuffle(bounds)
        segments = [(start, view[start:end]) for start, end in bounds]
        transfer = load_into(path, segments, chunk=chunk, depth=depth)
        assert transfer.nbytes == SIZE
        assert view == DATA


def test_partly_cached(tmp_path: Path) -> None:
    """Requests to the disk and copies from the cache at the same time."""
    path = tmp_path / "data"
    path.write_bytes(DATA)
    with path.open("rb") as file:
        os.fsync(file)
        for offset in range(0, SIZE, 6 * MIB):
            os.posix_fadvise(file.fileno(), offset, 2 * MIB, os.POSIX_FADV_DONTNEED)
    buffer = bytearray(SIZE)
    transfer = load_into(path, [(0, buffer)])
    assert buffer == DATA
    assert transfer.nbytes == SIZE


def test_the_end_of_the_file(path: Path) -> None:
    buffer = bytearray(SIZE)
    other = bytearray(8 * MIB)
    start = SIZE - 9 * MIB
    with pytest.raises(ShortFileError) as short:
        load_into(path, [(start, buffer), (SIZE + 1, other), (5, memoryview(other)[:MIB])])
    assert short.value.transfer.nbytes == 10 * MIB
    assert buffer[: 9 * MIB] == DATA[start:]
    assert not any(buffer[9 * MIB :])
    assert other[:MIB] == DATA[5 : 5 + MIB]


@pytest.mark.long
def test_given_up_in_the_middle(path: Path) -> None:
    class Enough(Exception):  # noqa: N818
        pass

    def stop(done: int, total: int) -> None:
        raise Enough

    for _ in range(20):
        buffers = [bytearray(SIZE) for _ in range(4)]
        with contextlib.suppress(Enough):
            load_into(path, [(0, buffer) for buffer in buffers], progress=stop)
        for buffer in buffers:
            buffer.append(1)  # nothing uses them any more
    assert not [thread for thread in threading.enumerate() if "linux_aio" in thread.name]


def test_a_fork_in_a_callback(path: Path) -> None:
    """The child can't go on, and the parent can."""
    buffers = [bytearray(SIZE) for _ in range(30)]
    forked: list[int] = []

    def progress(done: int, total: int) -> None:
        if not forked and done < total:
            forked.append(done)
            in_child(lambda: None)

    load_into(path, [(0, buffer) for buffer in buffers], progress=progress)
    assert all(buffer == DATA for buffer in buffers)


def test_signals_are_the_main_threads(path: Path) -> None:
    """None of the threads that help takes one."""
    seen: list[threading.Thread] = []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(threading.current_thread()))
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    try:
        buffer = bytearray(SIZE)
        for _ in range(20):
            load_into(path, [(0, buffer)])
            assert buffer == DATA
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert set(seen) <= {threading.main_thread()}


def test_many_at_the_same_time(path: Path) -> None:
    async def main() -> None:
        buffers = [bytearray(SIZE) for _ in range(6)]
        await asyncio.gather(*(aload_into(path, [(0, buffer)]) for buffer in buffers))
        assert all(buffer == DATA for buffer in buffers)

    run(main())
