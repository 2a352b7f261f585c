# SPDX-License-Identifier: Apache-2.0
"""_group_ranges, which plans read_many, beside a simple model; and that it holds up no loop."""

from __future__ import annotations

import mmap
import random
from array import array
from pathlib import Path

import pytest

from linux_aio import _core
from linux_aio.bulk import read_many
from support.loops import run
from support.stalls import beats

pytest_plugins = ["support.fixtures"]

LARGEST = (1 << 63) - 1
PAGE = mmap.PAGESIZE

Group = tuple[int, int, list[int]]  # offset, length, indices of ranges


def found(
    ranges: list[tuple[int, int]], ends: list[int], gap: int, merge: int
) -> tuple[list[Group], list[tuple[int, int, int]]]:
    numbers = array("q", [number for pair in ranges for number in pair])
    answer = _core._group_ranges(numbers, array("q", ends), 3, gap, merge)
    order, groups, pieces = (memoryview(part).cast("q").tolist() for part in answer)
    fours = zip(groups[::4], groups[1::4], groups[2::4], groups[3::4], strict=True)
    return (
        [(offset, length, order[first:end]) for offset, length, first, end in fours],
        list(zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True)),
    )


def expected(
    ranges: list[tuple[int, int]], ends: list[int], gap: int, merge: int
) -> tuple[list[Group], list[tuple[int, int, int]]]:
    groups: list[Group] = []
    pieces = []
    begin = 0
    for window, end_of_window in enumerate(ends, 3):
        begun = len(groups)
        for index in sorted(range(begin, end_of_window), key=lambda index: (*ranges[index], index)):
            offset, length = ranges[index]
            if len(groups) > begun:
                start, size, members = groups[-1]
                if offset <= start + size + gap and offset + length <= start + merge:
                    groups[-1] = start, max(size, offset + length - start), [*members, index]
                    continue
            groups.append((offset, length, [index]))
        for offset, length, _ in groups[begun:]:
            first = offset - offset % PAGE
            last = min(-(-(offset + length) // PAGE) * PAGE, LARGEST)
            pieces.append((first, last - first, window) if length else (offset, 0, window))
        begin = end_of_window
    return groups, pieces


@pytest.mark.parametrize("base", [0, LARGEST - 100_000])
def test_like_the_model(base: int) -> None:
    dice = random.Random(base)
    for _ in range(300):
        count = dice.randrange(40)
        ranges = []
        for _ in range(count):
            offset = base + dice.choice([dice.randrange(100_000), dice.randrange(10) * PAGE])
            length = dice.choice([0, 1, PAGE, dice.randrange(30_000), LARGEST])
            ranges.append((offset, min(length, LARGEST - offset)))
        ends = sorted(dice.randrange(count + 1) for _ in range(dice.randrange(3)))
        ends.append(count)
        gap = dice.choice([0, 1, 16384, LARGEST])
        merge = dice.choice([0, 4096, 50_000, LARGEST])
        case = ranges, ends, gap, merge
        assert found(*case) == expected(*case), case


def test_wrong_windows() -> None:
    ranges = array("q", [0, 1, 5, 1])
    for ends in ([], [1], [3], [2, 1], [-1, 2], [1, 2, 3]):
        with pytest.raises(ValueError, match="windows"):
            _core._group_ranges(ranges, array("q", ends), 0, 0, 0)


def test_many_ranges_hold_up_no_loop(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 20))
    dice = random.Random(5)
    ranges = [(dice.randrange((1 << 20) - 16), 16) for _ in range(500_000)]

    async def read() -> None:
        reading = read_many(path, ranges)
        async for _ in reading:
            break
        await reading.aclose()

    run(beats(read(), 0.5))
