# SPDX-License-Identifier: Apache-2.0
"""Files, what must be in them, and which parts of them are in use."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

FOR_EVER = 1 << 62  # an end beyond that of any file


@dataclass(eq=False)
class Claim:
    """A part of a file that operations are at work on."""

    start: int
    end: int
    writes: bool

    def is_in_the_way_of(self, other: Claim) -> bool:
        overlap = self.start < other.end and other.start < self.end
        return overlap and (self.writes or other.writes)


@dataclass(eq=False)
class File:
    """A file, and a model of it."""

    name: str
    fd: int
    model: bytearray
    read_all: Callable[[], bytes]  # what is really there, found out without linux_aio
    close: Callable[[], None]
    limit: int = 1 << 17  # that it is not to outgrow
    unit: int = 1  # that direct transfers are multiples of
    direct: bool = False
    grows: bool = True
    errors: AbstractSet[int] = frozenset()  # that any transfer may meet
    may_be_full: bool = False
    has_nowait: bool = True
    claims: list[Claim] = field(default_factory=list)

    def claim_read(self, offset: int, size: int) -> Claim | None:
        """The part that a read is about, to itself and other reads; None if it is in use."""
        reaches_the_end = size and offset + size > len(self.model)
        return self._claim(Claim(offset, FOR_EVER if reaches_the_end else offset + size, False))

    def claim_write(self, offset: int, size: int) -> Claim | None:
        """The part that a write is about, and all behind it if the file grows."""
        if size and offset + size > len(self.model):
            return self._claim(Claim(min(offset, len(self.model)), FOR_EVER, True))
        return self._claim(Claim(offset, offset + size, True))

    def _claim(self, claim: Claim) -> Claim | None:
        if any(other.is_in_the_way_of(claim) for other in self.claims):
            return None
        self.claims.append(claim)
        return claim

    def give_back(self, claim: Claim) -> None:
        self.claims.remove(claim)

    def expect(self, offset: int, size: int) -> bytes:
        """What a read finds."""
        return bytes(self.model[offset : offset + size])

    def written(self, offset: int, payload: bytes) -> None:
        """A write took place."""
        if payload:
            self.model.extend(bytes(max(0, offset - len(self.model))))
            self.model[offset : offset + len(payload)] = payload

    def settle(self, claim: Claim, offset: int, payload: bytes) -> None:
        """A write may have taken place, or partly, or not at all: look what is there."""
        if not payload:
            return
        actual = self.read_all()
        assert len(actual) >= len(self.model), f"{self.name} lost its end"
        if claim.end == FOR_EVER:
            assert len(actual) <= max(len(self.model), offset + len(payload)), "it grew by itself"
            self.model.extend(bytes(len(actual) - len(self.model)))
        after = bytearray(self.model)
        after[offset : offset + len(payload)] = payload
        for at in range(claim.start, min(claim.end, len(self.model))):
            assert actual[at] in (self.model[at], after[at]), f"{self.name}: stray byte at {at}"
            self.model[at] = actual[at]

    def check(self) -> None:
        """All of it, when nothing is in flight."""
        assert not self.claims, f"{self.name} is in use"
        actual = self.read_all()
        assert len(actual) == len(self.model), f"{self.name} has {len(actual)} bytes"
        if actual != self.model:
            wrong = [at for at, byte in enumerate(actual) if byte != self.model[at]]
            raise AssertionError(f"{self.name}: {len(wrong)} wrong bytes, from {wrong[0]} on")
