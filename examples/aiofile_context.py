"""aiofile's files on linux_aio: an AIOContext does what caio's context does. Needs aiofile."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any, cast

from aiofile import AIOFile  # type: ignore[import-not-found, unused-ignore]

from linux_aio import AIOContext


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "hello"
        async with AIOContext() as ctx:
            # aiofile is annotated for a context of caio's; one that can do the same will do
            context = cast(Any, ctx)
            async with AIOFile(path, "w+", context=context) as file:
                await file.write("Hello world")
                await file.fsync()
                print(await file.read(5, offset=6))
            print(ctx.statistics()["completed"], "operations")


if __name__ == "__main__":
    asyncio.run(main())
