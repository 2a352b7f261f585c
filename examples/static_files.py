# SPDX-License-Identifier: Apache-2.0
"""Serves the files of a folder over HTTP, ranges too: python static_files.py FOLDER [PORT].

Without a folder it serves its own, asks for its own first line, and ends.
"""

import asyncio
import re
import sys
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote

import linux_aio

BLOCK = 256 * 1024


async def send(path: Path, request: str, writer: asyncio.StreamWriter) -> None:
    async with linux_aio.open(path, "rb") as file:
        size = (await file.stat()).st_size
        asked = re.search(r"\r\nrange: bytes=(\d+)-(\d*)\r\n", request, re.IGNORECASE)
        start, end = 0, size
        if asked:
            start, end = int(asked[1]), min(int(asked[2] or size) + 1, size)
        status = HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK
        if asked and start >= size:
            status, end = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, start
        where = f"Content-Range: bytes {start}-{end - 1}/{size}\r\n" if start < end else ""
        writer.write(
            f"HTTP/1.1 {status} {status.phrase}\r\n{where if asked else ''}"
            f"Content-Length: {max(end - start, 0)}\r\n\r\n".encode()
        )
        while start < end and (block := await file.pread(min(BLOCK, end - start), start)):
            writer.write(block)
            await writer.drain()
            start += len(block)


async def answer(folder: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        path = Path(unquote(request.split(" ")[1]).lstrip("/"))
        if ".." in path.parts:
            raise PermissionError
        await send(folder / path, request, writer)
    except (OSError, IndexError):
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    finally:
        writer.close()


async def ask(port: int, path: str, first: int, last: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /{path} HTTP/1.1\r\nRange: bytes={first}-{last}\r\n\r\n".encode())
    answered = await reader.read()
    writer.close()
    return answered


async def main(folder: Path, port: int) -> None:
    server = await asyncio.start_server(lambda *ends: answer(folder, *ends), "127.0.0.1", port)
    async with server:
        if len(sys.argv) > 1:
            await server.serve_forever()
        port = server.sockets[0].getsockname()[1]
        print((await ask(port, Path(__file__).name, 0, 37)).decode())


if __name__ == "__main__":
    served = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    asyncio.run(main(served, int(sys.argv[2]) if len(sys.argv) > 2 else 0))
