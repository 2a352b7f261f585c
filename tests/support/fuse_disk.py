# SPDX-License-Identifier: Apache-2.0
"""A disk with a volatile cache: decides which data of a file survives a loss of power."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

SECTOR = 512  # what a disk writes whole or not at all


@dataclass(eq=False)
class CachedWrite:
    """A write that was answered, but is not stable, or waits for older writes to be stable."""

    number: int
    offset: int
    payload: bytes
    synced: bool

    def sectors(self) -> Iterator[tuple[int, bytes]]:
        """Yield the pieces of the write, cut at the ends of sectors."""
        at = 0
        while at < len(self.payload):
            offset = self.offset + at
            size = SECTOR - offset % SECTOR
            yield offset, self.payload[at : at + size]
            at += size


class Disk:
    """The data of one file: the stable data, and the later writes that were not synced.

    A sync covers the writes that were answered before the sync was requested. A synchronous write
    covers itself. Each sector of the other writes may survive a loss of power, or not.
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
        """Return a mark for `sync`: the writes that a sync requested now must cover."""
        return self._number

    def sync(self, mark: int) -> None:
        """Make the writes before the mark stable."""
        for write in self._cached:
            if write.number < mark:
                self._keep(write.offset, write.payload)
        self._cached = [write for write in self._cached if write.number >= mark]

    def replace(self, data: bytes) -> None:
        """Replace the contents by stable ones."""
        self.stable[:] = data
        self._cached.clear()

    def lose_power(self, chance: Random) -> None:
        """Set `stable` to the data that is there when the power is back."""
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
    """The unsynced renames of a directory. A loss of power undoes the last ones."""

    def __init__(self) -> None:
        super().__init__()
        self._renames: list[tuple[int, Callable[[], None]]] = []

    def note(self, undo: Callable[[], None]) -> None:
        """Note a rename by the function that undoes it."""
        self._renames.append((self._number, undo))
        self._number += 1

    def sync(self, mark: int) -> None:
        """Make the renames before the mark stable."""
        self._renames = [rename for rename in self._renames if rename[0] >= mark]

    def lose_power(self, chance: Random) -> None:
        """Undo some of the renames, the last ones first."""
        for _ in range(chance.randint(0, len(self._renames))):
            self._renames.pop()[1]()
        self._renames.clear()
