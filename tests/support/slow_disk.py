# SPDX-License-Identifier: Apache-2.0
"""Slows a disk down: limits what this process reads and writes, by the kernel's blkio."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from support.portable import PORTABLE, REASON

_ROOT = Path("/sys/fs/cgroup")


def _device_of(path: Path) -> str:
    device = path.stat().st_dev
    return f"{os.major(device)}:{os.minor(device)}"


@functools.cache
def throttling_reason(folder: Path) -> str | None:
    """Why the disk of the folder can't be slowed down here, or None if it can."""
    if PORTABLE:
        return REASON
    if os.geteuid() != 0:
        return "no way to hold a disk back here: it needs root"
    try:
        with throttled(folder, 1000):
            return None
    except OSError as error:
        return f"no way to hold a disk back here: {error}"


@contextlib.contextmanager
def throttled(folder: Path, per_second: int) -> Iterator[None]:
    """Limit this process, with all its threads, to so many reads, and writes, of the disk."""
    device = _device_of(folder)
    if (_ROOT / "blkio").is_dir():
        hierarchy = _ROOT / "blkio"
        rules = {
            f"blkio.throttle.{kind}_iops_device": f"{device} {per_second}"
            for kind in ("read", "write")
        }
    else:
        hierarchy = _ROOT
        rules = {"io.max": f"{device} riops={per_second} wiops={per_second}"}
        (hierarchy / "cgroup.subtree_control").write_text("+io")
    group = Path(tempfile.mkdtemp(prefix="linux_aio-", dir=hierarchy))
    home = hierarchy / _group_of_this_process(hierarchy).lstrip("/") / "cgroup.procs"
    try:
        for setting, rule in rules.items():
            (group / setting).write_text(rule)
        (group / "cgroup.procs").write_text(str(os.getpid()))
        try:
            yield
        finally:
            home.write_text(str(os.getpid()))
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()


def _group_of_this_process(hierarchy: Path) -> str:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if (controllers == "" and hierarchy == _ROOT) or "blkio" in controllers.split(","):
            return path
    raise OSError(f"this process is in no group of {hierarchy}")


__all__ = ["throttled", "throttling_reason"]
