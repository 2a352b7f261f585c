# SPDX-License-Identifier: Apache-2.0
"""Steps: operations go in, new ones and used ones."""

from __future__ import annotations

import errno
import os

from fuzz.api.machine import Machine
from fuzz.api.plans import Plan
from fuzz.api.queues import Queue, Running
from linux_aio import AIOOperation


def submit_new_ones(machine: Machine) -> None:
    """A batch, on any context."""
    queue = machine.some_queue()
    if queue is None:
        return
    batch: list[Running] = []
    short_lived = []
    for _ in range(machine.chance.choice([1, 1, 2, 5, 20])):
        plan, fd = machine.some_plan()
        if fd >= 0:
            short_lived.append(fd)
        if plan.begin():
            batch.append(Running(plan.operation(), plan))
    submit(machine, queue, batch)
    for fd in short_lived:
        os.close(fd)  # the kernel has the file; the number may be another's now


def submit(machine: Machine, queue: Queue, batch: list[Running]) -> None:
    for running in batch:
        running.signal = machine.some_signal()
        running.cancelled = running.asked = False
        if running.signal is not None:
            efd = running.signal.eventfd
            running.operation.prepare(efd if machine.chance.random() < 0.5 else efd.fileno)
        elif running.operation.eventfd is not None:
            # it can't be taken back, so such a one goes on with what it had
            running.signal = next(
                s
                for s in machine.signals
                if running.operation.eventfd in (s.eventfd, s.eventfd.fileno)
            )
    if not batch:
        return
    used = queue.places_used()
    taken = 0
    try:
        if len(batch) == 1 and machine.chance.random() < 0.3:
            taken = batch[0].operation.submit(queue.context)
        else:
            taken = queue.context.submit(*(running.operation for running in batch))
        assert taken > 0
    except OSError as error:
        first = batch[0].plan
        is_full = error.errno == errno.EAGAIN and used >= queue.context.max_requests
        refused = error.errno in first.errors or (
            first.file is not None and error.errno in first.file.errors
        )
        assert is_full or refused or error.errno in machine.fault_errors, repr(error)
    if taken < len(batch) and not machine.faulty:
        is_full = used + taken >= queue.context.max_requests
        assert is_full or batch[taken].plan.errors, f"{taken} of {len(batch)} were taken"
    for number, running in enumerate(batch):
        if number < taken:
            queue.accept(running)
        else:
            running.plan.withdraw()


def submit_again(machine: Machine) -> None:
    """Operations that have completed, some of them changed."""
    queue = machine.some_queue()
    if queue is None or not queue.over:
        return
    chosen = machine.chance.sample(queue.over, min(len(queue.over), machine.chance.randint(1, 4)))
    batch = []
    for running in chosen:
        queue.over.remove(running)
        plan = running.plan
        if plan.gate is not None or not is_valid(plan):
            continue
        if plan.kind in ("read", "write") and machine.chance.random() < 0.5:
            move(machine, running)
        plan.errors = set(plan.errors)
        if plan.begin():
            batch.append(running)
    submit(machine, machine.some_queue() or queue, batch)


def is_valid(plan: Plan) -> bool:
    """Whether its number still is that of its file."""
    fd = plan.arguments[0] if plan.kind in ("fsync", "fdsync") else plan.arguments[1]
    assert plan.file is not None
    return not isinstance(fd, int) or fd == plan.file.fd


def move(machine: Machine, running: Running) -> None:
    """To another place in the file."""
    plan = running.plan
    assert plan.file is not None
    if plan.flags & os.RWF_APPEND:
        return
    unit = 1 if plan.kind == "read" else plan.file.unit
    furthest = plan.file.limit if plan.file.grows else len(plan.file.model)
    plan.offset = machine.chance.randint(0, max(0, furthest - plan.size) // unit) * unit
    running.operation.offset = plan.offset
    assert running.operation.offset == plan.offset


def submit_to_a_bad_number(machine: Machine) -> None:
    queue = machine.some_queue()
    if queue is None:
        return
    read = AIOOperation.read(10, 1 << 20)
    plan = Plan("read", (), errors={errno.EBADF})
    try:
        read.submit(queue.context)
    except OSError as error:
        expected = {errno.EBADF, *machine.fault_errors}
        if queue.places_used() >= queue.context.max_requests:
            expected.add(errno.EAGAIN)
        assert error.errno in expected, repr(error)
    else:
        queue.accept(Running(read, plan))
