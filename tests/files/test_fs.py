# SPDX-License-Identifier: Apache-2.0
"""linux_aio.fs against its twins in os, os.path and shutil: same results, same exceptions."""

from __future__ import annotations

import contextlib
import math
import os
import resource
import shutil
import signal
import stat
import tempfile
import time
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from linux_aio import AIOContext, fs
from linux_aio._loop_context import loop_context
from support import any_loop as loops
from support.forked import give_up_root, in_child
from support.mount_calls import MS_BIND, detach, mount
from support.mounts import tmpfs_mount, tmpfs_mount_reason
from support.outcomes import awaited_outcome, outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


pytest_plugins = ["support.fixtures"]

pytestmark = pytest.mark.usefixtures("any_loop")


@pytest.fixture(params=["disk", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "disk":
        yield tmp_path
        return
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("no /dev/shm")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


def run(use: Callable[[], Any]) -> Any:
    return loops.current.run(use)


def populate(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "file").write_bytes(b"contents")
    (folder / "empty").touch()
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "sub" / "inner").write_bytes(b"x")
    (folder / "link").symlink_to("file")
    (folder / "broken").symlink_to("nowhere")
    (folder / "to-sub").symlink_to("sub")
    os.mkfifo(folder / "fifo")
    Path(os.fsdecode(os.fsencode(folder) + b"/not-utf8-\xff")).touch()


NAMES = ["file", "empty", "sub", "link", "broken", "to-sub", "fifo", "missing", "file/below"]
NAMES += ["not-utf8-\udcff", "."]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (fs.stat, os.stat),
        (fs.lstat, os.lstat),
        (fs.readlink, os.readlink),
        (fs.exists, os.path.exists),
        (fs.lexists, os.path.lexists),
        (fs.isfile, os.path.isfile),
        (fs.isdir, os.path.isdir),
        (fs.islink, os.path.islink),
        (fs.ismount, os.path.ismount),
        (fs.getsize, os.path.getsize),
        (fs.getmtime, os.path.getmtime),
        (fs.getatime, os.path.getatime),
        (fs.getctime, os.path.getctime),
    ],
    ids=lambda function: function.__name__,
)
def test_what_a_path_is(folder: Path, ours: Any, theirs: Any) -> None:
    populate(folder)

    async def use() -> None:
        for name in NAMES:
            for path in (str(folder / name), os.fsencode(folder / name), folder / name):
                for _ in range(2):
                    result = await awaited_outcome(partial(ours, path))
                    assert result == outcome(partial(theirs, path)), path
        for path in ("/", "/proc", ""):
            got = await awaited_outcome(partial(ours, path))
            wanted = outcome(partial(theirs, path))
            if path == "/proc" and theirs in (os.stat, os.lstat):  # its links come and go
                got, wanted = got[:3], wanted[:3]
            assert got == wanted

    run(use)


@pytest.mark.parametrize("bad", [1.5, None, "nul\0inside", [], -1])
def test_wrong_paths_raise_the_same_class(bad: Any) -> None:
    async def use() -> None:
        for ours, theirs in ((fs.stat, os.stat), (fs.mkdir, os.mkdir), (fs.unlink, os.unlink)):
            got = await awaited_outcome(partial(ours, bad))
            assert got[0] == outcome(partial(theirs, bad))[0]

    run(use)


def test_descriptors(folder: Path) -> None:
    populate(folder)

    async def use() -> None:
        for name in ("file", "sub"):
            fd = os.open(folder / name, os.O_RDONLY)
            try:
                assert await fs.stat(fd) == os.stat(fd)
                ours, theirs = await fs.statvfs(fd), os.statvfs(fd)
                # others use the file system meanwhile: what is free may differ
                free = {"f_bfree", "f_bavail", "f_ffree", "f_favail"}
                for name_of in (name for name in dir(theirs) if name.startswith("f_")):
                    if name_of not in free:
                        assert getattr(ours, name_of) == getattr(theirs, name_of), name_of
                assert await fs.exists(fd)
                assert await fs.getsize(fd) == os.path.getsize(fd)  # noqa: ASYNC240
            finally:
                os.close(fd)
        assert not await fs.exists(fd)
        assert await awaited_outcome(lambda: fs.stat(fd)) == outcome(lambda: os.stat(fd))
        directory = os.open(folder, os.O_RDONLY)
        try:
            assert await fs.stat("file", dir_fd=directory) == os.stat("file", dir_fd=directory)
            assert sorted(await fs.listdir(directory)) == sorted(os.listdir(directory))
            await fs.mkdir("made", dir_fd=directory)
            await fs.rename("made", "renamed", src_dir_fd=directory, dst_dir_fd=directory)
            await fs.symlink("renamed", "leads", dir_fd=directory)
            assert await fs.readlink("leads", dir_fd=directory) == "renamed"
            await fs.unlink("leads", dir_fd=directory)
            await fs.rmdir("renamed", dir_fd=directory)
            assert await fs.access("file", os.R_OK, dir_fd=directory)
        finally:
            os.close(directory)

    run(use)


def test_relative_paths(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    populate(folder)
    monkeypatch.chdir(folder)

    async def use() -> None:
        assert sorted(await fs.listdir()) == sorted(os.listdir())
        assert sorted(await fs.listdir(b".")) == sorted(os.listdir(b"."))
        assert await fs.stat("file") == os.stat("file")
        await fs.mkdir("new")
        assert (folder / "new").is_dir()
        assert {entry.path async for entry in fs.scandir()} == {
            entry.path for entry in os.scandir()
        }

    run(use)


# Each changes a tree, or raises: done with os in one, with linux_aio.fs in another.
CHANGES: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("mkdir", ("new",), {}),
    ("mkdir", ("new", 0o700), {}),
    ("mkdir", ("file",), {}),
    ("mkdir", ("missing/new",), {}),
    ("makedirs", ("a/b/c",), {}),
    ("makedirs", ("sub/deep",), {}),
    ("makedirs", ("sub/deep",), {"exist_ok": True}),
    ("makedirs", ("file",), {"exist_ok": True}),
    ("makedirs", ("a/b/",), {"mode": 0o700}),
    ("rmdir", ("sub/deep",), {}),
    ("rmdir", ("sub",), {}),
    ("rmdir", ("file",), {}),
    ("removedirs", ("sub/deep",), {}),
    ("unlink", ("file",), {}),
    ("unlink", ("broken",), {}),
    ("unlink", ("missing",), {}),
    ("unlink", ("sub",), {}),
    ("remove", ("fifo",), {}),
    ("symlink", ("file", "new"), {}),
    ("symlink", ("file", "link"), {}),
    ("chmod", ("file", 0o640), {}),
    ("chmod", ("link", 0o600), {}),
    ("chmod", ("missing", 0o600), {}),
    ("truncate", ("file", 3), {}),
    ("truncate", ("file", -1), {}),
    ("truncate", ("sub", 3), {}),
    ("truncate", ("missing", 3), {}),
    ("utime", ("file", (1, 2.5)), {}),
    ("utime", ("file",), {"ns": (123456789, -5)}),
    ("utime", ("link",), {"ns": (5, 6), "follow_symlinks": False}),
    ("utime", ("file", (1, 2)), {"ns": (1, 2)}),
    ("utime", ("missing",), {}),
    ("chown", ("file", -1, -1), {}),
    ("chown", ("missing", -1, -1), {}),
]


def picture(folder: Path) -> dict[str, Any]:
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        # rglob() follows links, which may change when they were last read
        read_at = 0 if path.is_symlink() else status.st_atime_ns
        times = (read_at, status.st_mtime_ns) if status.st_mtime_ns < 10**10 else None
        found[str(path.relative_to(folder))] = (
            status.st_mode,
            status.st_nlink,
            status.st_size if not stat.S_ISDIR(status.st_mode) else None,
            os.readlink(path) if path.is_symlink() else None,
            times,
        )
    return found


@pytest.mark.parametrize(
    ("name", "arguments", "keywords"), CHANGES, ids=[f"{i}-{c[0]}" for i, c in enumerate(CHANGES)]
)
def test_changes(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
) -> None:
    populate(folder / "ours")
    populate(folder / "theirs")
    monkeypatch.chdir(folder / "theirs")
    wanted = outcome(lambda: getattr(os, name)(*arguments, **keywords))
    monkeypatch.chdir(folder / "ours")

    async def use() -> Any:
        return await awaited_outcome(lambda: getattr(fs, name)(*arguments, **keywords))

    assert run(use) == wanted
    assert picture(folder / "ours") == picture(folder / "theirs")


@pytest.mark.parametrize("name", ["rename", "replace", "link", "renames"])
@pytest.mark.parametrize("source", ["file", "sub", "broken", "missing", "link"])
@pytest.mark.parametrize("target", ["new", "empty", "sub/deep", "a/new", "file/x"])
def test_two_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: str, target: str
) -> None:
    populate(tmp_path / "ours")
    populate(tmp_path / "theirs")
    monkeypatch.chdir(tmp_path / "theirs")
    wanted = outcome(lambda: getattr(os, name)(source, target))
    monkeypatch.chdir(tmp_path / "ours")

    async def use() -> Any:
        return await awaited_outcome(lambda: getattr(fs, name)(source, target))

    assert run(use) == wanted
    assert picture(tmp_path / "ours") == picture(tmp_path / "theirs")


def test_scandir_brings_the_status(folder: Path) -> None:
    populate(folder)
    for path in filter(Path.is_symlink, folder.iterdir()):
        # to follow a link changes its access time, unless that is later than its other times
        os.utime(path, (time.time() + 1000, time.time()), follow_symlinks=False)

    async def use() -> None:
        for path in (str(folder), os.fsencode(folder), folder, f"{folder}/"):
            theirs = {entry.name: entry for entry in os.scandir(path)}
            ours = {entry.name: entry async for entry in fs.scandir(path)}
            assert ours.keys() == theirs.keys()
            for name, entry in ours.items():
                twin = theirs[name]
                assert entry.path == twin.path
                assert os.fspath(entry) == os.fspath(twin)
                assert entry.inode() == twin.inode()
                assert repr(entry) == repr(twin)
                assert entry.is_symlink() == twin.is_symlink()
                for follows in (True, False):
                    for question in ("is_dir", "is_file", "stat"):
                        got = outcome(
                            lambda: getattr(entry, question)(follow_symlinks=follows)  # noqa: B023
                        )
                        wanted = outcome(
                            lambda: getattr(twin, question)(follow_symlinks=follows)  # noqa: B023
                        )
                        assert got == wanted, (name, question, follows)

    run(use)


@pytest.fixture(scope="module")
def full_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 2,500 files, which is more than one step of scandir() reads."""
    folder = tmp_path_factory.mktemp("full")
    for i in range(2500):
        (folder / f"file-{i}").touch()
    return folder


def test_scandir_by_several_tasks(full_folder: Path) -> None:
    async def use() -> None:
        entries = fs.scandir(full_folder)
        names: list[str] = []

        async def take() -> None:
            async for entry in entries:
                names.append(entry.name)
                await loops.current.turns()

        async with loops.current.group() as group:
            for _ in range(3):
                group.start(take)
        assert sorted(names) == sorted(os.listdir(full_folder))

    run(use)


@pytest.mark.parametrize("turns", range(5))
def test_scandir_after_a_cancelled_step(full_folder: Path, turns: int) -> None:
    async def use() -> None:
        entries = fs.scandir(full_folder)
        names: list[str] = []
        is_over = False

        async def take() -> None:
            nonlocal is_over
            try:
                names.append((await anext(entries)).name)
            except StopAsyncIteration:
                is_over = True

        while not is_over:
            async with loops.current.group() as group:
                group.start(take)
                await loops.current.turns(turns)
                group.cancel()
            await take()
        assert sorted(names) == sorted(os.listdir(full_folder))

    run(use)


def test_scandir_ended_while_a_step_reads(full_folder: Path) -> None:
    async def use() -> None:
        await fs.listdir(full_folder)  # the context's own are there
        before = len(os.listdir("/proc/self/fd"))
        for turns in range(5):
            entries = fs.scandir(full_folder)

            async def take(entries: Any = entries) -> None:
                async for _ in entries:
                    pass

            async with loops.current.group() as group:
                group.start(take)
                await loops.current.turns(turns)
                await entries.aclose()
            assert [entry async for entry in entries] == []
        await loops.current.until(lambda: len(os.listdir("/proc/self/fd")) <= before)

    run(use)


@pytest.mark.engine("auto", "uring", "threads")
@pytest.mark.parametrize("is_cancelled", [False, True])
def test_scandir_ended_while_a_step_is_queued(full_folder: Path, is_cancelled: bool) -> None:
    """The step is not for what the program opens next, and may get the descriptor's number."""

    async def use() -> None:
        reader, writer = os.pipe()
        async with AIOContext(1) as context:
            await fs.listdir(full_folder, context=context)  # the context's own are there
            before = len(os.listdir("/proc/self/fd"))
            entries = fs.scandir(full_folder, context=context)
            await anext(entries)
            entries._entries.clear()  # the next is one of the second step

            async def fill() -> None:
                await context.read(1, reader)

            async def take() -> None:
                async for _ in entries:
                    pass

            async with loops.current.group() as filling, loops.current.group() as taking:
                filling.start(fill)
                await loops.current.until(lambda: context.in_flight == 1)
                taking.start(take)
                await loops.current.turns(3)
                await entries.aclose()
                if is_cancelled:
                    taking.cancel()
                    await loops.current.turns(3)
                opened = [os.open(full_folder, os.O_RDONLY) for _ in range(3)]
                os.write(writer, b"!")
            assert [entry async for entry in entries] == []
            for fd in opened:
                assert os.lseek(fd, 0, os.SEEK_CUR) == 0
                os.close(fd)
            await loops.current.until(lambda: len(os.listdir("/proc/self/fd")) <= before)
        os.close(reader)
        os.close(writer)

    run(use)


def test_scandir_of_many_and_its_end(full_folder: Path) -> None:
    async def use() -> None:
        await fs.listdir(full_folder)  # the context's own are there
        async for _ in fs.scandir(full_folder):
            pass
        before = len(os.listdir("/proc/self/fd"))
        assert sorted([entry.name async for entry in fs.scandir(full_folder)]) == sorted(
            os.listdir(full_folder)
        )
        assert len(await fs.listdir(full_folder)) == 2500
        async with fs.scandir(full_folder) as entries:
            async for _ in entries:
                break
        assert [entry async for entry in entries] == []
        fd = os.open(full_folder, os.O_RDONLY)
        assert len([entry async for entry in fs.scandir(fd)]) == 2500
        os.close(fd)
        await loops.current.until(lambda: len(os.listdir("/proc/self/fd")) <= before)

    run(use)


@pytest.mark.parametrize("topdown", [True, False])
@pytest.mark.parametrize("followlinks", [True, False])
def test_walk(folder: Path, topdown: bool, followlinks: bool) -> None:
    populate(folder)

    async def use() -> None:
        ours = [
            (top, sorted(names), sorted(files))
            async for top, names, files in fs.walk(folder, topdown, None, followlinks)
        ]
        theirs = [
            (top, sorted(names), sorted(files))
            for top, names, files in os.walk(folder, topdown, None, followlinks)
        ]
        assert sorted(ours) == sorted(theirs)
        errors: list[OSError] = []
        assert [x async for x in fs.walk(folder / "missing", onerror=errors.append)] == []
        assert errors[0].filename == str(folder / "missing")

    run(use)


def test_rmtree(folder: Path) -> None:
    async def use() -> None:
        populate(folder / "tree")
        (folder / "kept").touch()
        (folder / "tree" / "sub" / "out").symlink_to(folder)
        await fs.rmtree(folder / "tree")
        assert os.listdir(folder) == ["kept"]
        assert (await awaited_outcome(lambda: fs.rmtree(folder / "missing")))[:2] == outcome(
            lambda: shutil.rmtree(folder / "missing")
        )[:2]
        await fs.rmtree(folder / "missing", ignore_errors=True)
        (folder / "link").symlink_to("kept")
        with pytest.raises(OSError, match="symbolic link"):
            await fs.rmtree(folder / "link")
        raised: list[Any] = []

        def note_and_raise(*what: Any) -> None:
            raised.append([repr(one) for one in what[:2]] + [what[2][0], repr(what[2][1])])
            raise  # the error that is being handled

        with pytest.raises(OSError, match="symbolic link"):
            await fs.rmtree(folder / "link", onerror=note_and_raise)
        with pytest.raises(OSError) as theirs:  # noqa: PT011 - from Python 3.13 on str() lacks it
            shutil.rmtree(folder / "link", onerror=note_and_raise)
        assert "symbolic link" in theirs.value.args[0]
        assert raised[0] == raised[1]
        failed = []
        await fs.rmtree(folder / "missing", onexc=lambda *what: failed.append(what))
        assert isinstance(failed[0][2], FileNotFoundError)

    run(use)


def test_copyfile_of_a_directory_leaves_the_target_alone(folder: Path) -> None:
    (folder / "target").write_bytes(b"data")

    async def main() -> None:
        with pytest.raises(IsADirectoryError) as caught:
            await fs.copyfile(folder, folder / "target")
        assert caught.value.filename == str(folder)

    run(main)
    assert (folder / "target").read_bytes() == b"data"


def test_an_error_of_copyfile_names_both_files(folder: Path) -> None:
    """Of copying itself, too, as when the disk is full."""
    (folder / "source").write_bytes(bytes(200_000))
    paths = (str(folder / "source"), str(folder / "target"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, limits[1]))

    async def use() -> None:
        with pytest.raises(OSError, match="File too large") as caught:
            await fs.copyfile(*paths)
        assert (caught.value.filename, caught.value.filename2) == paths
        with pytest.raises(OSError, match="File too large") as caught:
            await fs.copyfile(*map(Path, paths))
        assert (caught.value.filename, caught.value.filename2) == paths

    try:
        run(use)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_copyfile(folder: Path) -> None:
    data = os.urandom(3_000_001)
    (folder / "source").write_bytes(data)
    (folder / "link").symlink_to("source")
    (folder / "target").write_bytes(b"longer" * 1_000_000)
    os.mkfifo(folder / "fifo")

    async def use() -> None:
        assert await fs.copyfile(folder / "source", folder / "target") == folder / "target"
        assert (folder / "target").read_bytes() == data
        await fs.copyfile(folder / "link", folder / "copied", follow_symlinks=False)
        assert os.readlink(folder / "copied") == "source"
        for source, target in (
            ("source", "source"),
            ("missing", "new"),
            ("source", "missing/new"),
            ("fifo", "new"),
            ("link", "source"),
            ("source", "new/"),
            ("source", "target/"),
            ("source", "missing/new/"),
            ("source", "."),
            ("source", "fifo"),
            ("source/", "new"),
            (".", "new"),
            ("", "new"),
        ):
            paths = (str(folder / source), str(folder / target))
            got = await awaited_outcome(partial(fs.copyfile, *paths))
            assert got == outcome(partial(shutil.copyfile, *paths))

    run(use)


def test_move_to_another_file_system(tmp_path: Path) -> None:
    if os.stat("/dev/shm").st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is no other file system")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(b"contents")
    (tree / "file").chmod(0o640)
    os.utime(tree / "file", ns=(10**9, 2 * 10**9))
    (tree / "link").symlink_to("file")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as there:
        result = run(lambda: fs.move(tree, there))
        assert result == os.path.join(there, "tree")
        moved = Path(result)
        assert (moved / "file").read_bytes() == b"contents"
        assert (moved / "file").stat().st_mtime_ns == 2 * 10**9
        assert stat.S_IMODE((moved / "file").stat().st_mode) == 0o640
        assert os.readlink(moved / "link") == "file"
        assert not tree.exists()
        (tmp_path / "tree").mkdir()
        with pytest.raises(shutil.Error):
            run(lambda: fs.move(tmp_path / "tree", there))


@pytest.mark.skipif(tmpfs_mount_reason() is not None, reason="no mounts")
def test_what_is_mounted() -> None:
    """A file, as a container's /etc/hosts, and a directory that is closed to the user."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "target").touch()
        with tmpfs_mount(folder / "closed", 64) as closed:
            (closed / "file").touch()
            closed.chmod(0o700)
            mount(str(closed / "file"), folder / "target", "", MS_BIND)

            def ask() -> None:
                give_up_root()

                for path in (closed, folder / "target", folder):
                    answer = run(partial(fs.ismount, path))
                    assert answer == os.path.ismount(path) == (path != folder)

            try:
                in_child(ask)
            finally:
                detach(folder / "target")


def test_sendfile_from_a_stream_waits_for_it() -> None:
    """It asks the stream whether it has something, and not the kernel again and again."""
    import socket

    class Counting:
        """The loop's context; counts the attempts to send."""

        def __init__(self) -> None:
            self.context: Any = loop_context()
            self.attempts = 0

        async def poll(self, *arguments: Any) -> int:
            return int(await self.context.poll(*arguments))

        def _sendfile(self, *arguments: Any) -> Any:
            self.attempts += 1
            return self.context._sendfile(*arguments)

    async def use() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        reading, writing = os.pipe()
        context: Any = Counting()
        sent = []

        async def send() -> None:
            sent.append(await fs.sendfile(writing, ours.fileno(), None, 10, context=context))

        async with loops.current.group() as group:
            group.start(send)
            await loops.current.until(lambda: context.attempts > 0)
            await loops.current.sleep(0.1)
            theirs.send(b"hello")
        assert sent == [5]
        assert context.attempts <= 3
        assert os.read(reading, 10) == b"hello"
        ours.close()
        theirs.close()
        os.close(reading)
        os.close(writing)

    run(use)


def test_sendfile_of_nothing_waits_for_nothing(tmp_path: Path) -> None:
    """A full socket takes nothing; at the end of the file there is nothing to take."""
    import socket

    (tmp_path / "file").write_bytes(b"x" * 10)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    async def use() -> None:
        file = os.open(tmp_path / "file", os.O_RDONLY)
        with contextlib.suppress(BlockingIOError):
            while ours.send(b"y" * 65536):
                pass
        assert await fs.sendfile(ours.fileno(), file, 10, 5) == 0
        assert await fs.sendfile(ours.fileno(), file, 0, 0) == 0
        os.close(file)

    with ours, theirs:
        run(use)


def test_sendfile_to_a_socket(tmp_path: Path) -> None:
    import socket

    data = os.urandom(1_000_000)
    (tmp_path / "file").write_bytes(data)

    async def use() -> None:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        ours.setblocking(False)
        file = os.open(tmp_path / "file", os.O_RDONLY)
        received = bytearray()

        async def receive() -> None:
            while len(received) < len(data):
                try:
                    received.extend(theirs.recv(65536))
                except BlockingIOError:
                    await loops.current.sleep(0.001)

        async with loops.current.group() as group:
            group.start(receive)
            sent = 0
            while sent < len(data):
                sent += await fs.sendfile(ours.fileno(), file, sent, len(data) - sent)
        assert received == data
        os.close(file)
        ours.close()
        theirs.close()

    run(use)


def test_allocation(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)

    async def use() -> None:
        await fs.posix_fallocate(fd, 10, 100)
        assert os.fstat(fd).st_size == 110
        await fs.truncate(fd, 7)
        assert os.fstat(fd).st_size == 7
        for wrong in ((fd, 0, 0), (fd, -1, 5), (9999, 0, 5)):
            got = await awaited_outcome(partial(fs.posix_fallocate, *wrong))
            assert got == outcome(partial(os.posix_fallocate, *wrong))

    run(use)
    os.close(fd)


def test_temporary_directory(tmp_path: Path) -> None:
    async def use() -> None:
        async with fs.TemporaryDirectory(dir=tmp_path, prefix="p-", suffix="-s") as name:
            assert os.path.basename(name).startswith("p-")
            assert name.endswith("-s")
            assert stat.S_IMODE(os.stat(name).st_mode) == 0o700
            populate(Path(name) / "inner")
        assert os.listdir(tmp_path) == []

    run(use)


def test_on_every_engine(tmp_path: Path) -> None:
    async def use() -> None:
        for engine in ("auto", "aio", "uring", "threads"):
            try:
                context = AIOContext(engine=engine)
            except OSError:
                continue
            async with context:
                await fs.mkdir(tmp_path / engine, context=context)
                assert await fs.isdir(tmp_path / engine, context=context)
                assert await fs.stat(tmp_path, context=context) == os.stat(tmp_path)

    run(use)


NUMBERS = [None, "x", 1.5, 1 << 31, 1 << 32, 1 << 40, 1 << 70, -(1 << 31) - 1, -2, True]


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_that_are_none(
    tmp_path: Path, number: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What os refuses is refused, and never cut to fit: 2**32 is not the user 0."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"contents")
    path = tmp_path / "file"
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("chmod", (path, number), {}),
        ("mkdir", (tmp_path / "new", number), {}),
        ("makedirs", (tmp_path / "new", number), {}),
        ("access", (path, number), {}),
        ("chown", (path, number, -1), {}),
        ("chown", (path, -1, number), {}),
        ("truncate", (path, number), {}),
        ("stat", ("file",), {"dir_fd": number}),
        ("unlink", ("file",), {"dir_fd": number}),
        ("rename", ("file", "new"), {"src_dir_fd": number}),
        ("link", ("file", "new"), {"dst_dir_fd": number}),
        ("symlink", ("file", "new"), {"dir_fd": number}),
    ]

    async def use() -> None:
        for name, arguments, options in calls:
            wanted = outcome(partial(getattr(os, name), *arguments, **options))
            if not isinstance(wanted, tuple) or wanted[0] not in (TypeError, OverflowError):
                continue
            before = os.stat(path)
            got = await awaited_outcome(partial(getattr(fs, name), *arguments, **options))
            assert got[0] is wanted[0], name
            assert os.stat(path) == before, name

    run(use)


def test_chmod_of_what_may_be_a_link(folder: Path) -> None:
    """Many descriptors are open: none of their files gets the mode."""
    populate(folder)
    before = (folder / "empty").stat().st_mode
    others = [os.open(folder / "empty", os.O_RDONLY) for _ in range(20)]

    async def use() -> None:
        directory = os.open(folder, os.O_RDONLY)
        wanted = {"file": type(None), "missing": FileNotFoundError}
        for name in ("file", "link", "broken", "missing"):
            of_directory: dict[str, Any] = {"dir_fd": directory}
            for options in ({}, of_directory):
                path = name if options else str(folder / name)
                os.chmod(folder / "file", 0o600)
                call = partial(fs.chmod, path, 0o640, follow_symlinks=False, **options)
                got = await awaited_outcome(call)
                if name in wanted:
                    assert (type(None) if got is None else got[0]) is wanted[name]
                else:
                    changing = partial(os.chmod, path, 0o640, follow_symlinks=False, **options)
                    assert got[0] is outcome(changing)[0]
                assert stat.S_IMODE((folder / "file").stat().st_mode) == (
                    0o640 if name == "file" else 0o600
                )
        os.close(directory)

    run(use)
    assert (folder / "empty").stat().st_mode == before
    for other in others:
        os.close(other)


def test_a_directory_that_is_not_looked_at(folder: Path) -> None:
    """The descriptor of a directory does not matter to an absolute path, whatever it is."""
    populate(folder)

    async def use() -> None:
        for wrong in (-1, 9999):
            assert await fs.stat(folder / "file", dir_fd=wrong) == os.stat(folder / "file")
            await fs.rename(folder / "file", folder / "new", src_dir_fd=wrong, dst_dir_fd=wrong)
            await fs.link(folder / "new", folder / "file", src_dir_fd=wrong, dst_dir_fd=wrong)
            await fs.unlink(folder / "new", dir_fd=wrong)
            assert await fs.access("file", os.R_OK, dir_fd=wrong) is False
            for name in ("file", ""):
                got = await awaited_outcome(partial(fs.unlink, name, dir_fd=wrong))
                assert got == outcome(partial(os.unlink, name, dir_fd=wrong))

    run(use)


def test_what_a_closed_context_knows(folder: Path) -> None:
    questions = (fs.exists, fs.lexists, fs.isfile, fs.isdir, fs.islink, fs.ismount)

    async def use() -> None:
        async with AIOContext() as context:
            assert await fs.exists(folder, context=context)
        for question in questions:
            with pytest.raises(ValueError, match="closed"):
                await question(folder, context=context)

    run(use)


@pytest.mark.parametrize("offset", [-1, -5, 1 << 70, "a", 1.5])
def test_sendfile_from_nowhere(tmp_path: Path, offset: Any) -> None:
    (tmp_path / "file").write_bytes(b"contents")
    source = os.open(tmp_path / "file", os.O_RDONLY)
    target = os.open(tmp_path / "target", os.O_WRONLY | os.O_CREAT)
    with pytest.raises((OSError, OverflowError, TypeError)) as wanted:
        os.sendfile(target, source, offset, 5)

    async def use() -> None:
        with pytest.raises(wanted.type) as got:
            await fs.sendfile(target, source, offset, 5)
        assert getattr(got.value, "errno", None) == getattr(wanted.value, "errno", None)

    run(use)
    assert (tmp_path / "target").read_bytes() == b""
    os.close(source)
    os.close(target)


def test_move_of_a_link_to_the_directory_that_it_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    populate(tmp_path / "ours")
    populate(tmp_path / "theirs")
    monkeypatch.chdir(tmp_path / "theirs")
    wanted = outcome(lambda: shutil.move("to-sub", "sub"))
    monkeypatch.chdir(tmp_path / "ours")

    async def use() -> Any:
        return await awaited_outcome(lambda: fs.move("to-sub", "sub"))

    assert run(use) == wanted
    assert picture(tmp_path / "ours") == picture(tmp_path / "theirs")


@pytest.mark.parametrize("which", ["times", "ns"])
@pytest.mark.parametrize(
    "value",
    [Decimal("1.5"), Decimal(1), Fraction(3, 2), 1.5, math.nan, math.inf, 1 << 70, "1", None, True],
    ids=repr,
)
def test_times_that_are_none(tmp_path: Path, which: str, value: Any) -> None:
    path = tmp_path / "file"
    path.touch()
    options: dict[str, Any] = {which: (value, 1)}
    wanted = outcome(partial(os.utime, path, **options))
    got = run(partial(awaited_outcome, partial(fs.utime, path, **options)))
    assert (got and got[0]) == (wanted and wanted[0])


@pytest.mark.parametrize("times", [(-1e-20, -1e-20), (-1e-10, -0.1), (1e9 + 0.7, -1.5)])
def test_times_before_1970(tmp_path: Path, times: tuple[float, float]) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.touch()
    theirs.touch()
    os.utime(theirs, times)
    run(lambda: fs.utime(ours, times))
    assert (ours.stat().st_atime_ns, ours.stat().st_mtime_ns) == (
        theirs.stat().st_atime_ns,
        theirs.stat().st_mtime_ns,
    )


# --- descriptors of the program's


def test_scandir_of_a_descriptor_that_ends_early(full_folder: Path) -> None:
    """The descriptor stands at its beginning again, as os.scandir leaves it."""

    async def use() -> None:
        fd = os.open(full_folder, os.O_RDONLY)
        async with fs.scandir(fd) as entries:
            async for _ in entries:
                break
        assert len(os.listdir(fd)) == 2500
        first, second = fs.scandir(fd), fs.scandir(fd)
        await anext(first)
        assert len([entry async for entry in second]) == 2500
        assert len([entry async for entry in first]) == 2499
        assert len(await fs.listdir(fd)) == 2500
        os.close(fd)

    run(use)


def test_a_directory_that_was_removed_has_no_entries(folder: Path, tmp_path: Path) -> None:
    """Also one that is removed between two steps of a scan: os.scandir ends there."""
    full_folder = tmp_path / "full"
    full_folder.mkdir()
    for number in range(2500):
        (full_folder / f"file{number}").touch()

    async def use() -> None:
        (folder / "empty").mkdir()
        fd = os.open(folder / "empty", os.O_RDONLY)
        (folder / "empty").rmdir()
        assert os.listdir(fd) == await fs.listdir(fd) == []
        assert [entry async for entry in fs.scandir(fd)] == []
        os.close(fd)
        entries = fs.scandir(full_folder)
        found = [(await anext(entries)).name]
        shutil.rmtree(full_folder)
        found += [entry.name async for entry in entries]
        assert 1000 <= len(found) < 2500

    run(use)


def test_sendfile_to_peers_that_do_not_read(tmp_path: Path) -> None:
    """It sends what they take at once, so that no thread waits for them, however many they are."""
    import socket

    (tmp_path / "file").write_bytes(b"x" * (1 << 20))
    pairs = [socket.socketpair() for _ in range(40)]
    pipes = [os.pipe() for _ in range(4)]

    async def use() -> None:
        file = os.open(tmp_path / "file", os.O_RDONLY)
        sent: list[int] = []

        async def send(out: int) -> None:
            sent.append(await fs.sendfile(out, file, 0, 1 << 20))

        async with loops.current.group() as group:
            for ours, _ in pairs:
                group.start(partial(send, ours.fileno()))
            for _, writing in pipes:
                group.start(partial(send, writing))
        assert len(sent) == 44
        assert all(0 < count < 1 << 20 for count in sent)
        os.lseek(file, 100, os.SEEK_SET)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            count = await fs.sendfile(ours.fileno(), file, None, 1 << 20)
            assert os.lseek(file, 0, os.SEEK_CUR) == 100 + count
        os.close(file)

    run(use)
    for ours, theirs in pairs:
        ours.close()
        theirs.close()
    for ends in pipes:
        for fd in ends:
            os.close(fd)
