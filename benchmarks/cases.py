# SPDX-License-Identifier: Apache-2.0
"""All cases."""

from __future__ import annotations

from .model import Access, Case, Storage

FIO = ("fio-libaio", "fio-io_uring")
CAIO = ("caio-linux_aio", "caio-linux_uring", "caio-thread_aio")
PEERS = (*CAIO, "aiofile", "aiofiles", "anyio", "executor")
LOW = ("low-reuse", "low-fresh", "low-readinto")
OWN = (*LOW, "aio", "aio-readinto")

DEPTHS = (1, 8, 32, 256)
TITLES = {
    Storage.MEMORY: "file in memory",
    Storage.CACHED: "disk file, cached",
    Storage.UNCACHED: "disk file, not cached",
    Storage.DIRECT: "disk file, O_DIRECT",
}
QUICK = {"memory-1", "memory-32", "cached-32", "uncached-32", "direct-32"}


def random_reads(storage: Storage, depth: int) -> Case:
    name = f"{storage}-{depth}"
    contenders: tuple[str, ...] = (*OWN, *PEERS, *FIO)
    if storage is Storage.MEMORY:
        contenders = ("low-prepared", *contenders)
    if name == "memory-32":
        contenders = (*contenders, "idle")
    return Case(
        name,
        f"4 KiB random reads, {TITLES[storage]}, {depth} in flight",
        storage,
        depth,
        contenders,
        quick=name in QUICK,
    )


def all_cases() -> list[Case]:
    cases = [random_reads(storage, depth) for storage in Storage for depth in DEPTHS]
    cases.append(
        Case(
            "sequential",
            "1 MiB sequential reads, disk file, O_DIRECT, 16 in flight",
            Storage.DIRECT,
            16,
            ("low-readinto", "aio-readinto", "aiofiles", "anyio", "executor", *FIO),
            Access.READINTO,
            block=1 << 20,
            sequential=True,
            quick=True,
        )
    )
    for storage, depth in ((Storage.MEMORY, 32), (Storage.CACHED, 1), (Storage.CACHED, 32)):
        name = f"write-{storage}-{depth}"
        cases.append(
            Case(
                name,
                f"4 KiB random overwrites, {TITLES[storage]}, {depth} in flight",
                storage,
                depth,
                ("low-write", "aio", *PEERS, *FIO),
                Access.WRITE,
                quick=name == "write-memory-32",
            )
        )
    for depth in (1, 32):
        cases.append(
            Case(
                f"beside-{depth}",
                f"4 KiB random reads, file in memory, {depth} in flight,"
                " beside a Python thread that computes (fio: alone)",
                Storage.MEMORY,
                depth,
                ("low-prepared", *LOW, "aio", *CAIO, "executor", "fio-libaio"),
                beside=True,
                quick=depth == 32,
            )
        )
    for storage, depth in ((Storage.MEMORY, 1), (Storage.MEMORY, 32), (Storage.DIRECT, 32)):
        cases.append(
            Case(
                f"uvloop-{storage}-{depth}",
                f"4 KiB random reads, {TITLES[storage]}, {depth} in flight, on uvloop",
                storage,
                depth,
                ("aio", "aio-readinto", *PEERS, *FIO),
                uvloop=True,
            )
        )
    return cases
