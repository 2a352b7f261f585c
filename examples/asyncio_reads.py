"""A file written, synced and read in many places at once, all of it awaited."""

import asyncio
import tempfile

from linux_aio import AIOContext

BLOCK = 4096


async def main() -> None:
    with tempfile.TemporaryFile(buffering=0) as file:
        async with AIOContext() as ctx:
            for number in range(100):
                written = await ctx.write(bytes([number]) * BLOCK, file, number * BLOCK)
                assert written == BLOCK
            await ctx.fdsync(file)

            # One read. It is as long as what the file has there.
            data = await ctx.read(2 * BLOCK, file, 99 * BLOCK)
            assert data == bytes([99]) * BLOCK

            # As many at once as there are; beyond ctx.max_requests they queue up.
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(ctx.read(BLOCK, file, n * BLOCK)) for n in range(100)]
            assert [task.result()[0] for task in tasks] == list(range(100))

            print(ctx.statistics())


if __name__ == "__main__":
    asyncio.run(main())
