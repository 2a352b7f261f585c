# SPDX-License-Identifier: Apache-2.0
"""One request: its arguments, and what must come of it."""

from __future__ import annotations

import array
import errno
import mmap
import os
import select
from collections.abc import Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any

from fuzz.api.files import Claim, File
from linux_aio import AIOContext, AIOOperation, aligned_buffer
from support.files import Gate

FILLER = 0xEE  # what buffers hold that are to be read into

TRANSFERS = ("read", "readinto", "readv", "write", "writev")
SYNCS = ("fsync", "fdsync")


def is_immutable(buffer: object) -> bool:
    return type(buffer.obj if isinstance(buffer, memoryview) else buffer) is bytes


@dataclass(eq=False)
class Plan:
    """What is to be asked for. `begin` it, let it run, then `finish`, `fail` or `settle` it."""

    kind: str
    arguments: tuple[Any, ...]
    file: File | None = None
    offset: int = 0
    size: int = 0
    flags: int = 0
    buffers: list[Any] = field(default_factory=list)
    gate: Gate | None = None
    errors: set[int] = field(default_factory=set)  # that it may meet beside those of its file
    claim: Claim | None = None
    is_an_operation: bool = False  # that was submitted, and then awaited
    expected: bytes = b""  # that is read or written

    @property
    def writes(self) -> bool:
        return self.kind in ("write", "writev")

    @property
    def reads(self) -> bool:
        return self.kind in ("read", "readinto", "readv")

    @property
    def is_mutable(self) -> bool:
        """Whether the kernel has memory that the program can change: a cancelled await waits."""
        if self.kind in ("readinto", "readv"):
            return True
        return self.writes and not all(map(is_immutable, self.buffers))

    def operation(self) -> AIOOperation:
        made: AIOOperation = getattr(AIOOperation, self.kind)(*self.arguments)
        return made

    def coroutine(self, context: AIOContext) -> Coroutine[Any, Any, Any]:
        made: Coroutine[Any, Any, Any] = getattr(context, self.kind)(*self.arguments)
        return made

    def memory(self) -> bytes:
        return b"".join(bytes(buffer) for buffer in self.buffers)

    def begin(self) -> bool:
        """Claim what it touches; False if that is in use."""
        if self.file is None or self.kind in SYNCS:
            return True
        if self.writes:
            if self.flags & os.RWF_APPEND:
                self.offset = len(self.file.model)
            self.claim = self.file.claim_write(self.offset, self.size)
        else:
            self.claim = self.file.claim_read(self.offset, self.size)
        if self.claim is None:
            return False
        if self.writes:
            self.expected = self.memory()
        else:
            self.expected = self.file.expect(self.offset, self.size)
            for buffer in self.buffers:
                memoryview(buffer).cast("B")[:] = bytes([FILLER]) * memoryview(buffer).nbytes
        return True

    def withdraw(self) -> None:
        """It was not submitted after all."""
        self._give_back()

    def finish(self, result: object) -> None:
        """It succeeded."""
        if self.kind in SYNCS:
            assert result is None
        elif self.kind == "poll":
            assert result == select.POLLIN, result
        elif self.writes:
            self._finish_write(result)
        else:
            self._finish_read(result)
        self._give_back()

    def fail(self, error: OSError, also: set[int]) -> None:
        """It failed: was there a reason?"""
        allowed = self.errors | also
        if self.file is not None:
            allowed |= self.file.errors
        assert error.errno in allowed, f"{self}: {error!r}"
        assert self.kind in str(error), f"{error} does not say what it was"
        self.settle()

    def settle(self) -> None:
        """It is over, and nobody knows how it went."""
        if self.writes and self.file is not None and self.claim is not None:
            self.file.settle(self.claim, self.offset, self.expected)
        self._give_back()

    def _give_back(self) -> None:
        if self.claim is not None and self.file is not None:
            self.file.give_back(self.claim)
        self.claim = None

    def _finish_write(self, result: object) -> None:
        assert self.file is not None
        assert type(result) is int
        may_be_short = self.file.may_be_full or self.flags & os.RWF_NOWAIT
        assert result == self.size or (may_be_short and 0 <= result < self.size), self
        assert self.memory() == self.expected, "the payload changed"
        self.file.written(self.offset, self.expected[:result])

    def _finish_read(self, result: object) -> None:
        assert self.file is not None
        if self.kind == "read":
            assert type(result) is bytes
            got = result
        else:
            assert type(result) is int
            memory = self.memory()
            got = memory[:result]
            # a direct read may go on to the end of a block
            if not self.file.direct:
                assert memory[result:] == bytes([FILLER]) * (len(memory) - result), self
        if self.flags & os.RWF_NOWAIT:
            assert got == self.expected[: len(got)], self
        else:
            assert got == self.expected, f"{self}: got {got[:50]!r}, not {self.expected[:50]!r}"

    def __str__(self) -> str:
        name = self.file.name if self.file is not None else "no file"
        return f"{self.kind} of {self.size} at {self.offset} of {name}, flags {self.flags:#x}"


def cut_up(total: int, unit: int, chance: Random) -> list[int]:
    """Sizes that make up the total, some of them 0."""
    sizes: list[int] = []
    while total and len(sizes) < 6:
        size = min(total, chance.randint(0, 4) * unit * chance.choice([1, 1, 8]))
        sizes.append(size)
        total -= size
    return [*sizes, total]


def source(data: bytes, file: File, chance: Random) -> Any:
    """A buffer of some kind with the data."""
    if file.unit > 1:
        buffer: memoryview = aligned_buffer(len(data))
        buffer[:] = data
        return buffer
    kind = chance.randrange(6)
    if kind == 0:
        return bytearray(data)
    if kind == 1:
        return memoryview(b"?" + data)[1:]
    if kind == 2:
        return array.array("B", data)
    if kind == 3 and data:
        mapped = mmap.mmap(-1, len(data))
        mapped[:] = data
        return mapped
    return data


def target(size: int, file: File, chance: Random) -> Any:
    """A buffer of some kind of this size."""
    if file.unit > 1:
        return aligned_buffer(size)
    kind = chance.randrange(4)
    if kind == 0:
        return memoryview(bytearray(size + 1))[1:]
    if kind == 1:
        return array.array("B", bytes(size))
    if kind == 2 and size:
        return mmap.mmap(-1, size)
    return bytearray(size)


def transfer(file: File, fd: Any, chance: Random) -> Plan:
    """Any read or write of the file; `fd` is how the program names it."""
    kind = chance.choice(TRANSFERS)
    unit = 1 if kind == "read" else file.unit
    furthest = file.limit if file.grows else len(file.model)
    size = min(chance.choice([0, 1, 100, 512, 4096, 20_000, 50_000]), furthest) // unit * unit
    if chance.random() < 0.5 and kind != "read":
        size = max(size, unit) if unit <= furthest else 0
    room = furthest - size
    if chance.random() < 0.5:
        room = min(room, len(file.model))
    offset = chance.randint(0, room // unit) * unit
    flags = pick_flags(kind, file, chance)
    errors = {errno.EAGAIN, errno.EOPNOTSUPP} if flags & os.RWF_NOWAIT else set()
    tail = (fd, offset, 0, flags)
    if kind == "read":
        return Plan(kind, (size, *tail), file, offset, size, flags, errors=errors)
    sizes = cut_up(size, unit, chance) if kind.endswith("v") else [size]
    if kind in ("write", "writev"):
        buffers = [source(chance.randbytes(part), file, chance) for part in sizes]
    else:
        buffers = [target(part, file, chance) for part in sizes]
    given = buffers if kind.endswith("v") else buffers[0]
    return Plan(kind, (given, *tail), file, offset, size, flags, buffers, errors=errors)


def pick_flags(kind: str, file: File, chance: Random) -> int:
    """Those that the file has."""
    writes = kind in ("write", "writev")
    choices = [0] * 8
    if file.has_nowait:
        choices.append(os.RWF_NOWAIT)
    if writes:
        choices.append(os.RWF_DSYNC)
        if not file.direct:
            choices.append(os.RWF_APPEND)
    return chance.choice(choices)


def sync(file: File, fd: Any, chance: Random) -> Plan:
    kind = chance.choice(SYNCS)
    return Plan(kind, (fd,), file)


def poll(gate: Gate) -> Plan:
    return Plan("poll", (gate, select.POLLIN), gate=gate)
