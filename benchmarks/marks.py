# SPDX-License-Identifier: Apache-2.0
"""The goals of linux_aio, relative to fio and caio in the same run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .summary import Row, Table, ratio

CAIO = ("caio-linux_aio", "caio-linux_uring", "caio-thread_aio")
FIO = ("fio-libaio",)
FIO_FILE = ("fio-file",)
LOADS = ("bulk-load", "bulk-load-1000")
ARRAYS = ("np-load", "np-fromfile", "np-readinto")
TENSORS = ("st-load-file", "st-load")
DESCRIPTORS = ("caio-linux_aio-descriptors", "caio-linux_uring-descriptors")
READERS = ("executor-read", "aiofiles-read", "anyio-read")
OPEN = "open-linux_aio"
OPENS = tuple(f"open-{name}" for name in ("ayafileio", "urio", "aiofile", "aiofiles", "anyio"))
URING = ("caio-linux_uring",)
OWN_URING = ("engine-uring",)
SLOW = ("slow-32", "slow-direct-32", "slow-write-32", "slow-direct-write-32")
HOSTILE = (
    *SLOW,
    "fragmented-32",
    "fragmented-direct-32",
    "journaled-direct-32",
    "compressed-direct-32",
    "stopping-32",
    "overlay-32",
    "fuse-32",
)
STATES = ("cold", "warm")
ZARR_READS = [
    f"zarr-{what}{codec}-{state}"
    for what in ("read", "slices")
    for codec in ("", "-blosc")
    for state in STATES
]


@dataclass(frozen=True)
class Mark:
    case: str
    contender: str
    # "rate": at least so many times the other's. "cpu": at most so many times the other's. "more":
    # at most so many µs of processor time more than the other's. "later": a beat (99.9 %) is at
    # most so many µs later than the other's. At most so much, whatever the other's is: "p99" (µs of
    # 99 in 100 operations), "beat" (µs), "each" (µs in which one operation is done), "waits" (in
    # 1,000 operations) and "longest" (µs of a step that waited)
    value: str
    others: Sequence[str]  # the best of them counts
    wanted: float
    slowest: bool = False  # the slowest of the others counts instead


MARKS = (
    Mark("memory-32", "low-reuse", "rate", FIO, 0.9),
    Mark("memory-32", "low-fresh", "rate", FIO, 0.8),
    Mark("memory-32", "low-readinto", "rate", FIO, 1.0),
    Mark("beside-32", "low-reuse", "rate", FIO, 0.3),
    Mark("beside-32", "low-fresh", "rate", FIO, 0.8 / 3),
    Mark("direct-32", "low-readinto", "rate", FIO, 0.95),
    Mark("direct-32", "low-readinto", "cpu", FIO, 2.0),
    Mark("sequential", "low-readinto", "rate", FIO, 0.95),
    Mark("direct-32", "aio", "rate", FIO, 0.95),
    Mark("direct-32", "aio", "cpu", FIO, 2.0),
    Mark("beside-32", "aio", "rate", CAIO, 1.0),
    Mark("uncached-32", "aio", "rate", ("fio-io_uring",), 0.85),
    Mark("uncached-32", "aio", "rate", URING, 1.0),
    Mark("uncached-32", "aio", "cpu", URING, 1.0),
    Mark("uncached-32", "engine-threads", "rate", ("executor",), 2.0),
    Mark("memory-1", "aio", "cpu", CAIO, 0.16),
    Mark("memory-32", "aio", "cpu", CAIO, 0.3),
    Mark("cached-64", "aio", "rate", CAIO, 2.0),
    Mark("cached-64", "aio", "p99", CAIO, 1000.0),
    *(Mark(f"dropped-{depth}", "aio", "rate", URING, 1.0) for depth in (1, 8, 32, 256)),
    *(Mark(f"dropped-{depth}", "aio", "cpu", URING, 0.7) for depth in (1, 8, 32, 256)),
    Mark("sequential", "aio-readinto", "rate", FIO, 0.97),
    Mark("descriptors-cold", "aio-descriptors", "rate", DESCRIPTORS, 0.85),
    Mark("descriptors-cold", "aio-descriptors", "rate", ("uring-descriptors",), 1.0),
    Mark("write-cached-32", "aio", "rate", CAIO, 1.0),
    Mark("cached-32", "engine-uring", "cpu", URING, 0.5),
    *(Mark("bulk-load-cold", name, "rate", FIO_FILE, 0.95) for name in LOADS),
    *(Mark("bulk-load-cold", name, "cpu", FIO_FILE, 2.0) for name in LOADS),
    *(Mark("bulk-load-warm", name, "rate", ("preadv",), 1.0) for name in LOADS),
    Mark("bulk-numpy-cold", "bulk-numpy", "rate", ARRAYS, 0.9),
    Mark("bulk-numpy-warm", "bulk-numpy", "rate", ARRAYS, 1.0),
    Mark("bulk-safetensors-cold", "bulk-safetensors", "rate", TENSORS, 0.9),
    Mark("bulk-safetensors-warm", "bulk-safetensors", "rate", TENSORS, 1.0),
    Mark("bulk-copy-cold", "bulk-copy", "rate", ("cp", "copyfile"), 1.0),
    Mark("bulk-copy-warm", "bulk-copy", "rate", ("cp", "copyfile"), 1.0),
    Mark(
        "bulk-checksum-cold", "bulk-checksum", "rate", ("hash-only", "fio-file"), 0.95, slowest=True
    ),
    Mark("bulk-ranges-cold", "bulk-read-many", "rate", ("bulk-single-reads",), 2.0),
    Mark("whole-small-cold", "fs-read-bytes", "rate", ("os-read",), 2.0),
    Mark("whole-small-cold", "fs-read-bytes", "rate", READERS, 1.5),
    Mark("whole-small-warm", "fs-read-bytes", "rate", ("os-read",), 1.0),
    Mark("fs-scandir", "fs-scandir", "rate", ("os-scandir",), 1 / 1.5),
    Mark("fs-stat", "fs-stat", "rate", ("os-stat",), 1 / 1.5),
    Mark("fs-stat", "fs-stat", "rate", ("aiofiles-stat",), 5.0),
    Mark("trio-memory-1", "trio-aio", "more", ("aio",), 1.5),
    Mark("trio-memory-1", "trio-aio", "cpu", ("trio-thread",), 0.05),
    Mark("trio-uncached-32", "trio-aio", "rate", ("aio",), 0.9),
    Mark("trio-lines", "trio-lines", "rate", ("lines",), 0.5),
    *(
        Mark(f"fsspec-{what}-{state}", "fsspec-aio", "rate", (f"fsspec-{other}",), wanted)
        for what in ("ranges", "files")
        for state in STATES
        for other, wanted in (("wrapper", 3.0), ("local", 1.0))
    ),
    *(Mark(case, "zarr-aio", "rate", ("zarr-local",), 1.0) for case in ZARR_READS),
    *(Mark(case, "zarr-aio", "cpu", ("zarr-local",), 1.0) for case in ZARR_READS),
    Mark("zarr-write-warm", "zarr-aio", "rate", ("zarr-local",), 1.0),
    Mark("zarr-write-blosc-warm", "zarr-aio", "rate", ("zarr-local",), 1.0),
    *(
        Mark(f"files-{case}", OPEN, "rate", ("open",), 1 / times)
        for case, times in (("lines", 2.5), ("text-lines", 2.5), ("cached", 1.7), ("write", 1.3))
    ),
    *(Mark(f"files-{case}", OPEN, "rate", OPENS, 3.0) for case in ("lines", "text-lines")),
    *(
        Mark(f"files-{case}", OPEN, "rate", OPENS, 1.0)
        for case in ("small", "small-cold", "cached", "write")
    ),
    *(Mark(case, "aio", "waits", OWN_URING, 1.0) for case in HOSTILE),
    *(Mark(case, "aio", "longest", OWN_URING, 1000.0) for case in HOSTILE),
    *(
        Mark(case, name, value, OWN_URING, wanted)
        for case in SLOW
        for name in ("aio", "aio-cancelling", "aio-closing")
        for value, wanted in (("later", 1000.0), ("beat", 4000.0))
    ),
    *(Mark(f"{case}-1", "aio", "each", CAIO, 36.5) for case in ("overlay", "fuse")),
    *(
        Mark(f"{case}-{n}", "aio", "rate", CAIO, 1.0)
        for case in ("overlay", "fuse")
        for n in (1, 32)
    ),
    *(
        Mark(case, "aio", "cpu", ("engine-aio",), 1.15)
        for case in ("memory-1", "memory-32", "direct-32")
    ),
)


@dataclass(frozen=True)
class Verdict:
    mark: Mark
    own: Row
    other: Row
    measured: float

    @property
    def reached(self) -> bool:
        if self.mark.value == "rate":
            return self.measured >= self.mark.wanted
        return self.measured <= self.mark.wanted


ALONE = ("p99", "beat", "each", "waits", "longest")  # not compared with others
DIFFERENCES = ("more", "later")


def value(row: Row, name: str) -> float | None:
    match name:
        case "rate":
            return row.rate
        case "p99":
            return row.latency_99
        case "beat" | "later":
            return row.heartbeat_999
        case "each":
            return 1e6 / row.rate if row.rate else None
        case "waits":
            return row.waits
        case "longest":
            return row.longest_wait
        case _:
            return row.cpu


def compare(mark: Mark, own: Row, other: Row) -> float | None:
    value_of_own, value_of_other = value(own, mark.value), value(other, mark.value)
    if mark.value in ALONE:
        return value_of_own
    if mark.value not in DIFFERENCES:
        return ratio(value_of_own, value_of_other)
    if value_of_own is None or value_of_other is None:
        return None
    return value_of_own - value_of_other


def verdicts(tables: list[Table]) -> list[Verdict]:
    by_name = {table.case.name: table for table in tables}
    result = []
    for mark in MARKS:
        table = by_name.get(mark.case)
        own = table and table.row(mark.contender)
        if not table or not own:
            continue
        rows = [
            row
            for name in mark.others
            if (row := table.row(name)) and (value(row, mark.value) or mark.value in ALONE)
        ]
        if not rows:
            continue
        best = max if (mark.value == "rate") != mark.slowest else min
        other = best(rows, key=lambda row: value(row, mark.value) or 0.0)
        measured = compare(mark, own, other)
        if measured is not None:
            result.append(Verdict(mark, own, other, measured))
    return result
