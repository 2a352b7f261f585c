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
    """Return the ``priority`` of an operation: a class, and in it a level from 0 (first) to 7.

    ValueError for a class or level that there is not. See ioprio_set(2).
    """
    if level not in range(_LEVELS):
        raise ValueError(f"level must be from 0 to {_LEVELS - 1}, not {level!r}")
    return IOPriorityClass(priority_class) << _CLASS_SHIFT | level
