# SPDX-License-Identifier: Apache-2.0
"""Finds out which asynchronous I/O this machine has, for `python -m linux_aio info`."""

from __future__ import annotations

import errno
import os
import platform
import stat
import sys
from pathlib import Path
from typing import TypeAlias

from ._core import __version__, build_info, direct_alignment, engines

Report: TypeAlias = "dict[str, str | int | Report]"


def system_report(path: str | None = None) -> Report:
    """Return the whole report; with a `path`, also what its file system allows."""
    states = engines()
    report: Report = {
        "linux_aio": __version__,
        "Python": sys.version.split()[0],
        "kernel": platform.release(),
        "machine": platform.machine(),
        "built in": {name: value for name, value in build_info().items() if name != "version"},
        "engines": dict(states),
        "default engine": default_engine(states),
        "kernel AIO": {
            "aio-nr": setting("/proc/sys/fs/aio-nr"),
            "aio-max-nr": setting("/proc/sys/fs/aio-max-nr"),
        },
    }
    if path is not None:
        report[path_key(path)] = path_report(path)
    return report


# The other keys of the report.
_KEYS = {"linux_aio", "Python", "kernel", "machine", "built in", "engines", "default engine"}
_KEYS |= {"kernel AIO"}


def path_key(path: str) -> str:
    """Return the report's key for the path: the path, spelt so that no other key is the same."""
    spelt = os.fspath(path)
    return os.path.join(".", spelt) if spelt in _KEYS else spelt


def default_engine(states: dict[str, str]) -> str:
    """Return the engine that LINUX_AIO_ENGINE names, or why it can't be used."""
    name = os.environ.get("LINUX_AIO_ENGINE") or "auto"
    state = states.get(name, "LINUX_AIO_ENGINE names no engine")
    return name if state == "available" else f"{name}: {state}"


def setting(name: str) -> str | int:
    """Return a setting of the kernel's, or "unknown"."""
    try:
        return int(Path(name).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return "unknown"


def path_report(path: str) -> Report:
    """Return the report on a file or, for a directory, on a new file in it."""
    report: Report = {"file system": file_system_of(path)}
    try:
        fd = open_file(path)
    except OSError as error:
        what = "no file can be made in it" if os.path.isdir(path) else "can't be looked at"
        report["error"] = f"{what}: {error.strerror}"
        return report
    try:
        memory, transfer = direct_alignment(fd)
        report["O_DIRECT"] = (
            f"memory at multiples of {memory}, offsets and lengths at multiples of {transfer}"
            if takes_direct_io(fd)
            else "not supported"
        )
        report["RWF_NOWAIT"] = takes_nowait(fd)
    finally:
        os.close(fd)
    return report


def open_file(path: str) -> int:
    """Open the file or, for a directory, a new file without a name in it."""
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        return os.open(path, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


def takes_direct_io(fd: int) -> bool:
    try:
        flags = os.O_RDONLY | os.O_DIRECT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        os.close(os.open(f"/proc/self/fd/{fd}", flags))
    except OSError as error:
        return error.errno != errno.EINVAL
    return True


def takes_nowait(fd: int) -> str:
    """Return whether buffered reads can have RWF_NOWAIT, which doesn't wait for the disk."""
    try:
        os.preadv(fd, [bytearray(1)], 0, os.RWF_NOWAIT)
    except BlockingIOError:
        return "works"
    except OSError as error:
        return f"does not work: {error.strerror}"
    return "works"


def file_system_of(path: str) -> str:
    """Return the type and mount point of the file system that the path is on."""
    found = "unknown"
    longest = -1
    real = os.path.realpath(path)
    for line in mounts():
        before, _, after = line.partition(" - ")
        point = unescape(before.split()[4])
        below = os.path.commonpath([point, real]) == point
        if below and len(point) >= longest:
            longest = len(point)
            found = f"{after.split()[0]}, mounted at {point}"
    return found


def is_in_memory(file_system: str) -> bool:
    """Whether this file system, as file_system_of() returns it, has no disk."""
    return file_system.split(",")[0] in {"tmpfs", "ramfs", "hugetlbfs"}


def mounts() -> list[str]:
    """Return the lines of /proc/self/mountinfo; none if it can't be read."""
    try:
        text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return []
    return text.splitlines()


def unescape(point: str) -> str:
    """Replace the octal numbers that proc(5) has for white space and backslashes."""
    for code in ("040", "011", "012", "134"):
        point = point.replace(f"\\{code}", chr(int(code, 8)))
    return point
