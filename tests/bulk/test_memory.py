# SPDX-License-Identifier: Apache-2.0
"""What transfers need of memory has a limit, however large the files are."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.programs import end_of, start_program

MIB = 1 << 20

# Runs the task once on something small, for the modules and threads that it needs.
PROGRAM = """
import asyncio, resource, sys
MIB = 1 << 20
from linux_aio.bulk import acopy, checksum, copy, load_into, read_many

async def slow(path, ordered):
    ranges = [(i << 14, 1 << 14) for i in range(SIZE >> 14)]
    ranges.reverse()
    count = 0
    async for _, data in read_many(path, ranges, memory=8 << 20, ordered=ordered):
        count += 1
        if count % 1000 == 0:
            await asyncio.sleep(0.01)
    assert count == len(ranges)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

small, large, target = sys.argv[1:]
SIZE = 4096
TASK(small)
before = peak()
SIZE = 300 << 20
TASK(large)
print(peak() - before)
"""

TASKS = {
    "checksum": "checksum(path)",
    "copy": "copy(path, target, durable=False)",
    "awaited copy": "asyncio.run(acopy(path, target))",
    "load a little of much": "load_into(path, [(i, bytearray(9)) for i in range(0, SIZE, MIB)])",
    "ranges": "asyncio.run(slow(path, False))",
    "ranges in order": "asyncio.run(slow(path, True))",
}


def peak_of(task: str, small: Path, large: Path, target: Path) -> int:
    """MiB by which the peak of the process's memory grows."""
    define = f"TASK = lambda path: {task}\n"
    program = start_program(
        PROGRAM.replace("small, large", define + "small, large", 1), small, large, target
    )
    return int(end_of(program))


@pytest.mark.long
@pytest.mark.parametrize("name", TASKS)
def test_files_that_are_large(name: str, tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(bytes(4096))
    with large.open("wb") as file:
        for _ in range(300):
            file.write(bytes(MIB))
    assert peak_of(TASKS[name], small, large, tmp_path / "target") < 64


def test_holes_of_100_gib(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(bytes(4096))
    with large.open("wb") as file:
        file.truncate(100 << 30)
        file.seek(70 << 30)
        file.write(b"data" * 5_000_000)
    target = tmp_path / "target"
    assert peak_of(TASKS["copy"], small, large, target) < 64
    assert target.stat().st_size == 100 << 30
    assert target.stat().st_blocks * 512 < 64 * MIB
