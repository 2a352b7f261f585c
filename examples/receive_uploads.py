# SPDX-License-Identifier: Apache-2.0
"""Receives files over HTTP: python receive_uploads.py FOLDER [PORT], then
curl -T FILE http://127.0.0.1:PORT/

A file gets its name when all of it is on the disk. What was sent in part is removed. Without a
folder it sends itself two files, one of them in part, and ends.
"""

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote

from linux_aio import AIOContext, fs

BLOCK = 256 * 1024
LARGEST = 10 << 30


async def body(reader: asyncio.StreamReader, size: int) -> AsyncIterator[bytes]:
    while size:
        block = await reader.read(min(BLOCK, size))
        if not block:
            raise ConnectionError("the client has gone")
        yield block
        size -= len(block)


class Uploads:
    """Stores uploads in one folder."""

    def __init__(self, folder: Path, context: AIOContext) -> None:
        self.folder = folder
        self.context = context
        self.folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)

    def close(self) -> None:
        os.close(self.folder_fd)

    async def store(self, name: str, blocks: AsyncIterator[bytes]) -> None:
        # In the same folder: a rename works inside one file system only. `async with` removes the
        # file in any case but one: it has got its name.
        async with fs.NamedTemporaryFile(
            dir=self.folder, prefix=".upload-", delete_on_close=False
        ) as file:
            async for block in blocks:
                await file.write(block)
            await file.fsync()
            await fs.replace(file.name, self.folder / name)
        # The name is on the disk once the folder is.
        await self.context.fsync(self.folder_fd)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        status = "400 Bad Request"
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            name = Path(unquote(head.split(" ")[1])).name
            size = re.search(r"\r\ncontent-length: (\d+)\r\n", head, re.IGNORECASE)
            is_taken = head.startswith("PUT ") and name and not name.startswith(".")
            if is_taken and size and int(size[1]) <= LARGEST:
                if re.search(r"\r\nexpect: 100-continue\r\n", head, re.IGNORECASE):
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await self.store(name, body(reader, int(size[1])))
                status = "201 Created"
        except (ConnectionError, asyncio.IncompleteReadError):
            status = ""  # nobody is left to be answered
        except ValueError:  # the name has a NUL
            pass
        except OSError as error:
            status = f"500 {error.strerror}"
        finally:
            if status:
                writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
            writer.close()


async def send(port: int, name: str, data: bytes, size: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"PUT /{name} HTTP/1.1\r\nContent-Length: {size}\r\n\r\n".encode() + data)
    writer.write_eof()
    status = await reader.readline()
    writer.close()
    return status


async def main(folder: Path, port: int, *, is_trial: bool) -> None:
    async with AIOContext() as context:
        uploads = Uploads(folder, context)
        try:
            async with await asyncio.start_server(uploads.answer, "127.0.0.1", port) as server:
                if not is_trial:
                    await server.serve_forever()
                port = server.sockets[0].getsockname()[1]
                print(await send(port, "whole.bin", bytes(1 << 20), 1 << 20))
                print(await send(port, "part.bin", bytes(1000), 1 << 20))
                print(await fs.listdir(folder))
        finally:
            uploads.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        where = Path(sys.argv[1])
        asyncio.run(main(where, int(sys.argv[2]) if len(sys.argv) > 2 else 0, is_trial=False))
    else:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(main(Path(folder), 0, is_trial=True))
