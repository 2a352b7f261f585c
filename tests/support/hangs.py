# SPDX-License-Identifier: Apache-2.0
"""Where a process hangs, for the message of a test that waited for it in vain."""

from __future__ import annotations

import faulthandler
import os
import select
import signal
from pathlib import Path

TELL = signal.SIGRTMAX  # no test uses it
SANITIZERS = ("libasan", "libtsan", "libubsan")


def tell_when_asked(to: int) -> None:
    """In the process itself: write the stacks of Python's threads to the descriptor at TELL."""
    faulthandler.register(TELL, file=to, all_threads=True)


def stacks_of(pid: int, told: int) -> str:
    """Ask a process that called `tell_when_asked`; `told` is the other end of its pipe."""
    os.kill(pid, TELL)
    stacks = b""
    while select.select([told], [], [], 1.0)[0]:
        data = os.read(told, 1 << 16)
        if not data:
            break
        stacks += data
    return stacks.decode(errors="replace")


def waits_of(pid: int) -> list[str]:
    """For each thread, the system call that it waits in, and the library that made the call."""
    tasks = sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda task: int(task.name))
    return [f"thread {task.name}: {_wait_of(task)}" for task in tasks]


def hangs_in_a_sanitizer(waits: list[str]) -> bool:
    """Whether the first thread waits for a lock of a sanitizer's own.

    They don't take their locks for fork(2), as the C library does: a child that was made while
    another thread held one never gets it. `tools/sanitizers/sitecustomize.py` makes that rare.
    """
    return any(name in waits[0] for name in SANITIZERS)


def _wait_of(task: Path) -> str:
    try:
        call = (task / "syscall").read_text().split()
        maps = (task / "maps").read_text().splitlines()
    except OSError as error:
        return f"unknown ({error.strerror})"
    if len(call) < 9:
        return " ".join(call)  # "running"
    return f"system call {call[0]} from {_mapped_at(maps, int(call[-1], 16))}"


def _mapped_at(maps: list[str], address: int) -> str:
    for line in maps:
        begin, end = (int(limit, 16) for limit in line.split()[0].split("-"))
        if begin <= address < end:
            return line.split(maxsplit=5)[-1]
    return "nowhere"
