# SPDX-License-Identifier: Apache-2.0
"""Decides when and how reads, writes and fsyncs are answered, as the test commands."""

from __future__ import annotations

import errno
import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from random import Random
from typing import Literal, NamedTuple, TypeAlias

from support.fuse_files import Node
from support.fuse_power import PowerSwitch
from support.fuse_wire import answer, errno_of, refusal, write_answer

LONGEST_LOG = 100_000  # of requests; a soak makes more

Kind: TypeAlias = Literal["read", "write", "fsync", "flush"]
Order: TypeAlias = Literal["fifo", "lifo"]

KINDS: tuple[Kind, ...] = ("read", "write", "fsync")


class LoggedRequest(NamedTuple):
    """A request that the kernel sent. Compares equal to a plain tuple."""

    kind: Kind
    offset: int
    size: int


@dataclass(eq=False)
class Pending:
    """A request of the kernel that is not yet answered."""

    unique: int
    kind: Kind
    node: Node
    offset: int = 0
    size: int = 0
    payload: bytes = b""
    synchronous: bool = False
    covers: int = 0  # of an fsync: the writes that it makes durable
    arrived: float = field(default_factory=time.monotonic)


@dataclass
class Rule:
    """A change to the next `remaining` requests of some kinds, or to all."""

    value: int
    kinds: Collection[Kind]
    remaining: int | None = None

    def applies_to(self, kind: Kind) -> bool:
        """Whether the rule applies to this request; if so, count it."""
        if kind not in self.kinds or self.remaining == 0:
            return False
        if self.remaining is not None:
            self.remaining -= 1
        return True


class Gate:
    """Answers requests at once, or holds or delays them.

    A request is carried out only when it is answered: a held read then gets the file's current
    data, and a held write then changes the file.
    """

    def __init__(
        self, send: Callable[[list[bytes]], None], patience: float, power: PowerSwitch
    ) -> None:
        self._send = send
        self._power = power
        self._chance = Random(0)
        self._patience = patience
        self._held: list[Pending] = []
        self._delayed: list[tuple[float, int, Pending]] = []  # a heap; the int keeps it stable
        self._sequence = itertools.count()
        self._log: deque[LoggedRequest] = deque(maxlen=LONGEST_LOG)
        self.holding: Collection[Kind] = ()
        self.reset()

    def reset(self) -> None:
        """From now on answer at once, correctly and in full. Held requests stay held."""
        self.delay_seconds = 0.0
        self.scatter_seconds = 0.0
        self.fill_byte: int | None = None
        self.failure: Rule | None = None
        self.shortage: Rule | None = None

    @property
    def held(self) -> int:
        """How many requests are held now."""
        return len(self._held)

    @property
    def log(self) -> list[LoggedRequest]:
        """All requests so far, or the last of many, in the order in which the kernel sent them."""
        return list(self._log)

    @property
    def busy(self) -> bool:
        """Whether any process waits for an answer."""
        return bool(self._held or self._delayed)

    def admit(self, request: Pending) -> None:
        """Take a request from the kernel."""
        self._log.append(LoggedRequest(request.kind, request.offset, request.size))
        if not self._power.moment():
            return
        if request.kind in self.holding:
            self._held.append(request)
        elif self.delay_seconds > 0 or self.scatter_seconds > 0:
            due = request.arrived + self.delay_seconds
            due += self._chance.uniform(0, self.scatter_seconds)
            heapq.heappush(self._delayed, (due, next(self._sequence), request))
        else:
            self._answer(request)

    def release(self, count: int | None = None, order: Order = "fifo") -> int:
        """Answer some or all of the held requests; return how many."""
        waiting = self._held if order == "fifo" else self._held[::-1]
        released, kept = (waiting, []) if count is None else (waiting[:count], waiting[count:])
        self._held = kept if order == "fifo" else kept[::-1]
        for request in released:
            self._answer(request)
        return len(released)

    def forget_everything(self) -> None:
        """Drop all requests: the power is off, and none of them is answered."""
        self._held.clear()
        self._delayed.clear()

    def release_everything(self) -> None:
        """Answer all requests, because the server is ending."""
        self.holding = ()
        self.release()
        while self._delayed:
            self._answer(heapq.heappop(self._delayed)[-1])

    def interrupt(self, unique: int) -> None:
        """Answer this request with EINTR: the thread that waits for it has got a signal.

        Nothing else would wake that thread, not even SIGKILL. The kernel sends no interrupt for
        direct I/O, which is asynchronous inside the kernel even if the caller waits.
        """
        for request in self._waiting():
            if request.unique == unique:
                self._abandon(request, errno.EINTR)
                return

    def tick(self) -> None:
        """Answer the delayed requests that are due."""
        now = time.monotonic()
        while self._delayed and self._delayed[0][0] <= now:
            self._answer(heapq.heappop(self._delayed)[-1])
        while self._held and self._held[0].arrived + self._patience <= now:
            self._abandon(self._held[0], errno.ETIMEDOUT)

    def next_due(self) -> float | None:
        """When the next tick is needed, by `time.monotonic`."""
        times = []
        if self._delayed:
            times.append(self._delayed[0][0])
        if self._held:
            times.append(self._held[0].arrived + self._patience)
        return min(times, default=None)

    def _waiting(self) -> list[Pending]:
        return self._held + [request for _, _, request in self._delayed]

    def _abandon(self, request: Pending, error: int) -> None:
        self._held = [other for other in self._held if other is not request]
        self._delayed = [entry for entry in self._delayed if entry[-1] is not request]
        heapq.heapify(self._delayed)
        self._send(refusal(request.unique, error))

    def _answer(self, request: Pending) -> None:
        if self._power.is_off:
            return
        try:
            payload = self._carry_out(request)
        except OSError as error:
            self._send(refusal(request.unique, errno_of(error)))
            return
        if self._power.moment():
            self._send(answer(request.unique, payload))
            self._power.moment()

    def _carry_out(self, request: Pending) -> bytes:
        if self.failure is not None and self.failure.applies_to(request.kind):
            raise OSError(self.failure.value, "as the test wants it")
        size = request.size
        if self.shortage is not None and self.shortage.applies_to(request.kind):
            size = min(size, self.shortage.value)
        if request.kind == "read":
            return self._read(request.node, request.offset, size)
        if request.kind == "write":
            request.node.write(request.offset, request.payload[:size], request.synchronous)
            return write_answer(size)
        if request.node.disk is not None:
            request.node.disk.sync(request.covers)
        return b""

    def _read(self, node: Node, offset: int, size: int) -> bytes:
        data = node.read(offset, size)
        return data if self.fill_byte is None else bytes([self.fill_byte]) * len(data)
