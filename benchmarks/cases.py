# SPDX-License-Identifier: Apache-2.0
"""All cases."""

from __future__ import annotations

from .model import Access, Case, Content, Ground, Storage

FIO = ("fio-libaio", "fio-io_uring")
CAIO = ("caio-linux_aio", "caio-linux_uring", "caio-thread_aio")
PEERS = (*CAIO, "aiofile", "aiofiles", "anyio", "executor")
LOW = ("low-reuse", "low-fresh", "low-readinto")
ENGINES = ("engine-aio", "engine-uring", "engine-threads")
OWN = (*LOW, "aio", "aio-readinto", *ENGINES)

DEPTHS = (1, 8, 32, 256)
TITLES = {
    Storage.MEMORY: "file in memory",
    Storage.CACHED: "disk file, cached",
    Storage.UNCACHED: "disk file, not cached",
    Storage.DIRECT: "disk file, O_DIRECT",
    Storage.DROPPED: "disk file, after drop_caches",
}
QUICK = {
    "memory-1",
    "memory-32",
    "cached-32",
    "uncached-32",
    "direct-32",
    "beside-32",
}


def random_reads(storage: Storage, depth: int) -> Case:
    name = f"{storage}-{depth}"
    contenders: tuple[str, ...] = (*OWN, *PEERS, *FIO)
    if storage is Storage.DROPPED:
        contenders = (*LOW, "aio", "engine-uring", *CAIO, *FIO)
    if name in ("memory-32", "uncached-32"):
        contenders = (*contenders, "blocking", "idle")
    return Case(
        name,
        f"4 KiB random reads, {TITLES[storage]}, {depth} in flight",
        storage,
        depth,
        contenders,
        longer=1.0 if storage in (Storage.MEMORY, Storage.CACHED) else 2.0,
        quick=name in QUICK,
    )


SEQUENTIAL = Case(
    "sequential",
    "1 MiB sequential reads, disk file, O_DIRECT, 16 in flight",
    Storage.DIRECT,
    16,
    ("low-readinto", "aio-readinto", "aiofiles", "anyio", "executor", *FIO),
    Access.READINTO,
    block=1 << 20,
    sequential=True,
    longer=3.0,
    quick=True,
)


def random_writes(storage: Storage, depth: int) -> Case:
    return Case(
        f"write-{storage}-{depth}",
        f"4 KiB random overwrites, {TITLES[storage]}, {depth} in flight",
        storage,
        depth,
        ("low-write", "aio", *ENGINES, *PEERS, *FIO),
        Access.WRITE,
    )


def beside(depth: int) -> Case:
    name = f"beside-{depth}"
    return Case(
        name,
        f"4 KiB random reads, file in memory, {depth} in flight,"
        " beside a Python thread that computes (fio: alone)",
        Storage.MEMORY,
        depth,
        (*LOW, "aio", *CAIO, "executor", "fio-libaio"),
        beside=True,
        quick=name in QUICK,
    )


def on_uvloop(storage: Storage, depth: int) -> Case:
    return Case(
        f"uvloop-{storage}-{depth}",
        f"4 KiB random reads, {TITLES[storage]}, {depth} in flight, on uvloop",
        storage,
        depth,
        ("aio", "aio-readinto", *PEERS, *FIO),
        uvloop=True,
    )


def on_trio(storage: Storage, depth: int) -> Case:
    return Case(
        f"trio-{storage}-{depth}",
        f"4 KiB random reads, {TITLES[storage]}, {depth} in flight, on Trio",
        storage,
        depth,
        ("aio", "trio-aio", "trio-thread", "trio-file"),
        longer=1.0 if storage is Storage.MEMORY else 2.0,
    )


TRIO_LINES = Case(
    "trio-lines",
    "lines of a cached file, one after the other, on Trio",
    Storage.CACHED,
    1,
    ("lines", "trio-lines", "trio-file-lines"),
)

STATES = {Storage.DROPPED: "cold", Storage.CACHED: "warm"}


def whole(
    name: str,
    title: str,
    contenders: tuple[str, ...],
    storage: Storage = Storage.DROPPED,
    content: Content = Content.BLOCKS,
    gib: int = 2,
) -> Case:
    state = STATES[storage]
    return Case(
        f"bulk-{name}-{state}",
        f"{title}, {gib} GiB, {state}",
        storage,
        16,
        contenders,
        Access.WHOLE,
        block=1 << 20,
        sequential=True,
        content=content,
        size=gib << 10,
    )


def whole_files() -> list[Case]:
    array = ("bulk-numpy", "np-load", "np-fromfile", "np-readinto")
    tensors = ("bulk-safetensors", "st-load-file", "st-load")
    copies = ("bulk-copy", "cp", "copyfile")
    hashes = ("bulk-checksum", "file-digest", "hash-only", "fio-file")
    loads = ("bulk-load", "bulk-load-1000", "readinto")
    cold, warm = STATES
    return [
        whole("load", "reads of a file into memory", (*loads, "fio-file"), cold),
        whole("load", "reads of a file into memory", (*loads, "preadv"), warm),
        *(whole("numpy", "an array", array, state, Content.NUMPY, 1) for state in STATES),
        *(
            whole("safetensors", "300 tensors", tensors, state, Content.SAFETENSORS, 1)
            for state in STATES
        ),
        *(whole("copy", "a durable copy", copies, state) for state in STATES),
        whole("checksum", "SHA-256", hashes),
        whole("ranges", "10,000 ranges of 4 KiB", ("bulk-read-many", "bulk-single-reads")),
    ]


def small_cold_files() -> Case:
    """Small files by descriptors, as for engines without operations on paths. Counts files."""
    return folder(
        "descriptors-cold",
        "20,000 small files, each by os.open, a read and os.close",
        Storage.DROPPED,
        (
            "aio-descriptors",
            "uring-descriptors",
            "caio-linux_aio-descriptors",
            "caio-linux_uring-descriptors",
        ),
    )


def folder(name: str, title: str, storage: Storage, contenders: tuple[str, ...]) -> Case:
    return Case(name, f"{title}, {STATES[storage]}", storage, 64, contenders, Access.WHOLE, size=1)


def folders() -> list[Case]:
    """Cases of folders. The operations that are counted are files or entries."""
    readers = ("fs-read-bytes", "os-read", "executor-read", "aiofiles-read", "anyio-read")
    small = "5,000 small files, each opened, read and closed"
    return [
        *(folder(f"whole-small-{STATES[state]}", small, state, readers) for state in STATES),
        folder(
            "fs-scandir",
            "20,000 entries of a folder with their status",
            Storage.CACHED,
            ("fs-scandir", "os-scandir"),
        ),
        folder(
            "fs-stat",
            "20,000 names of a folder, and the status of each",
            Storage.CACHED,
            ("fs-stat", "os-stat", "aiofiles-stat"),
        ),
    ]


def file_systems() -> list[Case]:
    """Cases with fsspec and zarr. The arrays have 256 MiB, in 4,096 chunks."""

    def made(name: str, title: str, contenders: tuple[str, ...], storage: Storage) -> Case:
        state = STATES[storage]
        return Case(
            f"{name}-{state}",
            f"{title}, {state}",
            storage,
            16,
            contenders,
            Access.WHOLE,
            sequential=True,
            size=256,
        )

    systems = ("fsspec-aio", "fsspec-local", "fsspec-wrapper")
    stores = ("zarr-aio", "zarr-local")
    cases: list[Case] = []
    for state in STATES:
        cases.append(made("fsspec-ranges", "cat_ranges of 10,000 ranges", systems, state))
        cases.append(made("fsspec-files", "cat of 5,000 files of 4 KiB", systems, state))
        for codec in ("", "-blosc"):
            title = f"4,096 chunks{codec and ' with blosc'}"
            cases.append(made(f"zarr-read{codec}", f"{title}, all read", stores, state))
            cases.append(made(f"zarr-slices{codec}", f"{title}, 300 slices", stores, state))
    for codec in ("", "-blosc"):
        title = f"4,096 chunks{codec and ' with blosc'}, written"
        cases.append(made(f"zarr-write{codec}", title, stores, Storage.CACHED))
    return cases


def open_files() -> list[Case]:
    everybody = (
        "open",
        "open-job",
        "open-linux_aio",
        *(f"open-{name}" for name in ("ayafileio", "urio", "aiofile", "aiofiles", "anyio")),
    )

    def case(name: str, title: str, storage: Storage, mib: int) -> Case:
        return Case(
            f"files-{name}",
            title,
            storage,
            1,
            everybody,
            Access.WHOLE,
            block=1 << 20,
            sequential=True,
            size=mib,
        )

    cached, dropped = Storage.CACHED, Storage.DROPPED
    return [
        case("lines", "200,000 binary lines, cached", cached, 1),
        case("text-lines", "200,000 lines of text, cached", cached, 1),
        case("small", "5,000 small files, cached, 64 tasks", cached, 1),
        case("small-cold", "5,000 small files, cold, 64 tasks", dropped, 1),
        case("cold", "512 MiB by 1 MiB reads, cold", dropped, 512),
        case("cached", "256 MiB by 64 KiB reads, cached", cached, 256),
        case("write", "256 MiB by 64 KiB writes, and fsync", cached, 256),
    ]


def hostile() -> list[Case]:
    """Files on which calls wait that should not. All need root."""
    contenders = ("aio", "engine-uring", *CAIO, "executor", "idle")
    crowd = ("aio", "aio-cancelling", "aio-closing", "engine-uring", *CAIO, "executor", "idle")

    def case(
        name: str,
        title: str,
        ground: Ground,
        storage: Storage,
        in_flight: int = 32,
        mib: int = 64,
        access: Access = Access.READ,
    ) -> Case:
        return Case(
            f"{name}-{in_flight}",
            f"4 KiB random {title}, {in_flight} in flight",
            storage,
            in_flight,
            crowd if ground is Ground.SLOW else contenders,
            access,
            longer=2.0,
            size=mib,
            ground=ground,
            counts_waits=True,
        )

    slow = "a disk of 1,000 requests a second"
    uncached, direct, cached = Storage.UNCACHED, Storage.DIRECT, Storage.CACHED
    return [
        case("slow", f"reads, {slow}", Ground.SLOW, uncached),
        case("slow-direct", f"reads, {slow}, O_DIRECT", Ground.SLOW, direct),
        case("slow-write", f"overwrites, {slow}", Ground.SLOW, uncached, access=Access.WRITE),
        case(
            "slow-direct-write",
            f"overwrites, {slow}, O_DIRECT",
            Ground.SLOW,
            direct,
            access=Access.WRITE,
        ),
        case("fragmented", "reads, fragmented ext4", Ground.FRAGMENTED, Storage.DROPPED, mib=16),
        case(
            "fragmented-direct",
            "reads, fragmented ext4, O_DIRECT",
            Ground.FRAGMENTED,
            direct,
            mib=16,
        ),
        case(
            "journaled-direct", "reads, ext4 with data=journal, O_DIRECT", Ground.JOURNALED, direct
        ),
        case("compressed-direct", "reads, compressed btrfs, O_DIRECT", Ground.COMPRESSED, direct),
        case("stopping", "reads, FUSE whose server stops", Ground.STOPPING, uncached, mib=16),
        *(
            case(name, f"reads, {title}, cached", ground, cached, depth, mib=16)
            for name, title, ground in (
                ("overlay", "overlayfs", Ground.OVERLAY),
                ("fuse", "FUSE", Ground.FUSE),
            )
            for depth in (1, 32)
        ),
    ]


def all_cases() -> list[Case]:
    return [
        *(random_reads(storage, depth) for storage in Storage for depth in DEPTHS),
        random_reads(Storage.CACHED, 64),
        SEQUENTIAL,
        random_writes(Storage.MEMORY, 32),
        random_writes(Storage.CACHED, 1),
        random_writes(Storage.CACHED, 32),
        beside(1),
        beside(32),
        on_uvloop(Storage.MEMORY, 1),
        on_uvloop(Storage.MEMORY, 32),
        on_uvloop(Storage.DIRECT, 32),
        on_trio(Storage.MEMORY, 1),
        on_trio(Storage.UNCACHED, 32),
        TRIO_LINES,
        *whole_files(),
        *folders(),
        *file_systems(),
        *open_files(),
        small_cold_files(),
        *hostile(),
    ]
