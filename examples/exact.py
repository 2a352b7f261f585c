"""Read or write exactly as many bytes as asked for, though the kernel may do fewer at a time."""

import asyncio
import tempfile
from typing import BinaryIO

from linux_aio import AIOContext


async def read_exactly(ctx: AIOContext, nbytes: int, file: BinaryIO, offset: int) -> bytes:
    """Read nbytes bytes; EOFError if the file ends before."""
    data = await ctx.read(nbytes, file, offset)
    if len(data) == nbytes:
        return data  # nearly always
    parts = [data]
    done = len(data)
    while done < nbytes:
        if not data:
            raise EOFError(f"the file ends at byte {offset + done}")
        data = await ctx.read(nbytes - done, file, offset + done)
        parts.append(data)
        done += len(data)
    return b"".join(parts)


async def fill(ctx: AIOContext, buffer: bytearray, file: BinaryIO, offset: int) -> None:
    """Read until the buffer is full; EOFError if the file ends before."""
    with memoryview(buffer) as view:
        done = 0
        while done < len(view):
            count = await ctx.readinto(view[done:], file, offset + done)
            if count == 0:
                raise EOFError(f"the file ends at byte {offset + done}")
            done += count


async def write_all(ctx: AIOContext, payload: bytes, file: BinaryIO, offset: int) -> None:
    """Write all of payload. On a full disk, a write that gets nothing done raises OSError."""
    view = memoryview(payload)  # slices of it are no copies
    done = 0
    while done < len(view):
        count = await ctx.write(view[done:], file, offset + done)
        if count == 0:
            raise OSError(f"nothing was written at byte {offset + done}")
        done += count


async def main() -> None:
    with tempfile.TemporaryFile(buffering=0) as file:
        async with AIOContext() as ctx:
            await write_all(ctx, b"Hello world", file, 0)
            print(await read_exactly(ctx, 5, file, 6))
            buffer = bytearray(5)
            await fill(ctx, buffer, file, 0)
            print(buffer)
            try:
                await read_exactly(ctx, 32, file, 0)
            except EOFError as error:
                print(error)


if __name__ == "__main__":
    asyncio.run(main())
