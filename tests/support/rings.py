# SPDX-License-Identifier: Apache-2.0
"""The queues of contexts that this process has: kernel AIO's rings, and those of our threads."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import os
import socket
import threading
import time
from pathlib import Path

from support.measure import soon


def rings() -> list[str]:
    """A digest of each ring, of its header and all events: the kernel and its user write to it.

    Those of contexts that nobody can reach are destroyed first: later they would go in the middle
    of the test. Those of closed contexts, which a thread of ours still destroys, are waited for.
    """
    gc.collect()
    deadline = time.monotonic() + 10
    while _are_being_destroyed():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    contents = (ctypes.string_at(start, end - start) for start, end in _mappings())
    return [hashlib.sha256(content).hexdigest() for content in contents]


def queues() -> int:
    """How many queues there are: kernel AIO's rings, or else the sockets to threads of ours.

    Contexts share the threads: 0 means that no context is left that was used.
    """
    return max(len(_mappings()), _sockets())


def no_queues() -> bool:
    """Whether all queues are gone soon: a thread of ours destroys what was closed."""
    return soon(lambda: queues() == 0)


def _are_being_destroyed() -> bool:
    """Whether a thread destroys queues, or may begin to: a new one has no name of its own yet."""
    own_name = Path("/proc/self/task", str(os.getpid()), "comm").read_text()
    known = {str(thread.native_id) for thread in threading.enumerate()}
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended
            name = (task / "comm").read_text()
            if name == "aio-destroy\n":
                return True
            if name == own_name and task.name not in known and _age(task) < 1:
                return True
    return False


def _age(task: Path) -> float:
    """The seconds since a thread began."""
    began = int((task / "stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began / os.sysconf("SC_CLK_TCK")


def _sockets() -> int:
    """The sending ends of those through which threads of ours get their files.

    They are of a type that nothing else here has; the receiving ends ask for credentials.
    """
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the listing's own, and one closed meanwhile
            if os.readlink(link).startswith("socket:"):
                with socket.socket(fileno=os.dup(int(link.name))) as found:
                    is_receiver = found.getsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED)
                    count += found.type == socket.SOCK_SEQPACKET and not is_receiver
    return count


def _mappings() -> list[tuple[int, int]]:
    # Line by line: all of it is as large as what some tests look for in quarantine.
    with Path("/proc/self/maps").open(encoding="utf-8") as lines:
        ranges = [line.split()[0].split("-") for line in lines if "[aio]" in line]
    return [(int(start, 16), int(end, 16)) for start, end in ranges]
