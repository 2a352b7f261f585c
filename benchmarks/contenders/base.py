# SPDX-License-Identifier: Apache-2.0
"""The base classes of contenders: each is one of these four."""

from __future__ import annotations

import mmap
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from importlib import import_module
from typing import ClassVar

from .. import files
from ..model import Access, Case, Job, Sample, Storage

Memory = bytes | bytearray | memoryview | mmap.mmap


class Asynchronous(ABC):
    """Runs `in_flight` tasks on an event loop, each with one request at a time."""

    on_trio: ClassVar[bool] = False  # else on asyncio or uvloop, as the case says

    def __init__(self, case: Case, path: str) -> None:
        self.case = case
        self.path = path
        self.size = case.block
        self.block: Memory = os.urandom(case.block)  # the data to write
        if case.access is Access.WRITE and self.direct:
            self.block = mmap.mmap(-1, case.block)
            self.block.write(os.urandom(case.block))

    @abstractmethod
    async def open(self) -> None: ...

    @abstractmethod
    async def once(self, slot: int, offset: int) -> Memory:
        """Read a block, for a comparison with the file."""

    @abstractmethod
    async def run(self, slot: int, offsets: Iterator[int]) -> None:
        """Run one of the tasks: read (or write) at each of the offsets."""

    @abstractmethod
    async def close(self) -> None: ...

    @property
    def writes(self) -> bool:
        return self.case.access is Access.WRITE

    @property
    def direct(self) -> bool:
        return self.case.storage is Storage.DIRECT

    def aligned(self) -> list[mmap.mmap]:
        """For libraries that can read into aligned memory: a buffer for each task."""
        return [mmap.mmap(-1, self.size) for _ in range(self.case.in_flight)]


class OneDescriptor(Asynchronous):
    """A contender whose library takes a file descriptor."""

    fd: int

    async def open(self) -> None:
        self.fd = files.open_for(self.case, self.path)

    async def close(self) -> None:
        os.close(self.fd)


class Synchronous(ABC):
    """Runs in one thread without a loop. run() appends latencies, in ns, if it gets a list."""

    def __init__(self, case: Case, path: str) -> None:
        self.case = case
        self.path = path

    @abstractmethod
    def open(self) -> None: ...

    @abstractmethod
    def once(self, offset: int) -> Memory: ...

    @abstractmethod
    def run(self, offsets: Iterator[int], latencies: list[float] | None) -> None: ...

    @abstractmethod
    def close(self) -> None: ...


class Whole(ABC):
    """One call that reads, copies or hashes a file. A turn times one call."""

    operations = 0  # how many operations a call counts for; 0: the file's MiB
    modules: ClassVar[tuple[str, ...]] = ()  # to be imported before the call is timed

    def __init__(self, case: Case, path: str) -> None:
        self.case = case
        self.path = path

    def prepare(self) -> None:
        """Prepare the call. This is not timed."""
        for module in self.modules:
            import_module(module)

    @abstractmethod
    def run(self) -> object:
        """Make the call that is timed. check() gets the result."""

    def check(self, result: object) -> None:  # noqa: B027
        """Raise if the result is wrong."""

    def close(self) -> None:  # noqa: B027
        """Remove what was made."""


class External(ABC):
    """A program that measures itself."""

    @abstractmethod
    def measure(self, job: Job) -> Sample: ...


Contender = Asynchronous | Synchronous | Whole | External
