# SPDX-License-Identifier: Apache-2.0
"""Blocks of a file that say themselves what is in them."""

from __future__ import annotations

from struct import Struct

BLOCK = 4096

_WORDS = Struct("<QQ")


def pattern(number: int, version: int) -> bytes:
    """The contents of a block; version 0 is that of a file never written."""
    if version == 0:
        return bytes(BLOCK)
    return _WORDS.pack(number, version) * (BLOCK // _WORDS.size)


class Block:
    """A block with one user. A write that was given up may yet take place, or not."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.possible = {0}
        self.version = 0

    @property
    def offset(self) -> int:
        return self.number * BLOCK

    def next(self) -> bytes:
        """What to write to it now."""
        self.version += 1
        self.possible.add(self.version)
        return pattern(self.number, self.version)

    def written(self) -> None:
        """The last write has taken place, and so all before it are over."""
        self.possible = {self.version}

    def check(self, data: bytes) -> None:
        """What was read must be one of the versions that can be there."""
        assert len(data) == BLOCK, f"{len(data)} bytes of block {self.number}"
        for version in self.possible:
            if data == pattern(self.number, version):
                return
        raise AssertionError(
            f"block {self.number} has none of the versions {self.possible}, but {data[:32]!r}"
        )
