"""A file written, read and synced, with asyncio waiting for eventfds."""

import asyncio
import tempfile

from linux_aio import AIOContext, AIOOperation, EventFD


async def signalled(efd: EventFD) -> int:
    """Wait for operations that signal the eventfd to complete, and return how many did."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(efd.fileno, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(efd.fileno)
    return efd.read()


async def main() -> None:
    with (
        tempfile.TemporaryFile(buffering=0) as file,
        AIOContext() as ctx,
        EventFD() as efd1,
        EventFD() as efd2,
    ):
        # One operation at a time. Its result is there once its eventfd is signalled.
        write = AIOOperation.write(b"Hello world", file, offset=0)
        write.submit(ctx, efd1)
        await signalled(efd1)
        assert write.get_result() == 11

        # The file has no 32 bytes: the result is as long as what was read.
        read = AIOOperation.read(32, file, offset=0)
        read.submit(ctx, efd1)
        await signalled(efd1)
        print(read.get_result())
        assert read.get_result() == b"Hello world"

        # Two operations in one system call, with an eventfd each.
        op1 = AIOOperation.write(b"Hello from ", file, 0)
        op2 = AIOOperation.write(b"async world", file, 11)
        op1.prepare(efd1)
        op2.prepare(efd2)
        taken = ctx.submit(op1, op2)
        assert taken == 2
        await asyncio.gather(signalled(efd1), signalled(efd2))
        assert op1.get_result() == op2.get_result() == 11

        sync = AIOOperation.fdsync(file)
        sync.submit(ctx, efd1)
        await signalled(efd1)
        sync.get_result()  # an OSError if it failed

        file.seek(0)
        print(file.read())

        assert op1.eventfd == efd1
        assert op2.eventfd == efd2
        assert op1.context == op2.context == ctx


if __name__ == "__main__":
    asyncio.run(main())
