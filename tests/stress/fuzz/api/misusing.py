# SPDX-License-Identifier: Apache-2.0
"""Steps: what is refused, and changes nothing."""

from __future__ import annotations

import pytest

from fuzz.api.machine import Machine
from linux_aio import AIOOperation, EventFD
from support.files import is_readable


def misuse(machine: Machine) -> None:
    """What is refused, and changes nothing."""
    queue = machine.some_queue()
    if queue is None:
        return
    context = queue.context
    number = machine.chance.randrange(8)
    if number == 0:
        op = AIOOperation.read(1, 0)
        with pytest.raises(ValueError, match="twice"):
            context.submit(op, op)
    elif number == 1:
        with pytest.raises(ValueError, match="min_nr"):
            context.getevents(context.max_requests + 1)
    elif number == 2:
        with pytest.raises(TypeError):
            context.submit("operation")  # type: ignore[arg-type]
    elif number == 3:
        with pytest.raises(RuntimeError):
            AIOOperation.read(1, 0).get_result()
    elif number == 4:
        with EventFD() as efd:
            pass
        with pytest.raises(ValueError, match="closed"):
            AIOOperation.read(1, 0).submit(context, efd)
    elif number == 5:
        with pytest.raises(ValueError, match="in flight"):
            context.cancel(AIOOperation.read(1, 0))
    elif number == 6:
        with pytest.raises((ValueError, OverflowError)):
            AIOOperation.read(machine.chance.choice([-1, 1 << 31, 1 << 63, 1 << 64]), 0)
    else:
        misuse_one_in_flight(machine)


def misuse_one_in_flight(machine: Machine) -> None:
    chosen = machine.some_running()
    if chosen is None or chosen[1].operation.done:
        return
    queue, running = chosen
    for buffer in running.plan.buffers:
        if type(buffer) is bytearray:
            try:
                buffer.append(1)
            except BufferError:
                continue
            buffer.pop()
            # a collection, which may come at any time, takes in what has completed
            assert running.operation.done, "a buffer in flight could be resized"
    if running.plan.reads or running.plan.writes:
        try:
            running.operation.offset = running.operation.offset
        except ValueError:
            pass
        else:
            assert running.operation.done, "an operation in flight could be moved"
    gate = running.plan.gate
    if gate is not None and not (running.asked or is_readable(gate.fileno())):
        with pytest.raises(ValueError, match="in flight"):
            running.operation.submit(queue.context)
