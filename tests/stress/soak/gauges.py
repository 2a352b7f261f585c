# SPDX-License-Identifier: Apache-2.0
"""What the process holds between rounds, which must not grow."""

from __future__ import annotations

import ctypes
import gc
import statistics
import threading
from dataclasses import dataclass
from pathlib import Path

from support.measure import mapped_rings, open_fds, resident_bytes

# What the allocator may keep, with threads that come and go.
ALLOWED_GROWTH = 6 << 20

_libc = ctypes.CDLL(None)


@dataclass(frozen=True)
class Reading:
    """At rest."""

    resident: int
    fds: frozenset[int]
    threads: int
    rings: int
    machine_wide: int  # aio-nr: of all processes

    def __str__(self) -> str:
        return (
            f"{self.resident / (1 << 20):.1f} MiB, {len(self.fds)} descriptors, "
            f"{self.threads} threads, {self.rings} rings, aio-nr {self.machine_wide}"
        )


def read_gauges() -> Reading:
    """When all work has stopped."""
    while gc.collect():
        pass
    _libc.malloc_trim(0)
    return Reading(
        resident_bytes(),
        frozenset(open_fds()),
        threading.active_count(),
        mapped_rings(),
        int(Path("/proc/sys/fs/aio-nr").read_text(encoding="ascii")),
    )


def complaints(readings: list[Reading]) -> list[str]:
    """What is not as it was. Memory is compared with later rounds: the first ones fill caches."""
    first, last = readings[0], readings[-1]
    found = []
    if last.fds != first.fds:
        found.append(f"descriptors: {sorted(last.fds ^ first.fds)} more or fewer")
    if last.threads != first.threads:
        found.append(f"threads: {first.threads} at first, {last.threads} now")
    if last.rings:
        found.append(f"{last.rings} rings are left")
    if len(readings) >= 8:
        part = len(readings) // 4
        before = statistics.median(one.resident for one in readings[part : 2 * part])
        now = statistics.median(one.resident for one in readings[-part:])
        if now > before + ALLOWED_GROWTH:
            found.append(f"memory: {before / (1 << 20):.1f} MiB before, {now / (1 << 20):.1f} now")
    return found
