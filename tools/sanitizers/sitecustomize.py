# SPDX-License-Identifier: Apache-2.0
"""What each Python under AddressSanitizer begins with: it lets other threads rest before it forks.

AddressSanitizer's allocator has locks which it doesn't take for fork(2), as the C library's does
(seen with gcc 12 and 14): a child made while another thread holds one waits for it for ever. One
that sleeps in a system call holds none, but one that waits for a page or for the memory map may.
Without AddressSanitizer tests fork beside threads at work.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path


def let_others_rest() -> None:
    me = str(threading.get_native_id())
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        time.sleep(0.01)
        others = [task for task in Path("/proc/self/task").iterdir() if task.name != me]
        if not any(is_at_work(task) for task in others):
            return


def is_at_work(task: Path) -> bool:
    try:
        stat = (task / "stat").read_text()
    except OSError:
        return False  # it has ended
    return stat.rpartition(")")[2].split()[0] in {"R", "D"}


os.register_at_fork(before=let_others_rest)
