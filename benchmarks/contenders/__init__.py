# SPDX-License-Identifier: Apache-2.0
"""Who is measured. Modules are imported only for a contender's turn: a library may be missing."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from ..model import Case
from .base import Contender


@dataclass(frozen=True)
class Entry:
    label: str
    module: str
    factory: str
    own: bool = False
    peer: bool = True


def _own(label: str, module: str, factory: str) -> Entry:
    return Entry(label, module, factory, own=True, peer=False)


ENTRIES = {
    "low-reuse": _own("linux_aio: reads again", "low_level", "Reuse"),
    "low-fresh": _own("linux_aio: a new read for each", "low_level", "Fresh"),
    "low-readinto": _own("linux_aio: readinto again", "low_level", "ReadInto"),
    "low-write": _own("linux_aio: writes again", "low_level", "Write"),
    "aio": _own("linux_aio, asyncio", "linux_aio", "LinuxAio"),
    "aio-readinto": _own("linux_aio, asyncio, readinto", "linux_aio", "LinuxAioReadInto"),
    "engine-aio": _own("linux_aio, asyncio, engine aio", "linux_aio", "KernelAio"),
    "engine-uring": _own("linux_aio, asyncio, engine uring", "linux_aio", "Uring"),
    "engine-threads": _own("linux_aio, asyncio, engine threads", "linux_aio", "Threads"),
    "aio-cancelling": _own("linux_aio, and a cancellation a ms", "linux_aio", "Cancelling"),
    "aio-closing": _own("linux_aio, and a context closed a ms", "linux_aio", "Closing"),
    "bulk-load": _own("linux_aio: load_into", "bulk", "Load"),
    "bulk-load-1000": _own("linux_aio: load_into, 1,000 segments", "bulk", "LoadThousand"),
    "bulk-numpy": _own("linux_aio.numpy.load", "bulk", "Numpy"),
    "bulk-safetensors": _own("linux_aio.safetensors.load_file", "bulk", "Safetensors"),
    "bulk-copy": _own("linux_aio: copy", "bulk", "Copy"),
    "bulk-checksum": _own("linux_aio: checksum", "bulk", "Checksum"),
    "bulk-read-many": _own("linux_aio: read_many", "bulk", "Many"),
    "bulk-single-reads": _own("linux_aio: single reads", "bulk", "Single"),
    "fs-read-bytes": _own("linux_aio.read_bytes, 64 tasks", "many_files", "ReadBytes"),
    "aio-descriptors": _own("linux_aio, 64 tasks", "many_files", "Descriptors"),
    "uring-descriptors": _own("linux_aio, engine uring, 64 tasks", "many_files", "ByUring"),
    "caio-linux_aio-descriptors": Entry("caio linux_aio, 64 tasks", "many_files", "ByCaioAio"),
    "caio-linux_uring-descriptors": Entry(
        "caio linux_uring, 64 tasks", "many_files", "ByCaioUring"
    ),
    "fs-scandir": _own("linux_aio.fs.scandir", "many_files", "FsScandir"),
    "fs-stat": _own("linux_aio.fs.listdir and stat", "many_files", "FsStat"),
    "os-read": Entry("open(…).read", "many_files", "Blocking", peer=False),
    "os-scandir": Entry("os.scandir", "many_files", "OsScandir", peer=False),
    "os-stat": Entry("os.listdir and os.stat", "many_files", "OsStat", peer=False),
    "executor-read": Entry("run_in_executor(open, read), 64 tasks", "many_files", "Executor"),
    "aiofiles-read": Entry("aiofiles, 64 tasks", "many_files", "AioFiles"),
    "aiofiles-stat": Entry("aiofiles.os.listdir and stat", "many_files", "AioFilesStat"),
    "anyio-read": Entry("anyio.Path.read_bytes, 64 tasks", "many_files", "AnyIo"),
    "preadv": Entry("os.preadv, one thread", "bulk", "Preadv"),
    "readinto": Entry("open(…).readinto", "whole_files", "ReadInto"),
    "np-load": Entry("numpy.load", "whole_files", "NumpyLoad"),
    "np-fromfile": Entry("numpy.fromfile", "whole_files", "NumpyFromFile"),
    "np-readinto": Entry("readinto of an array", "whole_files", "NumpyReadInto"),
    "st-load-file": Entry("safetensors.numpy.load_file", "whole_files", "SafetensorsLoadFile"),
    "st-load": Entry("safetensors.numpy.load", "whole_files", "SafetensorsLoad"),
    "cp": Entry("cp, and fsync", "whole_files", "Cp"),
    "copyfile": Entry("shutil.copyfile, and fsync", "whole_files", "CopyFile"),
    "file-digest": Entry("hashlib.file_digest", "whole_files", "FileDigest"),
    "hash-only": Entry("hashing memory", "whole_files", "HashOnly", peer=False),
    "fio-file": Entry("fio, 1 MiB direct reads", "fio", "FioFile", peer=False),
    "caio-linux_aio": Entry("caio linux_aio, asyncio", "caio", "LinuxAio"),
    "caio-linux_uring": Entry("caio linux_uring, asyncio", "caio", "LinuxUring"),
    "caio-thread_aio": Entry("caio thread_aio, asyncio", "caio", "ThreadAio"),
    "aiofile": Entry("aiofile", "aiofile", "AioFile"),
    "aiofiles": Entry("aiofiles", "aiofiles", "AioFiles"),
    "anyio": Entry("anyio", "anyio", "AnyIo"),
    "executor": Entry("run_in_executor(os.pread)", "executor", "Executor"),
    "blocking": Entry("os.pread in the loop", "executor", "Blocking", peer=False),
    "trio-aio": _own("linux_aio, Trio", "trio", "TrioLinuxAio"),
    "trio-thread": Entry("trio.to_thread.run_sync(os.pread)", "trio", "TrioThread"),
    "trio-file": Entry("trio.open_file", "trio", "TrioFile"),
    "lines": _own("linux_aio, asyncio, lines", "trio", "Lines"),
    "trio-lines": _own("linux_aio, Trio, lines", "trio", "TrioLines"),
    "trio-file-lines": Entry("trio.open_file, lines", "trio", "TrioFileLines"),
    "open": Entry("open(), blocking", "open_files", "Blocking", peer=False),
    "open-job": Entry("open() in one executor job", "open_files", "OneJob", peer=False),
    "open-linux_aio": _own("linux_aio.open", "open_files", "LinuxAio"),
    "open-ayafileio": Entry("ayafileio", "open_files", "AyaFileIo"),
    "open-urio": Entry("urio", "open_files", "Urio"),
    "open-aiofile": Entry("aiofile", "open_files", "AioFile"),
    "open-aiofiles": Entry("aiofiles", "open_files", "AioFiles"),
    "open-anyio": Entry("anyio", "open_files", "AnyIo"),
    "fio-libaio": Entry("fio, libaio engine", "fio", "LibAio", peer=False),
    "fio-io_uring": Entry("fio, io_uring engine", "fio", "IoUring", peer=False),
    "fsspec-aio": _own("linux_aio.fsspec: AioFileSystem", "filesystems", "Fsspec"),
    "fsspec-local": Entry("fsspec: LocalFileSystem", "filesystems", "FsspecLocal"),
    "fsspec-wrapper": Entry("fsspec: AsyncFileSystemWrapper", "filesystems", "FsspecWrapper"),
    "zarr-aio": _own("linux_aio.zarr: AioStore", "filesystems", "Zarr"),
    "zarr-local": Entry("zarr: LocalStore", "filesystems", "ZarrLocal"),
    "idle": Entry("an idle loop", "idle", "Idle", peer=False),
}


def make(name: str, case: Case, path: str) -> Contender:
    entry = ENTRIES[name]
    factory = getattr(import_module(f"{__name__}.{entry.module}"), entry.factory)
    contender: Contender = factory(case, path)
    return contender
