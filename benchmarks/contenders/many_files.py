# SPDX-License-Identifier: Apache-2.0
"""Folders of many files: reads each as a whole, or gets its status."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar

from ..model import Storage
from .base import Whole

SMALL_FILES = 5000
TASKS = 64
ENTRIES = 20_000


class Folder(Whole):
    """A folder that is made for one turn, next to the case's file."""

    count: ClassVar[int]
    has_contents: ClassVar[bool] = False

    def prepare(self) -> None:
        super().prepare()
        self.operations = self.count
        self.folder = Path(self.path + "-folder")
        self.folder.mkdir()
        chance = random.Random(1)
        for number in range(self.count):
            size = chance.randrange(2000, 8000) if self.has_contents else 0
            (self.folder / f"name-{number}").write_bytes(chance.randbytes(size))
        os.sync()
        if self.case.storage is Storage.CACHED:
            self.run()

    def close(self) -> None:
        shutil.rmtree(self.folder)


class SmallFiles(Folder):
    count = SMALL_FILES
    has_contents = True

    def prepare(self) -> None:
        super().prepare()
        self.total = sum(entry.stat().st_size for entry in os.scandir(self.folder))

    def check(self, result: object) -> None:
        if result != self.total:
            raise RuntimeError(f"{result} bytes, not {self.total}")


class Blocking(SmallFiles):
    def run(self) -> object:
        total = 0
        for number in range(self.count):
            with open(f"{self.folder}/name-{number}", "rb") as file:
                total += len(file.read())
        return total


class ManyTasks(SmallFiles):
    """TASKS tasks, each of which reads one file after the other."""

    def run(self) -> object:
        return asyncio.run(self.main())

    async def main(self) -> int:
        read = self.reader()
        numbers = iter(range(self.count))

        async def work() -> int:
            total = 0
            for number in numbers:
                total += len(await read(f"{self.folder}/name-{number}"))
            return total

        return sum(await asyncio.gather(*(work() for _ in range(TASKS))))

    @abstractmethod
    def reader(self) -> Callable[[str], Awaitable[bytes]]: ...


class ReadBytes(ManyTasks):
    def reader(self) -> Callable[[str], Awaitable[bytes]]:
        from linux_aio import read_bytes

        return read_bytes


class Descriptors(ManyTasks):
    """Opens and closes the files by os.open and os.close."""

    count = 20_000
    engine: ClassVar[str | None] = None

    def reader(self) -> Callable[[str], Awaitable[bytes]]:
        context = self.make_context()

        async def read(path: str) -> bytes:
            fd = os.open(path, os.O_RDONLY)
            try:
                data: bytes = await context.read(8192, fd, 0)
                return data
            finally:
                os.close(fd)

        return read

    def make_context(self) -> Any:
        from linux_aio import AIOContext

        self.context: Any = AIOContext(TASKS, engine=self.engine)
        return self.context

    def close(self) -> None:
        self.context.close()
        super().close()


class ByUring(Descriptors):
    engine = "uring"


class ByCaio(Descriptors):
    def make_context(self) -> Any:
        import importlib

        module = importlib.import_module(f"caio.{self.engine}_asyncio")
        self.context = module.AsyncioContext(max_requests=TASKS)
        return self.context

    async def main(self) -> int:
        total = await super().main()
        self.context.close()  # in its loop
        return total

    def close(self) -> None:
        SmallFiles.close(self)


class ByCaioAio(ByCaio):
    engine = "linux_aio"
    modules = ("caio.linux_aio_asyncio",)


class ByCaioUring(ByCaio):
    engine = "linux_uring"
    modules = ("caio.linux_uring_asyncio",)


class Executor(ManyTasks):
    def reader(self) -> Callable[[str], Awaitable[bytes]]:
        def read(path: str) -> bytes:
            with open(path, "rb") as file:
                return file.read()

        loop = asyncio.get_running_loop()
        return lambda path: loop.run_in_executor(None, read, path)


class AioFiles(ManyTasks):
    modules = ("aiofiles",)

    def reader(self) -> Callable[[str], Awaitable[bytes]]:
        import aiofiles  # type: ignore[import-untyped]

        async def read(path: str) -> bytes:
            async with aiofiles.open(path, "rb") as file:
                data: bytes = await file.read()
                return data

        return read


class AnyIo(ManyTasks):
    modules = ("anyio",)

    def reader(self) -> Callable[[str], Awaitable[bytes]]:
        import anyio

        return lambda path: anyio.Path(path).read_bytes()


class Entries(Folder):
    count = ENTRIES

    def check(self, result: object) -> None:
        if result != self.count:
            raise RuntimeError(f"{result} entries, not {self.count}")


class OsScandir(Entries):
    def run(self) -> object:
        return sum(entry.stat().st_size == 0 for entry in os.scandir(self.folder))


class FsScandir(Entries):
    def run(self) -> object:
        from linux_aio import fs

        async def main() -> int:
            count = 0
            async for entry in fs.scandir(self.folder):
                count += entry.stat().st_size == 0
            return count

        return asyncio.run(main())


class OsStat(Entries):
    def run(self) -> object:
        names = os.listdir(self.folder)
        return sum(os.stat(f"{self.folder}/{name}").st_size == 0 for name in names)


class AwaitedStat(Entries):
    module: ClassVar[str]

    def run(self) -> object:
        import importlib

        module: Any = importlib.import_module(self.module)

        async def main() -> int:
            count = 0
            for name in await module.listdir(self.folder):
                count += (await module.stat(f"{self.folder}/{name}")).st_size == 0
            return count

        return asyncio.run(main())


class FsStat(AwaitedStat):
    module = "linux_aio.fs"


class AioFilesStat(AwaitedStat):
    module = "aiofiles.os"
