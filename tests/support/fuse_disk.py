# SPDX-License-Identifier: Apache-2.0
"""A disk with a cache that forgets: what of a file survives a loss of power."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

SECTOR = 512  # what a disk writes whole or not at all


@dataclass(eq=False)
class CachedWrite:
    """A write that was answered, but is not on the disk, or waits there for older ones."""

    number: int
    offset: int
    payload: bytes
    synced: bool

    def sectors(self) -> Iterator[tuple[int, bytes]]:
        """Its pieces, cut where sectors end."""
        at = 0
        while at < len(self.payload):
            offset = self.offset + at
            size = SECTOR - offset % SECTOR
            yield offset, self.payload[at : at + size]
            at += size


class Disk:
    """The data of one file: what is stable, and what was written since and not synced.

    A sync covers the writes that were answered when it was asked for. A synchronous write covers
    itself. What is not covered is lost with the power, or not, sector by sector.
    """

    def __init__(self) -> None:
        self.stable = bytearray()
        self._cached: list[CachedWrite] = []
        self._number = 0

    def write(self, offset: int, payload: bytes, synchronous: bool) -> None:
        """Take the data of a write that is about to be answered."""
        write = CachedWrite(self._number, offset, payload, synchronous)
        self._number += 1
        if synchronous and not self._cached:
            self._keep(offset, payload)
        else:
            self._cached.append(write)

    def mark(self) -> int:
        """What a sync that is asked for now has to cover, for `sync`."""
        return self._number

    def sync(self, mark: int) -> None:
        """Keep for good what was written before the mark."""
        for write in self._cached:
            if write.number < mark:
                self._keep(write.offset, write.payload)
        self._cached = [write for write in self._cached if write.number >= mark]

    def replace(self, data: bytes) -> None:
        """Other contents, for good."""
        self.stable[:] = data
        self._cached.clear()

    def lose_power(self, chance: Random) -> None:
        """Make `stable` what is there when the power is back."""
        survival = chance.choice([0.0, 0.1, 0.5, 0.9])
        for write in self._cached:
            for offset, piece in write.sectors():
                if write.synced or chance.random() < survival:
                    self._keep(offset, piece)
        self._cached.clear()

    def _keep(self, offset: int, payload: bytes) -> None:
        if payload and offset > len(self.stable):
            self.stable.extend(bytes(offset - len(self.stable)))
        self.stable[offset : offset + len(payload)] = payload


class Names(Disk):
    """The renames of a directory that were not synced: the last ones are undone with the power."""

    def __init__(self) -> None:
        super().__init__()
        self._renames: list[tuple[int, Callable[[], None]]] = []

    def note(self, undo: Callable[[], None]) -> None:
        """Take a rename that was done, and how it is undone."""
        self._renames.append((self._number, undo))
        self._number += 1

    def sync(self, mark: int) -> None:
        """Keep for good what was renamed before the mark."""
        self._renames = [rename for rename in self._renames if rename[0] >= mark]

    def lose_power(self, chance: Random) -> None:
        """Undo some of the renames, the last ones first."""
        for _ in range(chance.randint(0, len(self._renames))):
            self._renames.pop()[1]()
        self._renames.clear()
