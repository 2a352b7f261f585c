# SPDX-License-Identifier: Apache-2.0
"""A context, what is in it, and the accounts that must add up."""

from __future__ import annotations

import contextlib
import errno
from collections import Counter
from dataclasses import dataclass, field

from fuzz.api.plans import Plan
from linux_aio import AIOContext, AIOOperation, EventFD
from support.files import is_readable
from support.workers import PATIENCE


@dataclass(eq=False)
class Signal:
    """An EventFD, and how often it must have been signalled."""

    eventfd: EventFD
    due: int = 0  # by operations known to have completed
    maybe: int = 0  # by those that nobody holds any more
    seen: int = 0

    def read(self) -> None:
        """What has come so far: it may come a moment after the completion was seen."""
        with contextlib.suppress(BlockingIOError):
            self.seen += self.eventfd.read()

    def check(self) -> None:
        """When nothing that names it is in flight."""
        self.read()
        while self.seen < self.due:
            assert is_readable(self.eventfd.fileno, PATIENCE), "a completion did not signal"
            self.read()
        assert self.seen <= self.due + self.maybe, self


@dataclass(eq=False)
class Running:
    """An operation that was submitted and not checked since."""

    operation: AIOOperation
    plan: Plan
    signal: Signal | None = None
    cancelled: bool = False  # the kernel said that it would
    asked: bool = False  # to cancel it

    def is_sure_to_end(self) -> bool:
        return self.plan.gate is None or self.cancelled


@dataclass(eq=False)
class Queue:
    """A context, and all that is known of it."""

    context: AIOContext
    running: dict[AIOOperation, Running] = field(default_factory=dict)
    over: list[Running] = field(default_factory=list)  # that may be submitted again
    limbo: list[Plan] = field(default_factory=list)  # in flight, or not, and nobody holds them
    dropped: int = 0  # of these, those that getevents may still hand out
    submitted: int = 0
    is_exact: bool = True  # nothing was awaited
    failures: int = 0
    figures: Counter[str] = field(default_factory=Counter)

    def accept(self, running: Running) -> None:
        assert running.operation not in self.running
        self.running[running.operation] = running
        self.submitted += 1

    def conclude(self, running: Running) -> None:
        """It has completed, which is noticed once."""
        assert running.operation.done
        del self.running[running.operation]
        if running.signal is not None:
            running.signal.due += 1
        expected = {errno.ECANCELED} if running.asked else set()
        try:
            result = running.operation.get_result()
        except OSError as error:
            self.failures += 1
            self.figures["errors"] += 1
            running.plan.fail(error, expected)
        else:
            assert not (running.cancelled and self.context.engine == "aio"), running.plan
            self.figures[running.plan.kind] += 1
            running.plan.finish(result)
        self.over.append(running)

    def conclude_done(self) -> None:
        for running in list(self.running.values()):
            if running.operation.done:
                self.conclude(running)

    def drop(self, running: Running) -> None:
        """The program lets go of an operation in flight, or of one that it knows nothing of."""
        del self.running[running.operation]
        self.limbo.append(running.plan)
        if running.signal is None:
            self.dropped += 1
        else:
            running.signal.maybe += 1

    def give_up(self) -> list[Plan]:
        """The program lets go of everything; what was in flight is to be settled later."""
        for running in list(self.running.values()):
            self.drop(running)
            running.plan.arguments = ()
        return self.limbo

    def take(self, operation: AIOOperation) -> None:
        """What getevents handed out."""
        running = self.running.get(operation)
        if running is None:
            assert operation.done
            assert self.dropped > 0, f"{operation} came out of getevents once too often"
            self.dropped -= 1
        else:
            self.conclude(running)

    def settle_limbo(self) -> None:
        """When nothing is in flight."""
        for plan in self.limbo:
            plan.settle()
        self.limbo.clear()

    def places_used(self) -> int:
        """At most so many; fewer, if some have completed that signal an EventFD."""
        return len(self.running) + len(self.limbo) + self.dropped

    def check(self) -> None:
        """Statistics, at any time."""
        before = self.context.statistics()
        in_flight = self.context.in_flight
        after = self.context.statistics()
        submitted = before["submitted"]
        assert submitted == after["submitted"]
        assert before["completed"] + in_flight <= submitted <= after["completed"] + in_flight
        assert 0 <= in_flight <= self.context.max_requests
        assert after["failed"] <= after["completed"]
        if self.is_exact:
            assert submitted == self.submitted, f"{self.submitted} were taken, not {submitted}"
            assert in_flight <= len(self.running) + len(self.limbo)

    def close(self) -> None:
        """Close it, whatever is in flight: all of it completes."""
        self.context.close()
        assert self.context.closed
        for running in list(self.running.values()):
            running.asked = True
            self.conclude(running)
        statistics = self.context.statistics()
        assert statistics["submitted"] == statistics["completed"]
        if self.is_exact:
            assert statistics["submitted"] == self.submitted
        self.settle_limbo()
