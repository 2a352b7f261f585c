# SPDX-License-Identifier: Apache-2.0
"""The messages on /dev/fuse, as <linux/fuse.h> lays them out.

Every structure there is padded by hand, so that its layout is the same on 32 and 64 bits. Hence
"=": the machine's byte order, standard sizes, and no implicit padding.
"""

from __future__ import annotations

import errno
import os
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

PROTOCOL_MAJOR = 7
PROTOCOL_MINOR = 31  # of Linux 5.4, which has all that is used; later, some structs grew

ROOT_NODE = 1

# The kernel's default limit on a request is 256 pages. It splits longer ones.
MAX_PAGES = 256
MAX_WRITE = MAX_PAGES * 4096
# Asynchronous requests beyond this number wait in the kernel, where the server can't count them,
# and io_submit blocks for them. The kernel's default is 12.
MAX_BACKGROUND = 0xFFFF
# The largest WRITE with its header. On machines with pages of 64 KiB, a READ can be larger than
# MAX_WRITE, but its data is in the answer, not in the request.
READ_BUFFER_SIZE = MAX_WRITE + 4096

INIT_ASYNC_READ = 1 << 0
INIT_BIG_WRITES = 1 << 5
INIT_AUTO_INVAL_DATA = 1 << 12  # the kernel asks whether a file has changed before a cached read
INIT_ASYNC_DIO = 1 << 15  # io_submit of a direct read or write returns before we have answered
INIT_PARALLEL_DIROPS = 1 << 18
INIT_MAX_PAGES = 1 << 22

OPENED_DIRECT_IO = 1 << 0
# Without it, close(2) sends a FLUSH, and fails with ENOTCONN after the server has ended.
OPENED_NOFLUSH = 1 << 5

SET_MODE = 1 << 0
SET_UID = 1 << 1
SET_GID = 1 << 2
SET_SIZE = 1 << 3
SET_ATIME = 1 << 4
SET_MTIME = 1 << 5
SET_ATIME_NOW = 1 << 7
SET_MTIME_NOW = 1 << 8

_IN_HEADER = Struct("=IIQQIIIHH")
_OUT_HEADER = Struct("=IiQ")

_ATTRIBUTES = Struct("=6Q10I")
_ATTR_OUT = Struct("=QII")  # followed by the attributes
_BATCH_FORGET_IN = Struct("=II")
_CREATE_IN = Struct("=IIII")
_DIRENT = Struct("=QQII")
_ENTRY_OUT = Struct("=4Q2I")  # followed by the attributes
_FORGET_IN = Struct("=Q")
_FORGET_ONE = Struct("=QQ")
_INIT_IN = Struct("=IIII")
_INIT_OUT = Struct("=IIIIHHIIHH32x")
_INTERRUPT_IN = Struct("=Q")
_OPEN_OUT = Struct("=QII")
_READ_WRITE_IN = Struct("=QQIIQII")
_RENAME_IN = Struct("=Q")
_SETATTR_IN = Struct("=II6Q8I")
_STATFS_OUT = Struct("=5Q4I24x")
_WRITE_OUT = Struct("=II")


class Opcode(IntEnum):
    """The requests that the server knows; it answers all others with ENOSYS."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    UNLINK = 10
    RENAME = 12
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    CREATE = 35
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42


class Request(NamedTuple):
    """A request as it was read: the header's fields that the server uses, and the unparsed body."""

    opcode: int
    unique: int
    node: int
    uid: int
    gid: int
    body: bytes


class Transfer(NamedTuple):
    """The arguments of a READ or a WRITE."""

    offset: int
    size: int


class Attributes(NamedTuple):
    """The fields of struct fuse_attr in which files and directories here differ."""

    node: int
    size: int
    mode: int
    uid: int
    gid: int
    links: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int


class Changes(NamedTuple):
    """The changes of a SETATTR; `mask` says which of the values are to be set."""

    mask: int
    size: int
    mode: int
    uid: int
    gid: int
    atime_ns: int
    mtime_ns: int


class DirectoryEntry(NamedTuple):
    """One name in a directory. `position` is where the next READDIR goes on."""

    node: int
    position: int
    kind: int
    name: bytes


def parse_request(message: bytes) -> Request:
    """Split what one read of /dev/fuse returned, which is always one whole request."""
    _, opcode, unique, node, uid, gid, _, _, _ = _IN_HEADER.unpack_from(message)
    return Request(opcode, unique, node, uid, gid, message[_IN_HEADER.size :])


def parse_name(body: bytes) -> str:
    """The file name that is all of a LOOKUP or UNLINK."""
    return os.fsdecode(body.rstrip(b"\0"))


def parse_create(body: bytes) -> tuple[int, str]:
    """Mode and name of a CREATE."""
    mode: int = _CREATE_IN.unpack_from(body)[1]
    return mode, parse_name(body[_CREATE_IN.size :])


def parse_rename(body: bytes) -> tuple[str, str]:
    """The old and the new name of a RENAME in the only directory."""
    old, new, _ = body[_RENAME_IN.size :].split(b"\0")
    return os.fsdecode(old), os.fsdecode(new)


def parse_transfer(body: bytes) -> Transfer:
    """Offset and size of a READ, READDIR or WRITE."""
    _, offset, size, _, _, _, _ = _READ_WRITE_IN.unpack_from(body)
    return Transfer(offset, size)


def is_synchronous(body: bytes) -> bool:
    """Whether the data of a WRITE must be on the disk before the answer."""
    flags: int = _READ_WRITE_IN.unpack_from(body)[5]
    return bool(flags & os.O_DSYNC)


def write_payload(body: bytes) -> bytes:
    """The data behind the fixed part of a WRITE."""
    return body[_READ_WRITE_IN.size :]


def parse_interrupt(body: bytes) -> int:
    """Return the number of the request that an INTERRUPT is for."""
    unique: int = _INTERRUPT_IN.unpack_from(body)[0]
    return unique


def parse_forget(request: Request) -> list[tuple[int, int]]:
    """(node, number of look-ups to take back) of a FORGET or a BATCH_FORGET."""
    if request.opcode == Opcode.FORGET:
        return [(request.node, _FORGET_IN.unpack_from(request.body)[0])]
    count: int = _BATCH_FORGET_IN.unpack_from(request.body)[0]
    start = _BATCH_FORGET_IN.size
    records = request.body[start : start + count * _FORGET_ONE.size]
    return list(_FORGET_ONE.iter_unpack(records))


def parse_setattr(body: bytes) -> Changes:
    """The changes that a SETATTR asks for."""
    fields = _SETATTR_IN.unpack_from(body)
    mask, _, _, size, _, atime, mtime, _ = fields[:8]
    atime_nsec, mtime_nsec, _, mode, _, uid, gid, _ = fields[8:]
    return Changes(
        mask, size, mode, uid, gid, _nanoseconds(atime, atime_nsec), _nanoseconds(mtime, mtime_nsec)
    )


def init_answer(body: bytes, *, checks_cache: bool) -> bytes:
    """Return the answer to INIT: asynchronous direct I/O, the longest and the most requests."""
    _, minor, max_readahead, offered = _INIT_IN.unpack_from(body)
    wanted = (
        INIT_ASYNC_READ | INIT_BIG_WRITES | INIT_ASYNC_DIO | INIT_PARALLEL_DIROPS | INIT_MAX_PAGES
    )
    wanted |= INIT_AUTO_INVAL_DATA if checks_cache else 0
    congestion_threshold = MAX_BACKGROUND
    time_granularity = 1
    map_alignment = 0
    return _INIT_OUT.pack(
        PROTOCOL_MAJOR,
        min(minor, PROTOCOL_MINOR),
        max_readahead,
        wanted & offered,
        MAX_BACKGROUND,
        congestion_threshold,
        MAX_WRITE,
        time_granularity,
        MAX_PAGES,
        map_alignment,
    )


def answer(unique: int, payload: bytes = b"") -> list[bytes]:
    """The parts of a successful answer, for writev, which saves a copy of the data."""
    return [_OUT_HEADER.pack(_OUT_HEADER.size + len(payload), 0, unique), payload]


def refusal(unique: int, error: int) -> list[bytes]:
    """The parts of an answer that is an errno."""
    return [_OUT_HEADER.pack(_OUT_HEADER.size, -error, unique)]


def entry_answer(attributes: Attributes) -> bytes:
    """The answer for a name that was found or made. Not to be cached: tests change files, too."""
    generation = entry_valid = attr_valid = 0
    fixed = _ENTRY_OUT.pack(attributes.node, generation, entry_valid, attr_valid, 0, 0)
    return fixed + _attributes(attributes)


def attr_answer(attributes: Attributes) -> bytes:
    """The answer with the attributes of a node, which are not to be cached, either."""
    attr_valid = 0
    return _ATTR_OUT.pack(attr_valid, 0, 0) + _attributes(attributes)


def open_answer(open_flags: int) -> bytes:
    """The answer for an opened file. It has no handle, because requests name the node, too."""
    handle = 0
    return _OPEN_OUT.pack(handle, open_flags, 0)


def write_answer(size: int) -> bytes:
    """How many bytes a WRITE took."""
    return _WRITE_OUT.pack(size, 0)


def statfs_answer(block_size: int, blocks: int, free_blocks: int, files: int) -> bytes:
    """The size of the file system."""
    free_files = 1 << 20
    longest_name = 255
    return _STATFS_OUT.pack(
        blocks,
        free_blocks,
        free_blocks,
        files + free_files,
        free_files,
        block_size,
        longest_name,
        block_size,
        0,
    )


def directory_answer(entries: list[DirectoryEntry], size: int) -> bytes:
    """The first entries that fit into `size` bytes. The kernel asks again for the others."""
    listing = bytearray()
    for entry in entries:
        record = _DIRENT.pack(entry.node, entry.position, len(entry.name), entry.kind) + entry.name
        record += bytes(-len(record) % 8)
        if len(listing) + len(record) > size:
            break
        listing += record
    return bytes(listing)


def errno_of(error: OSError) -> int:
    """Return the errno to answer for an exception: the kernel accepts only a valid errno."""
    return error.errno or errno.EIO


def _nanoseconds(seconds: int, nanoseconds: int) -> int:
    return seconds * 1_000_000_000 + nanoseconds


def _attributes(attributes: Attributes) -> bytes:
    atime, atime_nsec = divmod(attributes.atime_ns, 1_000_000_000)
    mtime, mtime_nsec = divmod(attributes.mtime_ns, 1_000_000_000)
    ctime, ctime_nsec = divmod(attributes.ctime_ns, 1_000_000_000)
    sectors = -(-attributes.size // 512)
    device = flags = 0
    block_size = 4096
    return _ATTRIBUTES.pack(
        attributes.node,
        attributes.size,
        sectors,
        atime,
        mtime,
        ctime,
        atime_nsec,
        mtime_nsec,
        ctime_nsec,
        attributes.mode,
        attributes.links,
        attributes.uid,
        attributes.gid,
        device,
        block_size,
        flags,
    )
