# SPDX-License-Identifier: Apache-2.0
"""What was acknowledged survives a loss of power. `./dev durability` does the same for longer."""

from __future__ import annotations

import asyncio
import itertools
import os
from pathlib import Path
from random import Random

import pytest

from durability.__main__ import cuts, run
from durability.cuts import SYNCS, Cut
from durability.records import Log, is_intact, is_torn_at_most
from durability.writer import NO_POWER
from linux_aio import write_bytes
from support.engines import available_engines
from support.fuse_disk import Disk
from support.fusefs import fs_available, mounted

needs_fs = pytest.mark.skipif(fs_available() is not None, reason=str(fs_available()))

SEED = 20240229
CUTS = 18  # one for each way to sync, layout and way to wait


@pytest.mark.long
@needs_fs
@pytest.mark.parametrize("engine", available_engines())
def test_nothing_acknowledged_is_lost(engine: str, tmp_path: Path) -> None:
    chosen = list(itertools.islice(cuts([engine], SYNCS, SEED), CUTS))
    figures, complaints = run(chosen, tmp_path)
    assert complaints == []
    assert figures["records acknowledged"] > CUTS  # what was not acknowledged can't be lost
    assert figures["records unfinished"] > 0  # and the cuts came in the middle of something


@pytest.mark.long
@needs_fs
def test_without_a_sync_it_is_lost(tmp_path: Path) -> None:
    """So the test above can fail."""
    chosen = list(itertools.islice(cuts(["aio"], ("none",), SEED), 6))
    figures, complaints = run(chosen, tmp_path)
    assert complaints == []
    assert figures["records lost"] > 0


def test_a_cut_can_be_told_and_done_again() -> None:
    assert str(Cut("aio", "fsync", "append", "await", 7)) == "aio, fsync, append, await, seed 7"


# The log


@pytest.mark.parametrize("layout", ["append", "direct"])
def test_records_can_be_made_again(layout: str) -> None:
    logs = [Log(layout, 3), Log(layout, 3)]  # type: ignore[arg-type]
    for _ in range(10):
        first, again = (log.next() for log in logs)
        assert first is not None
        assert first == again
        disk = bytes(first.offset) + first.data
        assert is_intact(first, disk)
        torn = disk[: first.offset + 19] + bytes(len(first.data) - 19)
        assert not is_intact(first, torn)
        assert is_torn_at_most(first, torn)
        assert not is_torn_at_most(first, bytes(first.offset) + b"?" * len(first.data))


# The disk that forgets


def lose(disk: Disk, seed: int = 0) -> bytes:
    disk.lose_power(Random(seed))
    return bytes(disk.stable)


def test_a_disk_keeps_what_was_synced() -> None:
    disk = Disk()
    disk.write(0, b"first", synchronous=False)
    disk.sync(disk.mark())
    assert lose(disk) == b"first"


def test_a_sync_covers_what_was_answered_when_it_was_asked_for() -> None:
    outcomes = set()
    for seed in range(50):
        disk = Disk()
        disk.write(0, b"first", synchronous=False)
        mark = disk.mark()
        disk.write(5, b"second", synchronous=False)
        disk.sync(mark)
        outcomes.add(lose(disk, seed))
    assert outcomes == {b"first", b"firstsecond"}


def test_what_was_not_synced_may_be_lost_or_not_sector_by_sector() -> None:
    outcomes = set()
    for seed in range(50):
        disk = Disk()
        disk.write(100, b"x" * 1000, synchronous=False)
        outcomes.add(lose(disk, seed))
    assert b"" in outcomes
    assert bytes(100) + b"x" * 1000 in outcomes
    assert bytes(100) + b"x" * 412 in outcomes  # the first of three sectors
    assert bytes(1024) + b"x" * 76 in outcomes  # the last


def test_a_synchronous_write_survives_over_an_older_one() -> None:
    for seed in range(20):
        disk = Disk()
        disk.write(0, b"older", synchronous=False)
        disk.write(0, b"newer", synchronous=True)
        assert lose(disk, seed) == b"newer"


# The file system on it


@needs_fs
def test_fsync_and_o_dsync_reach_the_disk(tmp_path: Path) -> None:
    with mounted(tmp_path, disks=True) as fs:
        path = fs.create("file", b"")
        fd = os.open(path, os.O_RDWR)
        os.pwrite(fd, b"synced", 0)
        os.fsync(fd)
        os.pwritev(fd, [b"dsync "], 4096, os.RWF_DSYNC)
        fs.cut_power()
        assert not fs.has_power()
        with pytest.raises(OSError, match="not connected"):
            os.pwrite(fd, b"late", 0)
        os.close(fd)
        data = fs.contents("file")
        assert data[:6] == b"synced"
        assert data[4096:] == b"dsync "


@needs_fs
def test_the_power_is_cut_at_each_moment_of_a_request(tmp_path: Path) -> None:
    """The first write's arrival, the moment after it is carried out, and that after its answer."""
    answered = []
    for moment in (1, 2, 3):
        with mounted(tmp_path, disks=True) as fs:
            fd = os.open(fs.create("file", b""), os.O_RDWR)
            fs.cut_power(moment)
            try:
                answered.append(os.pwrite(fd, b"data", 0))
            except OSError:
                answered.append(-1)
            assert not fs.has_power()
            os.close(fd)
    assert answered == [-1, -1, 4]


# Files that are replaced as a whole


def content(number: int) -> bytes:
    return b"%08d" % number * 3000


def replace_until_power_is_gone(file: Path, *, durable: bool) -> tuple[int, int]:
    """Return the last content that was reported written, and the last that was begun."""

    async def replace() -> tuple[int, int]:
        for number in range(1, 1000):
            try:
                await write_bytes(file, content(number), atomic=True, durable=durable)
            except OSError as error:
                if error.errno not in NO_POWER:
                    raise
                return number - 1, number
        raise AssertionError("the power was never cut")

    return asyncio.run(replace())


@pytest.mark.long
@needs_fs
@pytest.mark.parametrize("durable", [False, True])
def test_a_replaced_file_is_the_old_or_the_new(durable: bool, tmp_path: Path) -> None:
    chance = Random(SEED)
    found: set[int] = set()
    for tries in range(500):
        if tries >= 25 and len(found) > 1:
            break
        with mounted(tmp_path, disks=True) as fs:
            file = fs.create("file", content(0))
            fs.cut_power(chance.randint(1, 40), chance.getrandbits(32))
            done, begun = replace_until_power_is_gone(file, durable=durable)
            data = fs.contents("file")
            number = int(data[:8])
            assert data == content(number)
            assert done * durable <= number <= begun
            found.add(number - done)
    # the cuts came before and after the new name was there
    assert len(found) > 1


@needs_fs
def test_a_rename_is_lost_without_a_sync_of_the_directory(tmp_path: Path) -> None:
    """So the test above can fail."""
    left = set()
    for seed in range(12):
        with mounted(tmp_path, disks=True) as fs:
            for synced in ("synced", "not"):
                fs.create("old", b"old")
                fs.create(synced, b"new")
                os.rename(fs.path(synced), fs.path(f"{synced}-2"))
                if synced == "synced":
                    folder = os.open(fs.mountpoint, os.O_RDONLY)
                    os.fsync(folder)
                    os.close(folder)
            fs.cut_power(0, seed)
            assert fs.contents("synced-2") == b"new"
            try:
                left.add(fs.contents("not-2"))
            except OSError:
                left.add(fs.contents("not"))
                left.add(b"undone")
    assert left == {b"new", b"undone"}
