# SPDX-License-Identifier: Apache-2.0
"""Transfers that meet an end, a cancellation or an exception too early leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import signal
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from linux_aio import _copying, _core, bulk
from linux_aio._worker import Worker
from linux_aio.bulk import Progress, ShortFileError, achecksum, checksum, copy, read_many
from support.any_loop import AnyLoop, Scope
from support.forked import fork
from support.loops import run
from support.measure import open_fds, soon
from support.workers import PATIENCE, finish, start

pytest_plugins = ["support.fixtures"]

# files whose size says nothing of what they contain
SYSTEM_FILES = ["/sys/devices/system/cpu/online", "/sys/kernel/mm/transparent_hugepage/enabled"]


@pytest.fixture(name="folder")
def on_disk() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        yield Path(name)


async def collect(reads: AsyncIterator[tuple[int, memoryview]], found: dict[int, bytes]) -> None:
    async for index, data in reads:
        found[index] = bytes(data)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("max_gap", [0, 1 << 20])
def test_many_ranges_behind_the_end(folder: Path, ordered: bool, max_gap: int) -> None:
    """More of them than the memory allows at a time."""
    path = folder / "file"
    path.write_bytes(b"x" * 100_000)

    found: dict[int, bytes] = {}
    ranges = [(place * 100_000, 50_000) for place in range(100)]
    reads = read_many(path, ranges, max_gap=max_gap, ordered=ordered, memory=1_000_000)
    with pytest.raises(ShortFileError):
        run(collect(reads, found))
    assert found == {0: b"x" * 50_000}


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("max_gap", [0, 16384])
def test_an_empty_range_behind_the_end_is_there(folder: Path, ordered: bool, max_gap: int) -> None:
    """With and without others beside it."""
    path = folder / "file"
    path.write_bytes(b"x" * 200)

    for ranges in ([(5000, 0)], [(100, 10), (5000, 0)], [(5000, 0), (190, 10), (4000, 0)]):
        found: dict[int, bytes] = {}
        run(collect(read_many(path, ranges, max_gap=max_gap, ordered=ordered), found))
        assert found == {index: b"x" * length for index, (_, length) in enumerate(ranges)}
    with pytest.raises(ShortFileError):
        run(collect(read_many(path, [(5000, 0), (4000, 1)], max_gap=max_gap), found))


@pytest.mark.parametrize("max_gap", [0, 16384])
def test_ranges_before_the_end_come_all_the_same(folder: Path, max_gap: int) -> None:
    path = folder / "file"
    path.write_bytes(bytes(range(250)) * 4)

    found: dict[int, bytes] = {}
    reads = read_many(path, [(0, 10), (990, 20), (500, 10)], max_gap=max_gap)
    with pytest.raises(ShortFileError, match="before byte 1010"):
        run(collect(reads, found))
    assert found == {0: bytes(range(10)), 2: bytes(range(10))}


def test_ranges_that_are_left_at_the_end_of_the_loop(any_loop: AnyLoop, folder: Path) -> None:
    """In Trio the loop's context is gone by then."""
    path = folder / "file"
    path.write_bytes(b"x" * 1_000_000)
    left: list[AsyncIterator[tuple[int, memoryview]]] = []

    async def main() -> None:
        ranges = [(place, 4096) for place in range(0, 900_000, 4096)]
        left.append(read_many(path, ranges, max_gap=0, max_merge=0, memory=16384))
        assert (await anext(left[-1]))[1] == b"x" * 4096

    any_loop.run(main)
    gc.collect()
    before = open_fds()
    for _ in range(3):
        any_loop.run(main)
    gc.collect()
    assert soon(lambda: open_fds() <= before)
    assert not [thread for thread in threading.enumerate() if "linux_aio" in thread.name]


def test_a_cancellation_while_a_thread_ends(any_loop: AnyLoop) -> None:
    """It is raised once the thread has ended."""
    go_on = threading.Event()
    ended: list[str] = []

    def work(_: Worker[None]) -> None:
        go_on.wait(PATIENCE)
        ended.append("thread")

    async def cancel(scope: Scope) -> None:
        await any_loop.turns(5)
        scope.cancel()
        await any_loop.sleep(0.01)
        go_on.set()

    async def main() -> None:
        async with any_loop.group() as group, any_loop.scope() as scope:
            group.start(cancel, scope)
            async with Worker(work):
                pass
            await any_loop.sleep(0)
            ended.append("task")
        assert ended == ["thread"]
        assert scope.was_cancelled
        await any_loop.sleep(0)

    any_loop.run(main)


def test_a_cancelled_checksum_of_a_pipe(tmp_path: Path) -> None:
    """Its writer has written something, and is silent."""
    path = tmp_path / "fifo"
    os.mkfifo(path)

    async def main() -> None:
        task = asyncio.ensure_future(achecksum(path))
        await asyncio.sleep(0.05)
        writer = os.open(path, os.O_WRONLY)
        os.write(writer, b"abc")
        await asyncio.sleep(0.2)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=20)
        os.close(writer)
        assert done
        assert task.cancelled()

    run(main())


def test_a_checksum_of_a_pipe_with_pauses(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)

    async def main() -> None:
        task = asyncio.ensure_future(achecksum(path))
        writer = await asyncio.to_thread(os.open, path, os.O_WRONLY)
        for part in (b"one", b"two", b"three"):
            os.write(writer, part)
            await asyncio.sleep(0.15)
        os.close(writer)
        assert await task == hashlib.sha256(b"onetwothree").hexdigest()

    run(main())


def test_a_target_without_a_name(folder: Path) -> None:
    """Its link in /proc says where the file was, where another must not be made."""
    (folder / "source").write_bytes(b"hello")
    with tempfile.TemporaryFile(dir=folder) as file:
        target = f"/dev/fd/{file.fileno()}"
        with pytest.raises(OSError, match="no name"):
            copy(folder / "source", target)
        np = pytest.importorskip("numpy")
        aio_numpy = pytest.importorskip("linux_aio.numpy")
        aio_numpy.save(target, np.arange(3))
        assert np.load(file).tolist() == [0, 1, 2]
    assert os.listdir(folder) == ["source"]


def test_a_name_of_a_folder_that_is_missing(folder: Path) -> None:
    np = pytest.importorskip("numpy")
    aio_numpy = pytest.importorskip("linux_aio.numpy")
    with pytest.raises(OSError, match="new/"):
        aio_numpy.save(f"{folder}/new/", np.arange(3))
    assert os.listdir(folder) == []


def test_a_progress_that_raises_leaves_the_target(folder: Path) -> None:
    source, target = folder / "source", folder / "target"
    source.write_bytes(b"new" * 1000)
    target.write_bytes(b"old")

    def progress(_: int, __: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        copy(source, target, progress=progress)
    assert target.read_bytes() == b"old"
    assert sorted(os.listdir(folder)) == ["source", "target"]


def hash_pieces(source: Path, target: Path, progress: Progress) -> None:
    digest = checksum(source, progress=progress)
    target.write_bytes(source.read_bytes())
    assert digest == checksum(target)


def hash_a_stream(source: Path, target: Path, progress: Progress) -> None:
    read_end, write_end = os.pipe()
    data = source.read_bytes()

    def feed() -> None:
        with open(write_end, "wb") as file:
            file.write(data)

    worker = start(feed)
    assert checksum(read_end, progress=progress) == hashlib.sha256(data).hexdigest()
    finish(worker)
    os.close(read_end)
    target.write_bytes(data)


def copy_pieces(source: Path, target: Path, progress: Progress) -> None:
    copy(source, target, chunk=65536, progress=progress)


def copy_by_file_system(source: Path, target: Path, progress: Progress) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_core, "_bulk_copies_itself", lambda _: True)
        patch.setattr(_copying, "RANGE_BYTES", 65536)
        copy(source, target, progress=progress)


@pytest.mark.parametrize("has_proc", [True, False])
@pytest.mark.parametrize("transfer", [hash_pieces, hash_a_stream, copy_pieces, copy_by_file_system])
def test_a_child_that_is_forked_in_the_middle(
    transfer: Callable[[Path, Path, Progress], None],
    has_proc: bool,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It gets an error, and leaves the parent and the parent's new file alone."""
    monkeypatch.setattr(bulk, "_PROGRESS_SECONDS", 0)
    monkeypatch.setattr(_copying, "clone", lambda *_: False)
    if not has_proc:  # the new file has a name
        monkeypatch.setattr(os.path, "exists", lambda _: False)
    source, target = folder / "source", folder / "target"
    data = os.urandom(8 << 20)
    source.write_bytes(data)
    parent = os.getpid()
    children: list[int] = []

    def progress(done: int, total: int) -> None:
        if not children:
            children.append(fork())
            if children == [0]:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the child if it hangs
                signal.alarm(30)

    try:
        transfer(source, target, progress)
    except RuntimeError as error:
        if os.getpid() != parent:
            os._exit(7 if "child process" in str(error) else 8)
        raise
    finally:
        if os.getpid() != parent:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 7
    assert target.read_bytes() == data
    assert sorted(os.listdir(folder)) == ["source", "target"]


def test_a_file_whose_size_says_nothing(folder: Path) -> None:
    path = next(filter(os.path.exists, SYSTEM_FILES), "/proc/version")
    contents = Path(path).read_bytes()
    assert checksum(path) == hashlib.sha256(contents).hexdigest()
    copy(path, folder / "copy")
    assert (folder / "copy").read_bytes() == contents


def test_rows_into_a_matrix(folder: Path) -> None:
    np = pytest.importorskip("numpy")
    aio_numpy = pytest.importorskip("linux_aio.numpy")
    array = np.arange(12, dtype="u1").reshape(4, 3)
    np.save(folder / "array.npy", array)
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.matrix(np.zeros((2, 3), "u1"))
    found = aio_numpy.load(folder / "array.npy", rows=[1, 3], out=matrix)
    assert np.asarray(found).tolist() == array[[1, 3]].tolist()
