# SPDX-License-Identifier: Apache-2.0
"""Steps: operations come out, by each of the ways to be told."""

from __future__ import annotations

import errno
import os

import pytest

from fuzz.api.machine import Machine


def collect(machine: Machine) -> None:
    """getevents, with arguments of all kinds that don't wait for ever."""
    queue = machine.some_queue()
    if queue is None:
        return
    # of those that signal an EventFD it need not hand out any that it does not know of
    sure = sum(r.is_sure_to_end() and r.signal is None for r in queue.running.values())
    least = machine.chance.randint(0, min(sure, queue.context.max_requests))
    most = machine.chance.choice([None, least, least + 1, least + 100])
    timeout = None
    if machine.faulty or machine.chance.random() < 0.3:
        least = machine.chance.randint(0, queue.context.max_requests)
        most = None if most is None else least + machine.chance.randint(0, 3)
        timeout = machine.chance.choice([0, 0.0, 0.0005, 0.002])
    if most == 0:
        most = None
    try:
        got = queue.context.getevents(least, most, timeout)
    except OSError as error:
        assert error.errno in machine.fault_errors, repr(error)
        return
    assert most is None or len(got) <= most
    assert len(got) >= least or timeout is not None
    assert len(set(map(id, got))) == len(got), "one came out twice"
    for operation in got:
        queue.take(operation)


def ask(machine: Machine) -> None:
    """For a result, in flight or not."""
    chosen = machine.some_running()
    if chosen is None:
        return
    queue, running = chosen
    try:
        running.operation.get_result()
    except OSError as error:
        if error.errno == errno.EINPROGRESS:
            return
    queue.conclude(running)


def ask_all(machine: Machine) -> None:
    queue = machine.some_queue()
    if queue is not None:
        queue.conclude_done()


def cancel(machine: Machine) -> None:
    chosen = machine.some_running()
    if chosen is None:
        return
    queue, running = chosen
    other = machine.some_queue()
    if other is not queue and other is not None:
        with pytest.raises(ValueError, match="in flight"):
            other.context.cancel(running.operation)
        return
    try:
        cancelled = queue.context.cancel(running.operation)
    except ValueError:
        assert running.operation.done
        return
    except OSError as error:
        assert error.errno in machine.fault_errors, repr(error)
        return
    machine.figures["cancellations"] += cancelled
    running.asked = True
    running.cancelled = running.cancelled or cancelled


def open_a_gate(machine: Machine) -> None:
    chosen = machine.some_running()
    if chosen is not None and chosen[1].plan.gate is not None:
        chosen[1].plan.gate.open()


def read_a_signal(machine: Machine) -> None:
    if machine.signals:
        machine.chance.choice(machine.signals).read()


def check(machine: Machine) -> None:
    queue = machine.some_queue()
    if queue is not None:
        queue.check()


def watch_the_context(machine: Machine) -> None:
    """From now on its own eventfd counts, too."""
    queue = machine.some_queue()
    if queue is not None:
        assert os.fstat(queue.context.fileno)
