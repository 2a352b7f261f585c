# SPDX-License-Identifier: Apache-2.0
"""The queues of this process's contexts: kernel AIO's rings, and sockets to our threads."""

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
    """A digest of each ring, with header and events, which the kernel and the context write to.

    Rings of unreachable and of closed contexts are destroyed first, or they would disappear during
    the test.
    """
    gc.collect()
    wait_for_destroyed()
    contents = (ctypes.string_at(start, end - start) for start, end in _mappings())
    return [hashlib.sha256(content).hexdigest() for content in contents]


def wait_for_destroyed() -> None:
    """Wait until the threads of ours have destroyed the queues of closed contexts."""
    assert soon(lambda: not _are_being_destroyed())


def queues() -> int:
    """How many queues there are: kernel AIO's rings or, if more, the sockets to our threads.

    Contexts share the threads. 0 means that no context that was used is left.
    """
    return max(len(_mappings()), _sockets())


def no_queues() -> bool:
    """Whether all queues disappear soon: a thread of ours destroys those of closed contexts."""
    return soon(lambda: queues() == 0)


def _are_being_destroyed() -> bool:
    """Whether a thread destroys queues, or may begin to: a new thread has no name yet."""
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
    """How many sockets there are by which our threads get files; only sending ends count.

    No other socket here has their type. The receiving ends have SO_PASSCRED set.
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
    # Line by line, since the whole is as large as blocks that some tests look for in quarantine.
    with Path("/proc/self/maps").open(encoding="utf-8") as lines:
        ranges = [line.split()[0].split("-") for line in lines if "[aio]" in line]
    return [(int(start, 16), int(end, 16)) for start, end in ranges]
