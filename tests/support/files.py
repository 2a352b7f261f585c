# SPDX-License-Identifier: Apache-2.0
"""Files in memory, access lists, and pipes whose polls stay in flight for as long as wanted."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import select
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ACCESS_LIST = "system.posix_acl_access"
DEFAULT_LIST = "system.posix_acl_default"


def access_list(user: int, permissions: int) -> bytes:
    """An access control list that names one user: see acl(5) and linux/posix_acl_xattr.h."""
    nobody = 0xFFFFFFFF
    owner, named, group, mask, other = 0x01, 0x02, 0x04, 0x10, 0x20
    entries = (
        (owner, 6, nobody),
        (named, permissions, user),
        (group, 0, nobody),
        (mask, 7, nobody),
        (other, 0, nobody),
    )
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@contextlib.contextmanager
def file_in_memory(data: bytes = b"") -> Iterator[int]:
    """Give the descriptor of a file in memory with these contents, open to read and write."""
    fd = os.memfd_create("linux_aio test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.pwrite(fd, data, 0)
        yield fd
    finally:
        os.close(fd)


def contents(fd: int) -> bytes:
    """Return the contents of the file."""
    return os.pread(fd, os.fstat(fd).st_size, 0)


def refuse_writes(fd: int) -> None:
    """From now on have writes to this file in memory fail with `EPERM`, when carried out."""
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


def let_others_pass(folder: Path) -> None:
    """Let other users reach a test's folder, although pytest makes its parents private."""
    for above in folder.parents:
        if above.name.startswith(("pytest-", "popen-")):
            above.chmod(0o755)


def is_readable(fd: int, timeout: float = 0) -> bool:
    """Whether reading would not block, by select(2)."""
    return fd in select.select([fd], [], [], timeout)[0]


class Numbered:
    """An object with a fileno method, as programs use for a file. Its number can change."""

    def __init__(self, number: Any) -> None:
        self.number = number

    def fileno(self) -> Any:
        return self.number


class Gate:
    """A pipe. A poll of it for POLLIN completes only when open() is called."""

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe()

    def fileno(self) -> int:
        return self._read_end

    def open(self) -> None:
        os.write(self._write_end, b"!")

    def shut(self) -> None:
        """Undo `open`."""
        os.read(self._read_end, 1)

    def hang_up(self) -> None:
        """Close the writing end."""
        write_end, self._write_end = self._write_end, -1
        os.close(write_end)

    def close(self) -> None:
        for fd in (self._read_end, self._write_end):
            if fd >= 0:
                os.close(fd)

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def few_numbers(free: int) -> Iterator[None]:
    """Inside the block this process can have so many more descriptors."""
    numbers = [os.dup(0) for _ in range(free + 1)]
    for number in numbers:
        os.close(number)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (numbers[-1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
