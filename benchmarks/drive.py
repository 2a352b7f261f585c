# SPDX-License-Identifier: Apache-2.0
"""One turn of a contender: warm up, count operations, then measure latencies."""

from __future__ import annotations

import asyncio
import contextlib
import operator
import os
import resource
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from . import files
from .contenders.base import Asynchronous, Contender, External, Memory, Synchronous, Whole
from .model import Access, Job, Sample, Storage, percentile

BEAT = 0.001
AT_MOST = 1_500_000  # operations of 4 KiB per second: no contender does more


class Offsets:
    """Offsets that end when the time is up. Taking one costs no check of the time: a signal empties
    the list that they are taken from."""

    def __init__(self, job: Job, one_pass: list[int]) -> None:
        passes = 1
        if not job.case.storage.is_uncached:
            bytes_read = AT_MOST * job.seconds * 4096
            passes += int(bytes_read / (len(one_pass) * job.case.block))
        self._all = one_pass * passes
        self._total = len(self._all)
        self._left = 0
        self.iterator = iter(self._all)

    def _stop(self, *_: object) -> None:
        self._left += operator.length_hint(self.iterator)
        self._all.clear()

    def limit(self, seconds: float) -> None:
        signal.signal(signal.SIGALRM, self._stop)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def end(self) -> int:
        """Stop the timer, and return how many offsets were taken."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        return self._total - self._left


def processor_time() -> float:
    """Microseconds of the whole process, all its threads, and of programs that it ran."""
    own, others = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return (own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime) * 1e6


def thread_time() -> float:
    return time.thread_time() * 1e6


class Stopwatch:
    def __init__(self, job: Job) -> None:
        # the time of the computing thread must not be counted
        self._cpu = thread_time if job.case.beside else processor_time
        self._started = time.perf_counter()
        self._cpu_started = self._cpu()

    def stop(self, operations: int) -> Sample:
        seconds = time.perf_counter() - self._started
        return Sample(operations, seconds, self._cpu() - self._cpu_started)


def warm_up(job: Job) -> int:
    """Run uncounted operations, so that every task has run, and pools have started threads."""
    return 2 * max(job.case.in_flight, 16)


def note_latencies(sample: Sample, latencies: list[float]) -> None:
    if latencies:
        latencies.sort()
        sample.latency_median = percentile(latencies, 0.5) / 1e3
        sample.latency_99 = percentile(latencies, 0.99) / 1e3
        sample.latency_999 = percentile(latencies, 0.999) / 1e3


def check(job: Job, offset: int, block: Memory) -> None:
    fd = os.open(job.path, os.O_RDONLY)
    expected = os.pread(fd, job.case.block, offset)
    os.close(fd)
    if bytes(block) != expected:
        raise RuntimeError("it read the wrong bytes")


def drive_synchronous(contender: Synchronous, job: Job) -> Sample:
    one_pass = files.one_pass(job.case, job.path, job.round)
    contender.open()
    try:
        if job.case.access is not Access.WRITE:
            check(job, job.case.block, contender.once(job.case.block))
        contender.run(iter(one_pass[-warm_up(job) :]), None)

        files.prepare(job.case, job.path)
        phase = Offsets(job, one_pass)
        watch = Stopwatch(job)
        phase.limit(job.seconds)
        contender.run(phase.iterator, None)
        sample = watch.stop(phase.end())

        if not job.case.beside:
            files.prepare(job.case, job.path)
            phase = Offsets(job, one_pass)
            latencies: list[float] = []
            phase.limit(job.seconds)
            contender.run(phase.iterator, latencies)
            phase.end()
            note_latencies(sample, latencies)
    finally:
        contender.close()
    return sample


def timed(offsets: Iterator[int], latencies: list[float]) -> Iterator[int]:
    """Yield the offsets, and append each operation's latency: it ends when the next is taken."""
    now = time.perf_counter_ns
    for offset in offsets:
        started = now()
        yield offset
        latencies.append(now() - started)


async def beats(late: list[float], sleep: Callable[[float], Awaitable[None]]) -> None:
    while True:
        due = time.perf_counter() + BEAT
        await sleep(BEAT)
        late.append((time.perf_counter() - due) * 1e6)


class WaitJudge:
    """Counts how often the thread of an asyncio loop waits outside the loop's select()."""

    def __init__(self, selector: Any) -> None:
        self.waits = 0
        self.longest = 0.0  # µs that a step took in which the thread waited
        self._select = selector.select
        self._selector = selector
        self._waits_before, self._begun = self._look()
        selector.select = self.select

    @staticmethod
    def _look() -> tuple[int, float]:
        return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw, time.perf_counter()

    def _end_step(self) -> None:
        waits, now = self._look()
        if waits != self._waits_before:
            self.waits += waits - self._waits_before
            self.longest = max(self.longest, (now - self._begun) * 1e6)

    def select(self, timeout: float | None = None) -> Any:
        self._end_step()
        try:
            return self._select(timeout)
        finally:
            self._waits_before, self._begun = self._look()

    def stop(self) -> None:
        self._end_step()
        del self._selector.select


@contextlib.contextmanager
def counted_waits(job: Job, sample: Sample, latencies: list[float]) -> Iterator[None]:
    if not job.case.counts_waits:
        yield
        return
    loop: Any = asyncio.get_running_loop()
    judge = WaitJudge(loop._selector)
    try:
        yield
    finally:
        judge.stop()
    sample.waits = judge.waits * 1000 / max(len(latencies), 1)
    sample.longest_wait = judge.longest


class Loop(Protocol):
    """The interface to each kind of loop."""

    @staticmethod
    async def tasks(count: int, start: Callable[[int], Coroutine[None, None, None]]) -> None: ...

    @staticmethod
    def heartbeat(late: list[float]) -> AbstractAsyncContextManager[None]:
        """Note, until the end of the block, how many µs late it wakes up after each sleep."""


class AsyncioLoop:
    @staticmethod
    async def tasks(count: int, start: Callable[[int], Coroutine[None, None, None]]) -> None:
        async with asyncio.TaskGroup() as group:
            for slot in range(count):
                group.create_task(start(slot))

    @staticmethod
    @asynccontextmanager
    async def heartbeat(late: list[float]) -> AsyncIterator[None]:
        beat = asyncio.create_task(beats(late, asyncio.sleep))
        await asyncio.sleep(0)
        yield
        await asyncio.sleep(2 * BEAT)  # so that a beat that is late now is counted
        beat.cancel()


class TrioLoop:
    @staticmethod
    async def tasks(count: int, start: Callable[[int], Coroutine[None, None, None]]) -> None:
        import trio

        async with trio.open_nursery() as nursery:
            for slot in range(count):
                nursery.start_soon(start, slot)

    @staticmethod
    @asynccontextmanager
    async def heartbeat(late: list[float]) -> AsyncIterator[None]:
        import trio

        async with trio.open_nursery() as nursery:
            nursery.start_soon(beats, late, trio.sleep)
            yield
            await trio.sleep(2 * BEAT)
            nursery.cancel_scope.cancel()


async def drive_asynchronous(contender: Asynchronous, job: Job, loop: Loop) -> Sample:
    depth = job.case.in_flight
    one_pass = files.one_pass(job.case, job.path, job.round)
    await contender.open()
    try:
        if job.case.access is not Access.WRITE:
            check(job, job.case.block, await contender.once(0, job.case.block))
        shared = iter(one_pass[-warm_up(job) :])
        await loop.tasks(depth, lambda slot: contender.run(slot, shared))

        files.prepare(job.case, job.path)
        phase = Offsets(job, one_pass)
        watch = Stopwatch(job)
        phase.limit(job.seconds)
        await loop.tasks(depth, lambda slot: contender.run(slot, phase.iterator))
        sample = watch.stop(phase.end())

        if not job.case.beside:
            files.prepare(job.case, job.path)
            phase = Offsets(job, one_pass)
            latencies: list[float] = []
            late: list[float] = []
            async with loop.heartbeat(late):
                phase.limit(job.seconds)
                with counted_waits(job, sample, latencies):
                    await loop.tasks(
                        depth, lambda slot: contender.run(slot, timed(phase.iterator, latencies))
                    )
                phase.end()
            note_latencies(sample, latencies)
            if late:
                late.sort()
                sample.heartbeat_median = percentile(late, 0.5)
                sample.heartbeat_999 = percentile(late, 0.999)
    finally:
        await contender.close()
    return sample


def drive_whole(contender: Whole, job: Job) -> Sample:
    contender.prepare()
    try:
        files.prepare(job.case, job.path)
        files.use_memory(os.path.getsize(job.path))
        if job.case.storage is not Storage.CACHED:
            files.use_up_bursts(job.path)
        watch = Stopwatch(job)
        result = contender.run()
        sample = watch.stop(contender.operations or os.path.getsize(job.path) // files.MIB)
        contender.check(result)
    finally:
        contender.close()
    return sample


def drive(contender: Contender, job: Job) -> Sample:
    if isinstance(contender, Whole):
        return drive_whole(contender, job)
    if isinstance(contender, External):
        return contender.measure(job)
    if isinstance(contender, Synchronous):
        return drive_synchronous(contender, job)
    if contender.on_trio:
        import trio

        return trio.run(drive_asynchronous, contender, job, TrioLoop)
    loop_factory = None
    if job.case.uvloop:
        import uvloop

        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(drive_asynchronous(contender, job, AsyncioLoop))
