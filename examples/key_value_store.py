"""A small key-value store: values in one file that only grows, places of the keys in memory.

A put is acknowledged when it is on the disk. Puts that wait at the same time share one sync.
"""

import asyncio
import os
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Self

from linux_aio import AIOContext

HEADER = struct.Struct("<III")  # checksum of all that follows, length of the key, of the value
DELETED = 0xFFFFFFFF  # as length of the value


class Store:
    """Use it in `async with await Store.open(path)`."""

    def __init__(self, fd: int, context: AIOContext) -> None:
        self._fd = fd
        self._context = context
        self._places: dict[bytes, tuple[int, int]] = {}  # key: offset and length of its value
        self._end = 0  # where the next record goes
        self._durable = 0  # what comes before is on the disk
        self._waiting: list[bytes] = []  # records from there on
        self._writing = asyncio.Lock()

    @classmethod
    async def open(cls, path: Path) -> Self:
        fd = await asyncio.to_thread(os.open, path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        store = cls(fd, AIOContext())
        await store._recover()
        return store

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._context.aclose()
        await asyncio.to_thread(os.close, self._fd)

    async def get(self, key: bytes) -> bytes | None:
        place = self._places.get(key)
        return await self._read(*place) if place is not None else None

    async def put(self, key: bytes, value: bytes) -> None:
        offset = await self._append(key, value, len(value))
        self._places[key] = (offset + HEADER.size + len(key), len(value))

    async def delete(self, key: bytes) -> None:
        await self._append(key, b"", DELETED)
        self._places.pop(key, None)

    async def _append(self, key: bytes, value: bytes, length: int) -> int:
        """Have a record written and synced; return where it begins."""
        body = HEADER.pack(0, len(key), length)[4:] + key + value
        record = zlib.crc32(body).to_bytes(4, "little") + body
        offset = self._end
        self._end += len(record)
        self._waiting.append(record)
        async with self._writing:
            if self._durable <= offset:  # else it was in another's batch
                await self._write_waiting()
        return offset

    async def _write_waiting(self) -> None:
        """Write all records that wait, in order, and sync once.

        One batch after the other: a record must not be on the disk before those that precede it.
        """
        batch = b"".join(self._waiting)
        count = len(self._waiting)
        done = 0
        while done < len(batch):  # nearly always once
            done += await self._context.write(batch[done:], self._fd, self._durable + done)
        await self._context.fdsync(self._fd)
        # Not before: if this task is cancelled, the next one writes the same bytes again.
        del self._waiting[:count]
        self._durable += len(batch)

    async def _read(self, offset: int, length: int) -> bytes:
        data = b""
        while len(data) < length:  # nearly always once
            more = await self._context.read(length - len(data), self._fd, offset + len(data))
            if not more:
                break  # the end of the file
            data += more
        return data

    async def _recover(self) -> None:
        """Find what was acknowledged. A record that a crash cut off ends the file."""
        file_size = os.fstat(self._fd).st_size
        while True:
            header = await self._read(self._end, HEADER.size)
            if len(header) < HEADER.size:
                break
            checksum, key_length, length = HEADER.unpack(header)
            size = key_length + (length if length != DELETED else 0)
            if self._end + HEADER.size + size > file_size:
                break
            rest = await self._read(self._end + HEADER.size, size)
            if zlib.crc32(header[4:] + rest) != checksum:
                break
            key = rest[:key_length]
            if length == DELETED:
                self._places.pop(key, None)
            else:
                self._places[key] = (self._end + HEADER.size + key_length, length)
            self._end += HEADER.size + size
        os.ftruncate(self._fd, self._end)
        self._durable = self._end


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        async with await Store.open(path) as store:
            async with asyncio.TaskGroup() as group:
                for number in range(200):
                    group.create_task(store.put(b"key %d" % number, b"value %d" % number))
            await store.put(b"key 7", b"another value")
            await store.delete(b"key 8")
            print(await store.get(b"key 7"), await store.get(b"key 8"))
            print(store._context.statistics()["completed"], "operations")
        with path.open("ab") as file:
            file.write(b"half a record, as a crash leaves it")
        async with await Store.open(path) as store:
            values = await asyncio.gather(*(store.get(b"key %d" % n) for n in range(200)))
            assert values[6:9] == [b"value 6", b"another value", None]
            assert sum(value is not None for value in values) == 199
            print("all is there after a crash")


if __name__ == "__main__":
    asyncio.run(main())
