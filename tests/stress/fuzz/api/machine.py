# SPDX-License-Identifier: Apache-2.0
"""All that a program has: files, contexts, eventfds, faults, and what is known of them."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from random import Random

from fuzz.api import plans
from fuzz.api.files import File
from fuzz.api.folder import Folder
from fuzz.api.plans import Plan
from fuzz.api.queues import Queue, Running, Signal
from linux_aio import AIOContext, EventFD
from support.faults import Faults, faults_reason
from support.files import Gate


class Named:
    """An object with a number, as a program might give."""

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        return self._number


class Machine:
    """What the steps of a program work on."""

    def __init__(self, chance: Random, folder: Folder, engines: list[str]) -> None:
        self.chance = chance
        self.folder = folder
        self.engines = engines
        self.figures: Counter[str] = Counter()
        self.queues: list[Queue] = []
        self.files: list[File] = []
        self.signals: list[Signal] = []
        self.gates: list[Gate] = []
        self.faults = Faults() if faults_reason() is None else None
        self.fault_errors: set[int] = set()  # that a call to the kernel may meet
        self.faulty = False

    # --- having things

    def open(self) -> None:
        """Something to begin with."""
        self.folder.slow_errors.clear()
        for kind in self.folder.kinds:
            if kind != "slow" or self.chance.random() < 0.3:
                for _ in range(self.chance.randint(1, 2)):
                    self.files.append(self.folder.make(kind, self.chance))
        for _ in range(self.chance.randint(1, 2)):
            self.open_queue()
        for _ in range(2):
            flags = os.EFD_NONBLOCK | os.EFD_CLOEXEC
            self.signals.append(Signal(EventFD(flags=flags)))

    def open_queue(self) -> None:
        size = self.chance.choice([1, 2, 3, 8, 40, 300])
        engine = self.chance.choice(self.engines)
        try:
            context = AIOContext(size, engine=engine)
        except OSError as error:
            if error.errno not in self.fault_errors:
                raise
            return
        self.queues.append(Queue(context, figures=self.figures))

    def close_queue(self, queue: Queue) -> None:
        self.queues.remove(queue)
        queue.close()

    def close(self) -> None:
        """Everything ends, and is counted and compared."""
        self.calm()
        for queue in list(self.queues):
            self.close_queue(queue)
        for signal in self.signals:
            signal.check()
            signal.eventfd.close()
        for file in self.files:
            file.check()
            self.figures["bytes compared at the end"] += len(file.model)

    def release(self) -> None:
        """Also after a failure: leave nothing open."""
        self.calm()
        for file in self.files:
            with contextlib.suppress(OSError):
                file.close()
        for gate in self.gates:
            gate.close()

    def queues_settle(self) -> None:
        """Where nothing is in flight, what was given up is over."""
        for queue in self.queues:
            if queue.limbo and queue.context.in_flight == 0:
                queue.settle_limbo()

    @staticmethod
    def close_number(fd: int) -> None:
        if fd >= 0:
            os.close(fd)

    # --- faults

    def calm(self) -> None:
        """No more faults."""
        if self.faults is not None:
            self.faults.clear()
        if self.folder.fuse is not None:
            self.folder.fuse.reset()
        self.fault_errors.clear()
        self.faulty = False

    # --- choosing

    def some_queue(self) -> Queue | None:
        return self.chance.choice(self.queues) if self.queues else None

    def some_running(self) -> tuple[Queue, Running] | None:
        running = [(queue, one) for queue in self.queues for one in queue.running.values()]
        return self.chance.choice(running) if running else None

    def some_signal(self) -> Signal | None:
        return self.chance.choice(self.signals) if self.chance.random() < 0.4 else None

    def some_plan(self, *, with_polls: bool = True) -> tuple[Plan, int]:
        """A request, and a number to close once it was submitted, or -1."""
        if with_polls and self.chance.random() < 0.12:
            gate = Gate()
            self.gates.append(gate)
            if self.chance.random() < 0.4:
                gate.open()
            return plans.poll(gate), -1
        file = self.chance.choice(self.files)
        way = self.chance.random()
        short_lived = -1
        fd: object = file.fd
        if way < 0.2:
            fd = Named(file.fd)
        elif way < 0.35:
            fd = short_lived = os.dup(file.fd)
        if self.chance.random() < 0.12:
            return plans.sync(file, fd, self.chance), short_lived
        return plans.transfer(file, fd, self.chance), short_lived
