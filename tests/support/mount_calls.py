# SPDX-License-Identifier: Apache-2.0
"""mount(2) and umount2(2), which Python's `os` does not have."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

MS_NOSUID = 2
MS_NODEV = 4
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18

MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: Path, fstype: str, flags: int = 0, options: str = "") -> None:
    """Mount, or raise the `OSError`."""
    # mount(2) takes the flags as an unsigned long; ctypes would pass a plain int as an int.
    status = _libc.mount(
        source.encode(),
        os.fsencode(target),
        fstype.encode(),
        ctypes.c_ulong(flags),
        options.encode(),
    )
    if status != 0:
        raise _last_error(target)


def unmount(target: Path) -> None:
    """Unmount; `EBUSY` while a file in it is open."""
    _umount2(target, 0)


def detach(target: Path) -> None:
    """Unmount lazily: it leaves the tree at once, even if files in it are open."""
    _umount2(target, MNT_DETACH)


def detach_if_mounted(target: Path) -> None:
    """Unmount lazily, in a clean-up; do nothing if it is no longer mounted."""
    with contextlib.suppress(OSError):
        detach(target)


def _umount2(target: Path, flags: int) -> None:
    if _libc.umount2(os.fsencode(target), flags) != 0:
        raise _last_error(target)


def _last_error(target: Path) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), os.fspath(target))
