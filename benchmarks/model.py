# SPDX-License-Identifier: Apache-2.0
"""The cases, jobs and samples, which are passed between processes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Storage(StrEnum):
    MEMORY = "memory"  # tmpfs
    CACHED = "cached"  # on a disk, all of it in the page cache
    UNCACHED = "uncached"  # on a disk, none of it in the page cache
    DIRECT = "direct"  # on a disk, with O_DIRECT
    DROPPED = "dropped"  # on a disk, data and metadata not cached: after drop_caches, as root

    @property
    def is_uncached(self) -> bool:
        return self in (Storage.UNCACHED, Storage.DROPPED)


class Ground(StrEnum):
    """Where the file is."""

    PLAIN = "plain"  # the storage says it
    SLOW = "slow"  # a disk that is held back to 1,000 requests a second
    FRAGMENTED = "fragmented"  # ext4, each page an extent of its own
    JOURNALED = "journaled"  # ext4 with data=journal
    COMPRESSED = "compressed"  # btrfs
    OVERLAY = "overlay"  # overlayfs
    FUSE = "fuse"
    STOPPING = "stopping"  # FUSE, whose server stops and goes on


class Access(StrEnum):
    READ = "read"
    READINTO = "readinto"
    WRITE = "write"
    WHOLE = "whole"  # all of a file, or many parts of it, in one call


class Content(StrEnum):
    """The kind of file that is read."""

    BLOCKS = "blocks"  # random bytes
    NUMPY = "numpy"  # an array
    SAFETENSORS = "safetensors"  # 300 tensors


@dataclass(frozen=True)
class Case:
    """One task, the same for all contenders."""

    name: str
    title: str
    storage: Storage
    in_flight: int
    contenders: tuple[str, ...]
    access: Access = Access.READ
    block: int = 4096
    sequential: bool = False
    beside: bool = False  # while another Python thread computes
    uvloop: bool = False
    longer: float = 1.0  # how many times as long as others it is measured
    quick: bool = False  # belongs to the quick run
    content: Content = Content.BLOCKS
    size: int = 0  # of the file in MiB; 0: the default of the storage
    ground: Ground = Ground.PLAIN
    counts_waits: bool = False  # count how often the thread of the loop waits outside select()


@dataclass(frozen=True)
class Job:
    """One contender's turn at a case."""

    case: Case
    contender: str
    round: int
    path: str
    seconds: float  # of each phase: counting operations, then latencies


@dataclass
class Sample:
    """The figures of one turn. Times are in microseconds, except `seconds`."""

    operations: int = 0  # where whole files are read: MiB
    seconds: float = 0.0
    cpu: float | None = None  # processor time of all
    latency_median: float | None = None
    latency_99: float | None = None  # 99th percentile
    latency_999: float | None = None
    heartbeat_median: float | None = None
    heartbeat_999: float | None = None
    waits: float | None = None  # voluntary context switches in 1,000 operations; see counts_waits
    longest_wait: float | None = None  # the longest step of the loop's that had one
    command: str | None = None
    error: str | None = None

    @property
    def rate(self) -> float | None:
        return self.operations / self.seconds if self.operations and self.seconds else None

    @property
    def cpu_each(self) -> float | None:
        return self.cpu / self.operations if self.cpu is not None and self.operations else None


def percentile(sorted_values: list[float], fraction: float) -> float:
    return sorted_values[min(len(sorted_values) - 1, int(fraction * len(sorted_values)))]
