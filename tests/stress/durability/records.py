# SPDX-License-Identifier: Apache-2.0
"""The log that is written: records that anybody can make again from a seed and a number."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from random import Random
from struct import Struct
from typing import Literal, TypeAlias

Layout: TypeAlias = Literal["append", "direct"]

BLOCK = 4096  # that records of a direct layout are multiples of
PREALLOCATED = 4 << 20  # the file of a direct layout; appending makes its file longer

_HEADER = Struct("<4sIII")  # a mark, the record's number, its length, and a checksum of the rest
_MARK = b"REC!"


@dataclass(frozen=True)
class Record:
    """A record, and its place in the file."""

    number: int
    offset: int
    data: bytes

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


class Log:
    """Makes the records of a log, in order."""

    def __init__(self, layout: Layout, seed: int) -> None:
        self._layout = layout
        self._chance = Random(seed)
        self._number = 0
        self._offset = 0

    def next(self) -> Record | None:
        """The next record, or None if the file is full."""
        if self._layout == "direct":
            size = self._chance.choice([1, 1, 2, 4]) * BLOCK
        else:
            size = self._chance.randint(20, 9000)
        body = self._chance.randbytes(size - _HEADER.size)
        if self._offset + size > PREALLOCATED:
            return None
        head = _HEADER.pack(_MARK, self._number, size, zlib.crc32(body))
        record = Record(self._number, self._offset, head + body)
        self._number += 1
        self._offset += size
        return record


def is_intact(record: Record, disk: bytes) -> bool:
    """Whether the disk has the record, to the byte, as somebody who recovers would find it."""
    found = disk[record.offset : record.end]
    if len(found) < _HEADER.size:
        return False
    mark, number, size, checksum = _HEADER.unpack_from(found)
    return (
        (mark, number, size) == (_MARK, record.number, len(record.data))
        and zlib.crc32(found[_HEADER.size :]) == checksum
        and found == record.data
    )


def is_torn_at_most(record: Record, disk: bytes) -> bool:
    """Whether each byte there is the record's, or was never written and is 0."""
    found = disk[record.offset : record.end]
    return all(
        byte in (0, written) for byte, written in zip(found, record.data[: len(found)], strict=True)
    )
