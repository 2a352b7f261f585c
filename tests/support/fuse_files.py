# SPDX-License-Identifier: Apache-2.0
"""The files of the test file system: one flat directory, all in the server's memory."""

from __future__ import annotations

import errno
import os
import stat
import time
from dataclasses import dataclass, field
from random import Random

from support.fuse_disk import Disk, Names
from support.fuse_wire import (
    ROOT_NODE,
    SET_ATIME,
    SET_ATIME_NOW,
    SET_GID,
    SET_MODE,
    SET_MTIME,
    SET_MTIME_NOW,
    SET_SIZE,
    SET_UID,
    Attributes,
    Changes,
    DirectoryEntry,
)

# The data is not sparse: a write at a huge offset must not use up the machine's memory.
LARGEST_FILE = 1 << 30


@dataclass(eq=False)
class Node:
    """A file, or the directory. It lives on without a name while the kernel knows its number."""

    number: int
    mode: int
    uid: int = 0
    gid: int = 0
    links: int = 1
    data: bytearray = field(default_factory=bytearray)
    disk: Disk | None = None  # the data that survives a loss of power; None: not tracked
    lookups: int = 0
    atime_ns: int = field(default_factory=time.time_ns)
    mtime_ns: int = field(default_factory=time.time_ns)
    ctime_ns: int = field(default_factory=time.time_ns)

    def attributes(self) -> Attributes:
        """The attributes for stat(2)."""
        return Attributes(
            self.number,
            len(self.data),
            self.mode,
            self.uid,
            self.gid,
            self.links,
            self.atime_ns,
            self.mtime_ns,
            self.ctime_ns,
        )

    def read(self, offset: int, size: int) -> bytes:
        """The bytes of the range, fewer than `size` at the end of the file."""
        return bytes(memoryview(self.data)[offset : offset + size])

    def write(self, offset: int, payload: bytes, synchronous: bool = False) -> None:
        """Overwrite data or extend the file. A gap before the data is filled with zeros."""
        if self.disk is not None:
            self.disk.write(offset, payload, synchronous)
        end = offset + len(payload)
        if end > len(self.data):
            self._resize(end)
        self.data[offset:end] = payload
        self._modified()

    def truncate(self, size: int) -> None:
        """Cut the file, or extend it with zeros."""
        self._resize(size)
        if self.disk is not None:
            self.disk.replace(bytes(self.data))  # as if it had been synced

    def _resize(self, size: int) -> None:
        if size > LARGEST_FILE:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        del self.data[size:]
        self.data.extend(bytes(size - len(self.data)))
        self._modified()

    def replace(self, data: bytes) -> None:
        """Replace the contents of the file."""
        self._resize(0)
        self.write(0, data)
        if self.disk is not None:
            self.disk.replace(data)

    def lose_power(self, chance: Random) -> None:
        """Become what has survived on the disk."""
        if self.disk is not None:
            self.disk.lose_power(chance)
            self.data[:] = self.disk.stable

    def change(self, changes: Changes) -> None:
        """SETATTR: chmod, chown, truncate and utime in one."""
        mask = changes.mask
        if mask & SET_SIZE:
            self.truncate(changes.size)
        if mask & SET_MODE:
            self.mode = stat.S_IFMT(self.mode) | stat.S_IMODE(changes.mode)
        if mask & SET_UID:
            self.uid = changes.uid
        if mask & SET_GID:
            self.gid = changes.gid
        if mask & SET_ATIME:
            self.atime_ns = time.time_ns() if mask & SET_ATIME_NOW else changes.atime_ns
        if mask & SET_MTIME:
            self.mtime_ns = time.time_ns() if mask & SET_MTIME_NOW else changes.mtime_ns
        self.ctime_ns = time.time_ns()

    def _modified(self) -> None:
        self.mtime_ns = self.ctime_ns = time.time_ns()


class Directory:
    """All files, by name and by the node number that the kernel uses."""

    def __init__(self, *, with_disks: bool = False) -> None:
        self._with_disks = with_disks
        self._renames = Names()
        self._replaced: list[Node] = []  # files whose rename may be undone
        self.root = Node(ROOT_NODE, stat.S_IFDIR | 0o755, links=2)
        if with_disks:
            self.root.disk = self._renames
        self._names: dict[str, Node] = {}
        self._nodes = {ROOT_NODE: self.root}
        self._next_number = ROOT_NODE + 1

    def __len__(self) -> int:
        return len(self._names)

    def node(self, number: int) -> Node:
        """The node of a request."""
        try:
            return self._nodes[number]
        except KeyError:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE)) from None

    def named(self, name: str) -> Node:
        """The file of this name."""
        try:
            return self._names[name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None

    def create(self, name: str, mode: int = 0o644, uid: int = 0, gid: int = 0) -> Node:
        """A new empty file, or the one that has the name already."""
        if name in self._names:
            return self._names[name]
        node = Node(self._next_number, stat.S_IFREG | stat.S_IMODE(mode), uid, gid)
        self._next_number += 1  # a number is never used twice, so no generations are needed
        if self._with_disks:
            node.disk = Disk()
        self._names[name] = self._nodes[node.number] = node
        return node

    def lose_power(self, chance: Random) -> None:
        """All files become what has survived on the disk. Names survive, except renames."""
        for node in {*self._nodes.values(), *self._replaced}:
            node.lose_power(chance)

    def rename(self, old: str, new: str) -> None:
        """Rename a file; it replaces the file that has the new name."""
        node = self.named(old)
        replaced = self._names.get(new)
        if replaced is node:
            return
        del self._names[old]
        self._names[new] = node

        def undo() -> None:
            self._names[old] = node
            del self._names[new]
            if replaced is not None:
                self._names[new] = replaced

        if self._with_disks:
            self._renames.note(undo)
        if replaced is not None:
            if self._with_disks:
                self._replaced.append(replaced)
            replaced.links = 0
            self._drop_if_unused(replaced)

    def unlink(self, name: str) -> None:
        """Remove the name; the file is removed once the kernel has forgotten it."""
        node = self.named(name)
        del self._names[name]
        node.links = 0
        self._drop_if_unused(node)

    def forget(self, number: int, lookups: int) -> None:
        """The kernel has dropped so many of the references that answers gave it."""
        node = self._nodes.get(number)
        if node is not None:
            node.lookups -= lookups
            self._drop_if_unused(node)

    def entries(self, position: int) -> list[DirectoryEntry]:
        """The listing from `position` on."""
        listed = [(".", self.root), ("..", self.root), *self._names.items()]
        return [
            DirectoryEntry(node.number, index + 1, stat.S_IFMT(node.mode) >> 12, os.fsencode(name))
            for index, (name, node) in enumerate(listed)
            if index >= position
        ]

    def _drop_if_unused(self, node: Node) -> None:
        if node is not self.root and node.links == 0 and node.lookups <= 0:
            self._nodes.pop(node.number, None)
