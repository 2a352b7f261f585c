# SPDX-License-Identifier: Apache-2.0
"""linux_aio's functions for whole files: load_into, copy, checksum, read_many, and arrays."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import mmap
import os
import random

from linux_aio import aligned_buffer
from linux_aio.bulk import checksum, copy, load_into, read_many

from .. import files
from .base import Whole

RANGES = 10_000
RANGE = 4096


class Load(Whole):
    """All of the file into one buffer."""

    def prepare(self) -> None:
        self.size = os.path.getsize(self.path)
        self.buffer = aligned_buffer(self.size)
        files.touch(self.buffer)

    def run(self) -> object:
        return load_into(self.path, self.segments())

    def segments(self) -> list[tuple[int, memoryview]]:
        return [(0, self.buffer)]

    def check(self, result: object) -> None:
        files.compare(self.path, self.buffer)


class LoadThousand(Load):
    """All of the file into 1,000 buffers of odd sizes."""

    def segments(self) -> list[tuple[int, memoryview]]:
        dice = random.Random(1)
        cuts = [0, *sorted(dice.randrange(self.size) for _ in range(999)), self.size]
        pairs = itertools.pairwise(cuts)
        return [(start, self.buffer[start:end]) for start, end in pairs]


class Preadv(Load):
    """One thread and one call after the other, buffered, into the same memory."""

    def run(self) -> object:
        fd = os.open(self.path, os.O_RDONLY)
        done = 0
        while done < self.size:
            done += os.preadv(fd, [self.buffer[done:]], done)
        os.close(fd)
        return done


class Numpy(Whole):
    modules = ("linux_aio.numpy",)

    def run(self) -> object:
        from linux_aio.numpy import load

        return load(self.path)


class Safetensors(Whole):
    modules = ("linux_aio.safetensors", "numpy")  # which linux_aio imports when it is called

    def run(self) -> object:
        from linux_aio.safetensors import load_file

        return load_file(self.path)


class Copy(Whole):
    def prepare(self) -> None:
        self.target = self.path + ".copy"

    def run(self) -> object:
        return copy(self.path, self.target)

    def check(self, result: object) -> None:
        with open(self.target, "rb") as file:
            files.compare(self.path, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))

    def close(self) -> None:
        if os.path.exists(self.target):
            os.unlink(self.target)


class Checksum(Whole):
    def run(self) -> object:
        return checksum(self.path)

    def check(self, result: object) -> None:
        with open(self.path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != result:
                raise RuntimeError("a wrong digest")


def ranges_of(path: str) -> list[tuple[int, int]]:
    """10,000 ranges in clusters of 20, each within 256 KiB, in no order."""
    dice = random.Random(1)
    size = os.path.getsize(path)
    ranges: list[tuple[int, int]] = []
    for _ in range(RANGES // 20):
        start = dice.randrange(size - (1 << 18))
        ranges += [(start + dice.randrange((1 << 18) - RANGE), RANGE) for _ in range(20)]
    dice.shuffle(ranges)
    return ranges


class Many(Whole):
    """read_many."""

    def prepare(self) -> None:
        self.ranges = ranges_of(self.path)

    def run(self) -> object:
        return asyncio.run(self.read())

    async def read(self) -> int:
        return sum([len(data) async for _, data in read_many(self.path, self.ranges)])

    def check(self, result: object) -> None:
        if result != RANGES * RANGE:
            raise RuntimeError(f"it read {result} bytes")


class Single(Many):
    """The same ranges by single reads of linux_aio, 64 in flight."""

    async def read(self) -> int:
        from linux_aio import AIOContext

        left = iter(self.ranges)
        done = 0

        async def some() -> None:
            nonlocal done
            for offset, length in left:
                data = await context.read(length, fd, offset)
                done += len(data)

        fd = os.open(self.path, os.O_RDONLY)
        async with AIOContext(64) as context, asyncio.TaskGroup() as group:
            for _ in range(64):
                group.create_task(some())
        os.close(fd)
        return done
