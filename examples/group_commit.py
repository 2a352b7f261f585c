# SPDX-License-Identifier: Apache-2.0
"""A log whose records are on the disk when append() returns; many tasks share one fdatasync.

    python examples/group_commit.py

A record that is being committed makes the others wait; all that wait are then committed together.
After a crash the log is read to the last whole record, and what is behind it is cut off.
"""

from __future__ import annotations

import asyncio
import os
import struct
import tempfile
import zlib

import linux_aio
from linux_aio import fs

HEADER = struct.Struct("<II")  # of a record: its length, and the CRC-32 of its bytes


def frame(record: bytes) -> bytes:
    return HEADER.pack(len(record), zlib.crc32(record)) + record


def recover(data: bytes) -> tuple[list[bytes], int]:
    """Return the whole records at the beginning, and how many bytes they take."""
    records: list[bytes] = []
    place = 0
    while place + HEADER.size <= len(data):
        length, checksum = HEADER.unpack_from(data, place)
        record = data[place + HEADER.size : place + HEADER.size + length]
        if len(record) < length or zlib.crc32(record) != checksum:
            break
        records.append(record)
        place += HEADER.size + length
    return records, place


class Log:
    def __init__(self, file: linux_aio.File) -> None:
        self._file = file
        self._frames: list[bytes] = []
        self._next: asyncio.Task[None] | None = None  # takes the frames when its turn comes
        self._last: asyncio.Task[None] | None = None
        self._error: BaseException | None = None

    @classmethod
    async def open(cls, path: str) -> tuple[Log, list[bytes]]:
        """Open a log, or make one; return it and its records."""
        if not await fs.exists(path):
            await linux_aio.write_bytes(path, b"", durable=True)
        data = await linux_aio.read_bytes(path)
        records, length = recover(data)
        file = await linux_aio.open(path, "ab")
        if length < len(data):
            await file.truncate(length)
            await file.fdatasync()
        return cls(file), records

    async def append(self, record: bytes) -> None:
        """Return when the record is on the disk. Cancelled, it may be there or not."""
        self._frames.append(frame(record))
        if self._next is None:
            self._next = self._last = asyncio.create_task(self._commit(self._last))
        await asyncio.shield(self._next)

    async def _commit(self, previous: asyncio.Task[None] | None) -> None:
        if previous is not None:
            await asyncio.wait([previous])
        frames, self._frames = self._frames, []
        self._next = None
        # After a failed write or sync nobody knows what the disk has. Open the log anew.
        if self._error is not None:
            raise RuntimeError("the log has failed") from self._error
        try:
            await self._file.write(b"".join(frames))
            await self._file.fdatasync()
        except BaseException as error:
            self._error = error
            raise

    async def close(self) -> None:
        if self._last is not None:
            await asyncio.wait([self._last])
        await self._file.close()


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "log")
        log, _ = await Log.open(path)
        await asyncio.gather(*(log.append(b"record %d" % number) for number in range(1000)))
        await log.close()
        with open(path, "ab") as file:  # noqa: ASYNC230  # as a crash may leave it
            file.write(frame(b"half a record")[:-3])
        log, records = await Log.open(path)
        await log.append(b"the next one")
        await log.close()
        print(f"{len(records)} records, the last is {records[-1].decode()!r}")


if __name__ == "__main__":
    asyncio.run(main())
