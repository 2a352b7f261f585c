# SPDX-License-Identifier: Apache-2.0
"""I/O priorities, as ioprio_set(2) and <linux/ioprio.h> define them."""

import enum

_CLASS_SHIFT = 13
_LEVELS = 8


class IOPriorityClass(enum.IntEnum):
    """The I/O scheduling class of a request."""

    NONE = 0
    """The class that goes with the thread's CPU scheduling."""

    REALTIME = 1
    """Before all others; needs CAP_SYS_ADMIN or CAP_SYS_NICE."""

    BEST_EFFORT = 2
    """What programs use by default."""

    IDLE = 3
    """Only while nobody else uses the disk."""


def ioprio(priority_class: IOPriorityClass, level: int = 0) -> int:
    """Return an I/O priority, for the `priority` of an operation: see ioprio_set(2).

    priority_class is the class; level, from 0 (first) to 7, orders requests within REALTIME and
    BEST_EFFORT. ValueError for a class or level that does not exist.
    """
    if level not in range(_LEVELS):
        raise ValueError(f"level must be from 0 to {_LEVELS - 1}, not {level!r}")
    return IOPriorityClass(priority_class) << _CLASS_SHIFT | level
