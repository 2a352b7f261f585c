# SPDX-License-Identifier: Apache-2.0
"""Makes files of all kinds that this machine has."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path
from random import Random

from fuzz.api.files import File
from linux_aio import aligned_buffer, direct_alignment
from support.direct import direct_reason
from support.fusefs import HoldingFS, fs_available, mounted
from support.mounts import tmpfs_mount, tmpfs_mount_reason

SMALL_DISK_KIB = 256  # a few files fill it

KINDS = ("memory", "disk", "direct", "small disk", "slow")


class Folder:
    """Where the files are. Made once for many programs, since mounting takes its time."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.path = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self.kinds = ["memory", "disk"]
        self.fuse: HoldingFS | None = None
        self.slow_errors: set[int] = set()  # that its files may meet, as they were told
        if direct_reason(self.path) is None:
            self.kinds.append("direct")
        if tmpfs_mount_reason() is None:
            small = self.path / "small"
            self._small = self._stack.enter_context(tmpfs_mount(small, SMALL_DISK_KIB))
            self.kinds.append("small disk")
        if fs_available() is None:
            self.fuse = self._stack.enter_context(mounted(self.path))
            self.kinds.append("slow")
        self._number = 0

    def close(self) -> None:
        self._stack.close()

    def make(self, kind: str, chance: Random) -> File:
        """A file of this kind with something in it."""
        self._number += 1
        name = f"{kind} {self._number}"
        data = chance.randbytes(chance.choice([0, 1, 100, 4096, 10_000, 40_000]))
        if kind == "memory":
            return self._made(name, os.memfd_create(name), data, has_nowait=False)
        if kind == "slow":
            return self._slow(name, data or b"!")
        folder = self._small if kind == "small disk" else self.path
        path = folder / name
        flags = os.O_RDWR | os.O_CREAT
        if kind == "direct":
            return self._direct(name, os.open(path, flags | os.O_DIRECT), data, path)
        fd = os.open(path, flags)
        path.unlink()
        if kind == "disk":
            return self._made(name, fd, data)
        return self._made(
            name, fd, data, has_nowait=False, may_be_full=True, errors=frozenset({errno.ENOSPC})
        )

    def _made(self, name: str, fd: int, data: bytes, **about: object) -> File:
        with contextlib.suppress(OSError):  # a small disk may be full
            os.pwrite(fd, data, 0)

        def read_all() -> bytes:
            return os.pread(fd, os.fstat(fd).st_size, 0)

        return File(
            name,
            fd,
            bytearray(read_all()),
            read_all,
            lambda: os.close(fd),
            **about,  # type: ignore[arg-type]
        )

    def _direct(self, name: str, fd: int, data: bytes, path: Path) -> File:
        unit = max(*direct_alignment(fd), 512)
        data = data[: len(data) // unit * unit]
        path.write_bytes(data)
        path.unlink()

        def read_all() -> bytes:
            size = os.fstat(fd).st_size
            buffer: memoryview = aligned_buffer(-(-size // unit) * unit)
            return bytes(buffer[: os.preadv(fd, [buffer], 0) if size else 0])

        return File(
            name, fd, bytearray(data), read_all, lambda: os.close(fd), unit=unit, direct=True
        )

    def _slow(self, name: str, data: bytes) -> File:
        fuse = self.fuse
        assert fuse is not None
        path = fuse.create(name, data)
        fd = os.open(path, os.O_RDWR | os.O_DIRECT)

        def close() -> None:
            os.close(fd)
            path.unlink()

        return File(
            name,
            fd,
            bytearray(data),
            lambda: fuse.contents(name),
            close,
            direct=True,
            grows=False,
            errors=self.slow_errors,
            has_nowait=False,
        )
