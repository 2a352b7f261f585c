# SPDX-License-Identifier: Apache-2.0
"""Serves the files of a folder over HTTP under Trio, ranges too.

Call it with FOLDER [PORT]. Without a folder it serves its own, asks for its own first line, and
ends. Needs trio.
"""

import re
import sys
from functools import partial
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote

import trio

import linux_aio

BLOCK = 256 * 1024
MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


async def send(path: Path, request: str, stream: trio.SocketStream) -> None:
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
        await stream.send_all(
            f"HTTP/1.1 {status} {status.phrase}\r\n{where if asked else ''}"
            f"Content-Length: {max(end - start, 0)}\r\n\r\n".encode()
        )
        while start < end and (block := await file.pread(min(BLOCK, end - start), start)):
            await stream.send_all(block)
            start += len(block)


async def answer(folder: Path, stream: trio.SocketStream) -> None:
    async with stream:
        with trio.move_on_after(60):
            request = bytearray()
            while b"\r\n\r\n" not in request:
                received = await stream.receive_some()
                if not received or len(request) > 65536:
                    return
                request += received
            text = request.decode("latin-1")
            try:
                path = Path(unquote(text.split(" ")[1]).lstrip("/"))
                if ".." in path.parts:
                    raise PermissionError
                await send(folder / path, text, stream)
            except (OSError, IndexError):
                await stream.send_all(MISSING)


async def ask(port: int, path: str, first: int, last: int) -> bytes:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        head = f"GET /{path} HTTP/1.1\r\nRange: bytes={first}-{last}\r\n\r\n"
        await stream.send_all(head.encode())
        return b"".join([part async for part in stream])


async def main(folder: Path, port: int) -> None:
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, partial(answer, folder), port, host="127.0.0.1")
        listeners: list[trio.SocketListener] = await nursery.start(serve)
        if len(sys.argv) == 1:
            port = listeners[0].socket.getsockname()[1]
            print((await ask(port, Path(__file__).name, 0, 37)).decode())
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    served = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    trio.run(main, served, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
