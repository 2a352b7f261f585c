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
    "caio-linux_aio": Entry("caio linux_aio, asyncio", "caio", "LinuxAio"),
    "caio-linux_uring": Entry("caio linux_uring, asyncio", "caio", "LinuxUring"),
    "caio-thread_aio": Entry("caio thread_aio, asyncio", "caio", "ThreadAio"),
    "aiofile": Entry("aiofile", "aiofile", "AioFile"),
    "aiofiles": Entry("aiofiles", "aiofiles", "AioFiles"),
    "anyio": Entry("anyio", "anyio", "AnyIo"),
    "executor": Entry("run_in_executor(os.pread)", "executor", "Executor"),
    "fio-libaio": Entry("fio, libaio engine", "fio", "LibAio", peer=False),
    "fio-io_uring": Entry("fio, io_uring engine", "fio", "IoUring", peer=False),
    "idle": Entry("an idle loop", "idle", "Idle", peer=False),
}


def make(name: str, case: Case, path: str) -> Contender:
    entry = ENTRIES[name]
    factory = getattr(import_module(f"{__name__}.{entry.module}"), entry.factory)
    contender: Contender = factory(case, path)
    return contender
