# SPDX-License-Identifier: Apache-2.0
"""Real file systems for tests: new ones on loop devices, and small ones in memory that fill up.

All need root. A test calls `loop_mount_reason` or `tmpfs_mount_reason` first, and is skipped if
there is a reason.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from support.mount_calls import MS_NODEV, MS_NOSUID, detach, mount, unmount
from support.portable import PORTABLE, REASON

# The smallest size, about, that each mkfs accepts.
SMALLEST_MIB = {"ext4": 8, "xfs": 300, "btrfs": 114}

_MKFS_OPTIONS = {"ext4": ["-q", "-F"], "xfs": ["-q", "-f"], "btrfs": ["-q", "-f"]}

# Other programs, such as a virus scanner or an indexer, may have a file open for so long.
BUSY_SECONDS = 1.0


@functools.cache
def loop_mount_reason(fstype: str) -> str | None:
    """Why a file system of this type can't be made and mounted here, or None if it can."""
    if PORTABLE:
        return REASON
    if os.geteuid() != 0:
        return "mounting needs root"
    if fstype not in _MKFS_OPTIONS:
        return f"no rule here how to make {fstype}"
    if _tool(f"mkfs.{fstype}") is None:
        return f"no mkfs.{fstype}"
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            loop_mount(Path(folder), fstype, SMALLEST_MIB[fstype]),
        ):
            return None
    except OSError as error:
        return f"{fstype} on a loop device refused: {error}"


@functools.cache
def tmpfs_mount_reason() -> str | None:
    """Why a tmpfs can't be mounted here, or None if it can."""
    if PORTABLE:
        return REASON
    if os.geteuid() != 0:
        return "mounting needs root"
    try:
        with tempfile.TemporaryDirectory() as folder, tmpfs_mount(Path(folder), 64):
            return None
    except OSError as error:
        return f"tmpfs refused: {error}"


@contextlib.contextmanager
def loop_mount(
    tmp_path: Path,
    fstype: str,
    size_mib: int,
    options: str = "",
    make_options: Sequence[str] = (),
) -> Iterator[Path]:
    """Mount a new ext4, xfs or btrfs on a sparse image below `tmp_path`; give the mount point."""
    work = Path(tempfile.mkdtemp(prefix=f"{fstype}-", dir=tmp_path))
    try:
        image = work / "image"
        mountpoint = work / "mnt"
        mountpoint.mkdir()
        with image.open("wb") as file:
            file.truncate(size_mib << 20)
        _run(f"mkfs.{fstype}", *_MKFS_OPTIONS[fstype], *make_options, str(image))
        # mount(8) makes the loop device one that frees itself when it is unmounted.
        all_options = f"loop,{options}" if options else "loop"
        _run("mount", "-t", fstype, "-o", all_options, str(image), str(mountpoint))
        try:
            yield mountpoint
        finally:
            _unmount_patiently(mountpoint)
    finally:
        shutil.rmtree(work)


@contextlib.contextmanager
def tmpfs_mount(path: Path, size_kib: int) -> Iterator[Path]:
    """Mount a tmpfs of `size_kib` on the folder `path`, which is made if it is missing."""
    path.mkdir(exist_ok=True)
    mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, f"size={size_kib}k")
    try:
        yield path
    finally:
        _unmount_patiently(path)


@functools.cache
def overlay_mount_reason() -> str | None:
    """Why an overlayfs can't be mounted here, or None if it can."""
    if PORTABLE:
        return REASON
    if os.geteuid() != 0:
        return "mounting needs root"
    try:
        with tempfile.TemporaryDirectory() as folder, overlay_mount(Path(folder)):
            return None
    except OSError as error:
        return f"overlayfs refused: {error}"


@contextlib.contextmanager
def overlay_mount(path: Path) -> Iterator[tuple[Path, Path]]:
    """Mount an overlayfs below `path`; give its lower folder and its mount point."""
    folders = [path / name for name in ("lower", "upper", "work", "merged")]
    for folder in folders:
        folder.mkdir()
    lower, upper, work, merged = folders
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    mount("overlay", merged, "overlay", 0, options)
    try:
        yield lower, merged
    finally:
        _unmount_patiently(merged)


def _unmount_patiently(mountpoint: Path) -> None:
    """Unmount; lazily if files stay open, so that a failed test leaves no mount behind."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return unmount(mountpoint)
        except OSError:
            if time.monotonic() > deadline:
                return detach(mountpoint)
            time.sleep(0.05)


def _run(tool: str, *arguments: str) -> None:
    """Run a tool. If it fails, raise an `OSError` with its error output."""
    command = [_tool(tool) or tool, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{tool}: {(done.stderr or done.stdout).strip()}")


def _tool(name: str) -> str | None:
    # Administrators' tools are not on everybody's PATH.
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
