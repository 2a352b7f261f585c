# SPDX-License-Identifier: Apache-2.0
"""Describes the machine that is measured, without any names."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import linux_aio

LIBRARIES = ("caio", "aiofile", "aiofiles", "anyio", "trio", "uvloop", "numpy", "safetensors")


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def file_system(folder: Path) -> str:
    """The type of the file system that the folder is on."""
    device = os.stat(folder).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    kind = "unknown"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[2] == number:
            kind = fields[fields.index("-") + 1]
    return kind


def version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "not there"


def fio_version() -> str:
    try:
        done = subprocess.run(["fio", "--version"], capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "not there"
    return done.stdout.strip().removeprefix("fio-")


def describe(memory: Path, disk: Path) -> dict[str, str]:
    build = linux_aio.build_info()
    return {
        "processor": f"{processor()}, {len(os.sched_getaffinity(0))} cores",
        "kernel": platform.release().partition("-")[0],
        "Python": platform.python_version(),
        "load average before": f"{os.getloadavg()[0]:.1f}",
        "file in memory": file_system(memory),
        "file on disk": file_system(disk),
        "linux_aio": f"{linux_aio.__version__}, libaio {build['libaio']}",
        "fio": fio_version(),
        **{library: version(library) for library in LIBRARIES},
    }
