# SPDX-License-Identifier: Apache-2.0
"""Plans read_many: puts ranges of a file that lie close together into groups."""

from __future__ import annotations

import operator
from array import array

from . import _core
from ._loop_context import pause
from ._worker import Worker

_LARGEST_OFFSET = (1 << 63) - 1

# With ordered=True, only so many ranges, which the program takes soon, are put into groups with
# each other.
_WINDOW_RANGES = 1024

# To put more ranges into groups would hold up the loop.
_FEW_RANGES = 2000


class RangeGroups:
    """Ranges of a file, and the groups in which they are read."""

    def __init__(self, ranges: array[int], ends: array[int], ordered: bool) -> None:
        self._ranges = ranges  # offset and length of each
        self.ends = ends  # of the windows
        # The memory limit does not apply to the window that the program waits for. That is window 0
        # at first, and if the order does not matter, all ranges are in window 1: so the limit
        # applies to all of them.
        self._first_window = 0 if ordered else 1

    def find(self, max_gap: int, max_merge: int) -> None:
        """Put the ranges into groups. Releases the GIL."""
        order, groups, pieces = _core._group_ranges(
            self._ranges,
            self.ends,
            self._first_window,
            min(max_gap, _LARGEST_OFFSET),
            min(max_merge, _LARGEST_OFFSET),
        )
        self._order = memoryview(order).cast("q")
        self._groups = memoryview(groups).cast("q")
        self._pieces = memoryview(pieces).cast("q")
        self.pieces = pieces

    def range_of(self, index: int) -> tuple[int, int]:
        """Return the offset and length of a range."""
        return self._ranges[2 * index], self._ranges[2 * index + 1]

    def indices(self, number: int) -> memoryview[int]:
        """Return the indices of the ranges of a group."""
        return self._order[self._groups[4 * number + 2] : self._groups[4 * number + 3]]

    def end(self, number: int) -> int:
        """Return the offset of the end of a group."""
        return self._groups[4 * number] + self._groups[4 * number + 1]

    def size_of_piece(self, number: int) -> int:
        """Return how many bytes are read for a group."""
        return self._pieces[3 * number + 1]


async def group_ranges(
    ranges: list[tuple[int, int]], max_gap: int, max_merge: int, memory: int, ordered: bool
) -> RangeGroups:
    """Check the arguments of read_many, and put the ranges into groups."""
    max_gap, max_merge = operator.index(max_gap), operator.index(max_merge)
    if max_gap < 0 or max_merge < 0:
        raise ValueError("max_gap and max_merge must not be negative")
    if memory <= 0:
        raise ValueError("memory must be positive")
    numbers = array("q")
    ends = array("q")
    first = nbytes = 0  # of the window
    for index, (given_offset, given_length) in enumerate(ranges):
        # Python's integers, since NumPy's can overflow
        offset, length = operator.index(given_offset), operator.index(given_length)
        if offset < 0 or length < 0:
            raise ValueError(f"a range must not be negative: ({offset}, {length})")
        if offset + length > _LARGEST_OFFSET:
            raise ValueError(f"no file is so long: ({offset}, {length})")
        is_full = index - first == _WINDOW_RANGES or nbytes + length > memory // 4
        if ordered and is_full and index > first:
            ends.append(index)
            first, nbytes = index, 0
        nbytes += length
        numbers.append(offset)
        numbers.append(length)
        if _core._ends_slice():
            await pause(0)
    if ranges:
        ends.append(len(ranges))
    groups = RangeGroups(numbers, ends, ordered)

    def find(_: Worker[None]) -> None:
        groups.find(max_gap, max_merge)

    if len(ranges) <= _FEW_RANGES:
        groups.find(max_gap, max_merge)
        return groups
    async with Worker(find) as worker:
        while not worker.finished:
            await worker.news()
        worker.result()
    return groups
