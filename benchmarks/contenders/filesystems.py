# SPDX-License-Identifier: Apache-2.0
"""Ranges, small files and arrays in chunks, by the classes of fsspec and zarr, and by ours."""

from __future__ import annotations

import os
import random
import shutil
from typing import Any

from .base import Whole

RANGES = 10_000
FILES = 5000
SIZE = 4096  # of a range, and of a small file
CHUNK = 1 << 14  # numbers of four bytes
SLICES = 300


class Fsspec(Whole):
    """AioFileSystem: cat_ranges of the file, or cat of small files beside it."""

    def prepare(self) -> None:
        self.folder = self.path + ".files"
        self.fs = self.file_system()
        self.of_files = "files" in self.case.name
        if not self.of_files:
            dice = random.Random(1)
            end = os.path.getsize(self.path) - SIZE
            self.starts = [dice.randrange(end) for _ in range(RANGES)]
            self.fs.cat_file(self.path, 0, 1)  # starts fsspec's thread
            return
        os.mkdir(self.folder)
        self.paths = [f"{self.folder}/{number}" for number in range(FILES)]
        for number, path in enumerate(self.paths):
            with open(path, "wb") as file:
                file.write(number.to_bytes(4, "little") * (SIZE // 4))
        os.sync()
        self.fs.cat_file(self.paths[0])

    def file_system(self) -> Any:
        from linux_aio.fsspec import AioFileSystem

        return AioFileSystem()

    def run(self) -> object:
        if self.of_files:
            return list(self.fs.cat(self.paths).values())
        ends = [start + SIZE for start in self.starts]
        return self.fs.cat_ranges([self.path] * RANGES, self.starts, ends)

    def check(self, result: object) -> None:
        assert isinstance(result, list)
        if any(len(data) != SIZE for data in result):
            raise RuntimeError("a range or a file is not whole")

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class FsspecLocal(Fsspec):
    """LocalFileSystem, one after the other in the calling thread."""

    def file_system(self) -> Any:
        from fsspec.implementations.local import LocalFileSystem

        return LocalFileSystem()


class FsspecWrapper(Fsspec):
    """LocalFileSystem in threads, made asynchronous by fsspec."""

    def file_system(self) -> Any:
        from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
        from fsspec.implementations.local import LocalFileSystem

        return AsyncFileSystemWrapper(LocalFileSystem(), asynchronous=False)


class Zarr(Whole):
    """AioStore: an array as large as the file, of chunks of 64 KiB: read, in slices, or written."""

    modules = ("zarr", "linux_aio.zarr")

    def prepare(self) -> None:
        import numpy as np

        super().prepare()
        self.folder = self.path + ".zarr"
        shape = os.path.getsize(self.path) // 4
        self.data = np.random.default_rng(1).standard_normal(shape).astype("f4")
        self.writes = "write" in self.case.name
        if not self.writes:
            self.write()
            os.sync()

    def store(self) -> Any:
        from linux_aio.zarr import AioStore

        return AioStore(self.folder)

    def write(self) -> None:
        import zarr
        from zarr.codecs import BloscCodec

        array = zarr.create_array(
            self.store(),
            shape=self.data.shape,
            chunks=(CHUNK,),
            dtype="f4",
            compressors=BloscCodec() if "blosc" in self.case.name else None,
        )
        array[:] = self.data

    def run(self) -> object:
        import zarr

        if self.writes:
            self.write()
            return None
        array: Any = zarr.open_array(self.store(), mode="r")
        if "slices" not in self.case.name:
            return array[:]
        dice = random.Random(1)
        starts = [dice.randrange(len(self.data) - 5 * CHUNK) for _ in range(SLICES)]
        return [array[start : start + 4 * CHUNK] for start in starts]

    def check(self, result: object) -> None:
        import numpy as np
        import zarr

        if self.writes:
            result = zarr.open_array(self.store(), mode="r")[:]
        if not isinstance(result, list) and not np.array_equal(np.asarray(result), self.data):
            raise RuntimeError("the array is another")

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class ZarrLocal(Zarr):
    """zarr's LocalStore."""

    def store(self) -> Any:
        from zarr.storage import LocalStore

        return LocalStore(self.folder)
