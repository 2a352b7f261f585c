# SPDX-License-Identifier: Apache-2.0
"""linux_aio without an event loop: submit and getevents, repeatedly."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator
from itertools import islice
from time import perf_counter_ns
from typing import Any, TypeAlias

from linux_aio import AIOContext, AIOOperation, aligned_buffer

from .. import files
from .base import Memory, Synchronous

Operations: TypeAlias = "list[AIOOperation[Any]]"


class LowLevel(Synchronous):
    """After each getevents, submits as many operations as have completed, in one batch."""

    def open(self) -> None:
        self.fd = files.open_for(self.case, self.path)
        self.size = self.case.block
        self.context = AIOContext(self.case.in_flight)

    def close(self) -> None:
        self.context.close()
        os.close(self.fd)

    def make(self, offset: int) -> AIOOperation[Any]:
        return AIOOperation.read(self.size, self.fd, offset)

    @abstractmethod
    def again(self, done: Operations, offsets: Iterator[int]) -> Operations:
        """Return the next operations, at most as many as have completed; none at the end."""

    def first(self, offsets: Iterator[int]) -> Operations:
        return [self.make(offset) for offset in islice(offsets, self.case.in_flight)]

    def once(self, offset: int) -> Memory:
        operation = self.make(offset)
        self.context.submit(operation)
        assert self.context.getevents() == [operation]
        result: Memory | int = operation.get_result()
        if isinstance(result, int):
            assert isinstance(operation.payload, bytes | bytearray | memoryview)
            return operation.payload
        return result

    def run(self, offsets: Iterator[int], latencies: list[float] | None) -> None:
        if latencies is not None:
            self.run_timed(offsets, latencies)
            return
        submit, getevents, again = self.context.submit, self.context.getevents, self.again
        ready = self.first(offsets)
        while ready:
            if submit(*ready) != len(ready):
                raise RuntimeError("the kernel did not take all")
            ready = again(getevents(1), offsets)
        getevents(self.case.in_flight)

    def run_timed(self, offsets: Iterator[int], latencies: list[float]) -> None:
        started: dict[AIOOperation[Any], int] = {}
        ready = self.first(offsets)
        while ready:
            now = perf_counter_ns()
            started.update(dict.fromkeys(ready, now))
            if self.context.submit(*ready) != len(ready):
                raise RuntimeError("the kernel did not take all")
            done = self.context.getevents(1)
            now = perf_counter_ns()
            latencies += [now - started.pop(operation) for operation in done]
            ready = self.again(done, offsets)
        self.context.getevents(self.case.in_flight)


class Reuse(LowLevel):
    """Reuses the same operations, each time at another offset."""

    def again(self, done: Operations, offsets: Iterator[int]) -> Operations:
        places = list(islice(offsets, len(done)))
        for operation, place in zip(done, places, strict=False):
            operation.offset = place
        del done[len(places) :]
        return done


class Fresh(LowLevel):
    """Makes a new operation for each request, and takes its result."""

    def again(self, done: Operations, offsets: Iterator[int]) -> Operations:
        for operation in done:
            operation.get_result()
        read, size, fd = AIOOperation.read, self.size, self.fd
        return [read(size, fd, offset) for offset in islice(offsets, len(done))]


class ReadInto(Reuse):
    """Reuses the same operations and buffers, each time at another offset."""

    def make(self, offset: int) -> AIOOperation[Any]:
        return AIOOperation.readinto(aligned_buffer(self.size), self.fd, offset)


class Write(Reuse):
    def make(self, offset: int) -> AIOOperation[Any]:
        return AIOOperation.write(bytes(self.size), self.fd, offset)
