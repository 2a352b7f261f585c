# SPDX-License-Identifier: Apache-2.0
"""open() of each library, for lines, small files and large ones.

The case's name says what is done. All libraries run the same program, as far as their files have
the same methods.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from .base import Whole

LINES = 200_000
SMALL_FILES = 5_000
TASKS = 64
LARGE = 1 << 20
BLOCK = 64 << 10


class Blocking(Whole):
    """The built-in open()."""

    def prepare(self) -> None:
        dice = random.Random(1)
        if "lines" in self.case.name:
            self.operations = LINES
            self.path += ".lines"
            if not os.path.exists(self.path):
                lines = ("x" * dice.randrange(60, 140) for _ in range(LINES))
                Path(self.path).write_text("\n".join(lines) + "\n")
        elif "small" in self.case.name:
            self.operations = SMALL_FILES
            folder = Path(self.path + ".small")
            self.small = [str(folder / f"{number}") for number in range(SMALL_FILES)]
            if not folder.exists():
                folder.mkdir()
                for path in self.small:
                    Path(path).write_bytes(dice.randbytes(dice.randrange(1000, 8000)))
            dice.seed(os.getpid())
            dice.shuffle(self.small)
        elif "write" in self.case.name:
            self.block = dice.randbytes(BLOCK)
            self.blocks = os.path.getsize(self.path) // BLOCK
        os.sync()
        if "cold" not in self.case.name and "write" not in self.case.name:
            self.run_blocking()  # so that the files are in the page cache

    def run(self) -> object:
        return self.run_blocking()

    def check(self, result: object) -> None:
        size = os.path.getsize(self.path)
        if "lines" in self.case.name:
            size = LINES
        elif "small" in self.case.name:
            size = sum(map(os.path.getsize, self.small))
        elif "write" in self.case.name:
            os.unlink(self.path + ".new")
        if result != size:
            raise RuntimeError(f"{result} in place of {size}")

    # --- what is done

    def run_blocking(self) -> int:
        count = 0
        if "lines" in self.case.name:
            mode = "r" if "text" in self.case.name else "rb"
            with open(self.path, mode) as file:
                for _ in file:
                    count += 1
        elif "small" in self.case.name:
            for path in self.small:
                with open(path, "rb") as file:
                    count += len(file.read())
        elif "write" in self.case.name:
            with open(self.path + ".new", "wb") as file:
                for _ in range(self.blocks):
                    count += file.write(self.block)
                file.flush()
                os.fsync(file.fileno())
        else:
            size = LARGE if "cold" in self.case.name else BLOCK
            with open(self.path, "rb") as file:
                while data := file.read(size):
                    count += len(data)
        return count


class OneJob(Blocking):
    """The whole program in one job of an executor."""

    def run(self) -> object:
        async def main() -> int:
            return await asyncio.get_running_loop().run_in_executor(None, self.run_blocking)

        return asyncio.run(main())


class Awaited(Blocking):
    """A library whose files are awaited."""

    module = "linux_aio"
    function = "open"

    def prepare(self) -> None:
        super().prepare()
        self.open: Any = getattr(import_module(self.module), self.function)

    def run(self) -> object:
        return asyncio.run(self.run_awaited())

    async def run_awaited(self) -> int:
        count = 0
        if "lines" in self.case.name:
            async with self.open(self.path, "r" if "text" in self.case.name else "rb") as file:
                async for _ in file:
                    count += 1
        elif "small" in self.case.name:
            paths = iter(self.small)
            counts = await asyncio.gather(*(self.read_small(paths) for _ in range(TASKS)))
            count = sum(counts)
        elif "write" in self.case.name:
            async with self.open(self.path + ".new", "wb") as file:
                for _ in range(self.blocks):
                    await file.write(self.block)
                    count += BLOCK
                await file.flush()
                await self.sync(file)
        else:
            size = LARGE if "cold" in self.case.name else BLOCK
            async with self.open(self.path, "rb") as file:
                while data := await file.read(size):
                    count += len(data)
        return count

    async def read_small(self, paths: Iterator[str]) -> int:
        count = 0
        for path in paths:
            async with self.open(path, "rb") as file:
                count += len(await file.read())
        return count

    async def sync(self, file: Any) -> None:
        """Call fsync in a thread, for libraries that don't have it."""
        await asyncio.get_running_loop().run_in_executor(None, os.fsync, file.fileno())


class LinuxAio(Awaited):
    async def sync(self, file: Any) -> None:
        await file.fsync()


class AyaFileIo(Awaited):
    module = "ayafileio"


class Urio(Awaited):
    module = "urio"


class AioFiles(Awaited):
    module = "aiofiles"


class AioFile(Awaited):
    module = "aiofile"
    function = "async_open"

    async def sync(self, file: Any) -> None:
        await file.file.fsync()


class AnyIo(Awaited):
    """anyio.open_file(), which is awaited before it is entered."""

    module = "anyio"
    function = "open_file"

    def prepare(self) -> None:
        super().prepare()
        self.open = Entered(self.open)


class Entered:
    def __init__(self, function: Any) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return EnteredFile(self._function(*arguments))


class EnteredFile:
    def __init__(self, opening: Any) -> None:
        self._opening = opening

    async def __aenter__(self) -> Any:
        self._file = await self._opening
        return self._file

    async def __aexit__(self, *_: object) -> None:
        await self._file.aclose()
