# SPDX-License-Identifier: Apache-2.0
"""Serves the files of a folder over HTTP under Trio: python trio_static_files.py FOLDER [PORT].

Without a folder it serves its own, asks for its own first line, and ends. Needs trio.
"""

import sys
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import trio

import linux_aio

BLOCK = 256 * 1024
MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


async def send(path: Path, stream: trio.SocketStream) -> None:
    async with linux_aio.open(path, "rb") as file:
        size = (await file.stat()).st_size
        await stream.send_all(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        while block := await file.read(BLOCK):
            await stream.send_all(block)


async def answer(folder: Path, stream: trio.SocketStream) -> None:
    async with stream:
        with trio.move_on_after(60):
            request = bytearray()
            while b"\r\n\r\n" not in request:
                received = await stream.receive_some()
                if not received or len(request) > 65536:
                    return
                request += received
            path = Path(unquote(request.split(b" ")[1].decode("latin-1")).lstrip("/"))
            try:
                if ".." in path.parts:
                    raise PermissionError
                await send(folder / path, stream)
            except OSError:
                await stream.send_all(MISSING)


async def ask(port: int, path: str) -> bytes:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(f"GET /{path} HTTP/1.1\r\n\r\n".encode())
        return b"".join([part async for part in stream])


async def main(folder: Path, port: int) -> None:
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, partial(answer, folder), port, host="127.0.0.1")
        listeners: list[trio.SocketListener] = await nursery.start(serve)
        if len(sys.argv) == 1:
            port = listeners[0].socket.getsockname()[1]
            answered = await ask(port, Path(__file__).name)
            print(answered.decode().splitlines()[3])
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    served = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    trio.run(main, served, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
