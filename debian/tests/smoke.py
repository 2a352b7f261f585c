"""What somebody who has just installed the package might do first."""

import asyncio
import importlib.metadata
import sys
import tempfile

import linux_aio
from linux_aio import AIOContext, AIOOperation, EventFD

SKIPPED = 77
BLOCK = 4096
OLDEST_FSSPEC = (2024, 6)  # as pyproject.toml says


async def awaited(file):
    """Blocks written and read back, many at once."""
    async with AIOContext(8) as ctx:
        blocks = [bytes([number]) * BLOCK for number in range(32)]
        writes = (ctx.write(block, file, n * BLOCK) for n, block in enumerate(blocks))
        assert await asyncio.gather(*writes) == [BLOCK] * len(blocks)
        await ctx.fdsync(file)
        reads = (ctx.read(BLOCK, file, n * BLOCK) for n in range(len(blocks)))
        assert await asyncio.gather(*reads) == blocks
        assert await ctx.read(BLOCK, file, len(blocks) * BLOCK) == b""


def awaited_in_trio(path):
    """Blocks and lines, with a time-out, where Trio is installed."""
    try:
        import trio
    except ImportError:
        print("without Trio")
        return

    async def main():
        with trio.fail_after(60):
            with open(path, "rb", buffering=0) as file:  # noqa: ASYNC230
                async with AIOContext(8) as ctx:
                    assert await ctx.read(BLOCK, file, BLOCK) == b"\1" * BLOCK
            async with linux_aio.open(path, "rb") as file:
                assert await file.read(1) == b"\0"

    trio.run(main)
    print(f"Trio {trio.__version__}")


def through_fsspec(path):
    """A file by its URL, where fsspec is new enough: the package says that it has the protocol."""
    try:
        import fsspec
    except ImportError:
        print("without fsspec")
        return
    if tuple(map(int, fsspec.__version__.split(".")[:2])) < OLDEST_FSSPEC:
        print(f"fsspec {fsspec.__version__} is too old")
        return
    with fsspec.open(f"aio://{path}.copy", "wb") as copy:
        copy.write(b"Hello world")
    fs, stripped = fsspec.core.url_to_fs(f"aio://{path}.copy")
    assert fs.cat_ranges([stripped] * 20, 0, 5) == [b"Hello"] * 20
    fs.rm(stripped)
    print(f"fsspec {fsspec.__version__}")


def waited_for(file):
    """The same without asyncio."""
    with AIOContext(8) as ctx, EventFD() as efd:
        write = AIOOperation.write(b"Hello world", file)
        write.submit(ctx, efd)
        assert efd.read() == 1
        assert write.get_result() == 11
        read = AIOOperation.read(11, file)
        ctx.submit(read)
        assert ctx.getevents(timeout=60) == [read]
        assert read.get_result() == b"Hello world"


def main():
    info = linux_aio.build_info()
    print(sys.version.split()[0], linux_aio.__file__, info)
    assert "dist-packages" in linux_aio.__file__
    assert info["version"] == linux_aio.__version__
    assert info["version"] == importlib.metadata.version("linux-aio-python")
    assert info["libaio"].startswith("system")
    assert info["uring"].startswith("liburing")
    try:
        AIOContext(1).close()
    except OSError as error:
        print(f"no kernel AIO here: {error}")
        return SKIPPED
    with tempfile.NamedTemporaryFile(buffering=0) as file:
        asyncio.run(awaited(file))
        awaited_in_trio(file.name)
        through_fsspec(file.name)
        waited_for(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
