# SPDX-License-Identifier: Apache-2.0
"""Steps: calls to the kernel that fail, or do less, and a disk that fails."""

from __future__ import annotations

import errno

from fuzz.api.machine import Machine


def inject(machine: Machine) -> None:
    """Calls to the kernel that fail, or do less."""
    faults = machine.faults
    if faults is None:
        return
    machine.faulty = True
    machine.figures["faults"] += 1
    after, times = machine.chance.randint(0, 2), machine.chance.randint(1, 3)
    kind = machine.chance.randrange(6)
    if kind == 0:
        faults.inject("submit", at_most=machine.chance.randint(1, 3), after=after, times=times)
        return
    if kind == 1 and machine.folder.fuse is not None:
        machine.folder.slow_errors.add(errno.EIO)
        machine.folder.fuse.fail(errno.EIO, times)
        return
    if kind == 2:
        faults.inject("setup", error=errno.ENOMEM, times=1)
        machine.fault_errors.add(errno.ENOMEM)
        return
    if kind == 3:
        faults.inject("cancel", error=machine.chance.choice([errno.EINVAL, errno.EAGAIN]))
        return
    if kind == 4:
        faults.inject("getevents", error=errno.EINTR, after=after, times=times)
        return
    error = machine.chance.choice([errno.EAGAIN, errno.ENOMEM, errno.EINVAL])
    faults.inject("submit", error=error, after=after, times=times)
    machine.fault_errors.add(error)


def stop_faults(machine: Machine) -> None:
    machine.calm()
    if machine.folder.fuse is not None:
        machine.folder.fuse.delay(0, scatter=machine.chance.choice([0, 0, 0.001]))
