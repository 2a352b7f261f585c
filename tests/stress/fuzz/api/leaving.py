# SPDX-License-Identifier: Apache-2.0
"""Steps: contexts are made, closed and dropped, operations forgotten, processes forked."""

from __future__ import annotations

import gc
import os
import signal
import time
import traceback
import weakref

import pytest

from fuzz.api.machine import Machine, Named
from fuzz.api.queues import Running
from support.workers import PATIENCE


def drop(machine: Machine) -> None:
    """Forget operations, in flight or not, and their buffers."""
    queue = machine.some_queue()
    if queue is None:
        return
    queue.over = [running for running in queue.over if machine.chance.random() < 0.3]
    for running in list(queue.running.values()):
        if machine.chance.random() < 0.2:
            if running.plan.gate is not None:
                running.plan.gate.open()
            queue.drop(running)
            running.plan.buffers = []
            running.plan.arguments = ()
            machine.figures["dropped in flight"] += 1


def collect_garbage(machine: Machine) -> None:
    gc.collect(machine.chance.randint(0, 2))


def open_a_context(machine: Machine) -> None:
    if len(machine.queues) < 5:
        machine.open_queue()


def close_a_context(machine: Machine) -> None:
    queue = machine.some_queue()
    if queue is not None:
        machine.calm()  # polls are to be cancelled, or this would wait for ever
        machine.close_queue(queue)


def drop_a_context(machine: Machine) -> None:
    """With all that is in it, unclosed, and in flight if it can be told when that has ended."""
    queue = machine.some_queue()
    if queue is None or machine.chance.random() < 0.5:
        return
    if any(not running.is_sure_to_end() for running in queue.running.values()):
        return
    files = [weakref.ref(fd) for fd in map(named_file, queue.running.values()) if fd is not None]
    if queue.limbo or len(files) < len(queue.running):
        while queue.context.in_flight:
            queue.context.getevents(min_nr=0)
    machine.queues.remove(queue)
    plans = queue.give_up()
    del queue
    until_all_are_gone(files)
    for plan in plans:
        plan.settle()
    machine.figures["contexts dropped"] += 1


def named_file(running: Running) -> Named | None:
    """The object that the operation has for a file, if only it has that."""
    return next((one for one in running.plan.arguments if isinstance(one, Named)), None)


def until_all_are_gone(files: list[weakref.ref[Named]]) -> None:
    """The operations let go of their files when the kernel has let go of them."""
    deadline = time.monotonic() + PATIENCE
    while gc.collect() or any(file() is not None for file in files):
        left = sum(file() is not None for file in files)
        assert time.monotonic() < deadline, f"{left} dropped operations are never taken in"


def fork(machine: Machine) -> None:
    """A child can close what it inherited, and nothing else; the parent does not notice."""
    queue = machine.some_queue()
    pid = os.fork()
    if pid == 0:
        status = 1
        signal.alarm(round(PATIENCE))  # its default action ends a child that hangs
        try:
            if queue is not None:
                with pytest.raises(RuntimeError, match="child"):
                    queue.context.getevents(0)
                if machine.chance.random() < 0.5:
                    queue.context.close()
            machine.queues.clear()
            gc.collect()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"a child ended with status {status:#x} {signal.Signals(status & 127)!r}"
    machine.figures["forks"] += 1
