# SPDX-License-Identifier: Apache-2.0
"""Trees that linux_aio.fs moves to another file system, and removes: special files, deep ones."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import shutil
import socket
import stat
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from linux_aio import fs
from support import any_loop as loops
from support.forked import give_up_root, in_child
from support.mount_calls import MS_PRIVATE, MS_REC, mount
from support.mounts import loop_mount, loop_mount_reason, tmpfs_mount_reason
from support.outcomes import awaited_outcome, outcome

pytest_plugins = ["support.fixtures"]

CLONE_NEWNS = 0x20000

pytestmark = pytest.mark.usefixtures("any_loop")


def run(use: Callable[[], Any]) -> Any:
    return loops.current.run(use)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder of another file system."""
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("no /dev/shm")
    if os.stat("/dev/shm").st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is no other file system")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


def set_attribute(path: Path, name: str, value: bytes) -> None:
    """Where the file system and the user may have it."""
    with contextlib.suppress(OSError):
        os.setxattr(path, name, value, follow_symlinks=False)


def populate(tree: Path) -> None:
    (tree / "sub" / "deep").mkdir(parents=True)
    (tree / "file").write_bytes(b"contents" * 10_000)
    (tree / "sub" / "plain").write_bytes(b"x")
    (tree / "link").symlink_to("file")
    (tree / "broken").symlink_to("nowhere")
    set_attribute(tree / "file", "user.one", b"1")
    set_attribute(tree / "sub", "user.two", b"\0\xff")
    set_attribute(tree / "link", "trusted.three", b"3")
    set_attribute(tree, "user.top", b"")
    (tree / "file").chmod(0o604)
    (tree / "sub").chmod(0o2750)
    for number, name in enumerate(("file", "link", "broken", "sub", "sub/deep", "sub/plain", ".")):
        times = (10**9 * (number + 1), 10**9 * number + 5)
        os.utime(tree / name, ns=times, follow_symlinks=False)


def picture(top: Path) -> dict[str, Any]:
    """All that a copy has to have; not the times of the directory that things were moved to."""
    found = {}
    for folder, directories, files in os.walk(top):
        for name in directories + files:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            attributes = {
                key: os.getxattr(path, key, follow_symlinks=False)
                for key in os.listxattr(path, follow_symlinks=False)
            }
            times = status.st_mtime_ns if status.st_mtime < 10**8 * 11 else None
            link = os.readlink(path) if stat.S_ISLNK(status.st_mode) else None
            found[os.path.relpath(path, top)] = (status.st_mode, times, attributes, link)
    return found


def add_special(tree: Path, kind: str) -> None:
    path = tree / "sub" / "special"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        here = os.open(".", os.O_RDONLY)
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("special")
        os.fchdir(here)
        os.close(here)
    elif kind == "unreadable":
        path.write_bytes(b"x")
        path.chmod(0)
    elif kind == "device":
        try:
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("needs root")


@pytest.mark.parametrize("kind", ["none", "pipe", "socket", "device", "unreadable"])
@pytest.mark.parametrize("target", ["new", "there", "a/b/new", "file"])
@pytest.mark.parametrize("moved", ["", "sub/special", "link", "broken", "file", "missing"])
def test_moving_as_shutil_does(
    tmp_path: Path, elsewhere: Path, kind: str, target: str, moved: str
) -> None:
    results = []
    for name in ("ours", "theirs"):
        tree, other = tmp_path / name / "tree", elsewhere / name
        populate(tree)
        add_special(tree, kind)
        (other / "there").mkdir(parents=True)
        (other / "file").write_bytes(b"old")
        source, goal = str(tree / moved), str(other / target)
        if name == "ours":
            result = run(partial(awaited_outcome, partial(fs.move, source, goal)))
        else:
            result = outcome(partial(shutil.move, source, goal))
        text = repr(result).replace(f"/{name}", "/")
        results.append((text, picture(other), picture(tmp_path / name)))
    assert results[0] == results[1]


def test_a_directory_is_not_moved_into_itself(tmp_path: Path) -> None:
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    for target in ("tree/sub", "tree/new", "tree"):
        paths = (str(tmp_path / "tree"), str(tmp_path / target))
        got = run(partial(awaited_outcome, partial(fs.move, *paths)))
        assert got == outcome(partial(shutil.move, *paths)), target


def test_the_programs_own_copy_function(tmp_path: Path, elsewhere: Path) -> None:
    tree = tmp_path / "tree"
    populate(tree)
    copied = []

    async def copy(source: str, target: str) -> None:
        copied.append(source.removeprefix(f"{tree}/"))
        if source.endswith("plain"):
            raise OSError(5, "as the test wants it")
        await fs.copyfile(source, target)

    with pytest.raises(shutil.Error) as caught:
        run(partial(fs.move, str(tree), str(elsewhere / "new"), copy))
    names = (str(tree / "sub" / "plain"), str(elsewhere / "new" / "sub" / "plain"))
    assert caught.value.args[0] == [(*names, "[Errno 5] as the test wants it")]
    assert sorted(copied) == ["file", "sub/plain"]
    assert tree.exists()


DEPTH = 1200
NAME = "directory"  # in all some three times as long as a path can be


def make_deep(top: Path) -> None:
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for number in range(DEPTH):
        os.mkdir(NAME, dir_fd=here)
        if number % 200 == 0:
            os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here))
        below = os.open(NAME, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    bottom = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here)
    os.write(bottom, b"contents")
    os.close(bottom)
    os.close(here)


def depth_of(top: Path) -> tuple[int, bytes]:
    here = os.open(top, os.O_RDONLY)
    depth = 0
    while True:
        try:
            below = os.open(NAME, os.O_RDONLY, dir_fd=here)
        except FileNotFoundError:
            bottom = os.open("file", os.O_RDONLY, dir_fd=here)
            data = os.read(bottom, 100)
            os.close(bottom)
            os.close(here)
            return depth, data
        os.close(here)
        here = below
        depth += 1


@pytest.fixture
def few_files() -> Iterator[None]:
    """Fewer open files than the tree has levels."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, soft), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.long
@pytest.mark.engine_independent
@pytest.mark.without_sanitizers
@pytest.mark.usefixtures("few_files")
def test_a_deep_tree_is_moved_and_removed(tmp_path: Path, elsewhere: Path) -> None:
    make_deep(tmp_path / "deep")
    assert run(partial(fs.move, tmp_path / "deep", elsewhere)) == str(elsewhere / "deep")
    assert not (tmp_path / "deep").exists()
    assert depth_of(elsewhere / "deep") == (DEPTH, b"contents")
    run(partial(fs.rmtree, elsewhere / "deep"))
    assert os.listdir(elsewhere) == []


@pytest.mark.long
@pytest.mark.engine_independent
@pytest.mark.without_sanitizers
@pytest.mark.parametrize("topdown", [True, False])
def test_walking_a_deep_tree(tmp_path: Path, topdown: bool) -> None:
    make_deep(tmp_path / "deep")

    async def walk() -> Any:
        errors: list[OSError] = []
        tops = [top async for top, _, _ in fs.walk(tmp_path / "deep", topdown, errors.append)]
        return tops, [(error.errno, error.filename) for error in errors]

    theirs: list[OSError] = []
    tops = [top for top, _, _ in os.walk(tmp_path / "deep", True, theirs.append)]
    wanted = tops if topdown else tops[::-1]
    assert run(walk) == (wanted, [(error.errno, error.filename) for error in theirs])
    run(partial(fs.rmtree, tmp_path / "deep"))


@pytest.mark.long
@pytest.mark.engine_independent
@pytest.mark.without_sanitizers
def test_making_deep_directories(tmp_path: Path) -> None:
    name = str(tmp_path / "new") + "/d" * 1100  # more than Python calls itself
    run(partial(fs.makedirs, name))
    assert os.path.isdir(name)
    run(partial(fs.makedirs, name, exist_ok=True))
    run(partial(fs.removedirs, name + "/"))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("is_dangling", [False, True])
def test_a_file_is_moved_through_a_link(tmp_path: Path, elsewhere: Path, is_dangling: bool) -> None:
    """Its times and mode go where its contents go: to what the link leads to."""
    source, link, target = elsewhere / "source", tmp_path / "link", tmp_path / "target"
    source.write_bytes(b"contents")
    source.chmod(0o640)
    os.utime(source, (1_000_000_000, 1_100_000_000))
    if not is_dangling:
        target.write_bytes(b"old")
    link.symlink_to(target)
    run(partial(fs.move, source, link))
    assert link.is_symlink()
    assert target.read_bytes() == b"contents"
    assert target.stat().st_mtime == 1_100_000_000
    assert target.stat().st_mode & 0o777 == 0o640
    assert not source.exists()


def test_a_directory_is_not_moved_into_itself_through_a_link(tmp_path: Path) -> None:
    """shutil.move() copies it into itself, and then removes it."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("tree")

    async def main() -> None:
        with pytest.raises(shutil.Error, match="into itself"):
            await fs.move(tree, tmp_path / "link" / "new")

    run(main)
    assert os.listdir(tree) == ["file"]


def test_a_removal_stays_in_the_directory_where_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program meanwhile goes to another, which has a directory of the same name."""
    for name in ("first", "second"):
        (tmp_path / name / "tree").mkdir(parents=True)
    for number in range(2000):
        (tmp_path / "first" / "tree" / str(number)).touch()
    monkeypatch.chdir(tmp_path / "first")

    async def main() -> None:
        async with loops.current.group() as group:
            group.start(fs.rmtree, "tree")
            while len(os.listdir(tmp_path / "first" / "tree")) == 2000:
                await loops.current.sleep(0)
            os.chdir(tmp_path / "second")

    run(main)
    assert os.listdir(tmp_path / "first") == []
    assert os.listdir(tmp_path / "second") == ["tree"]


@pytest.mark.skipif(loop_mount_reason("ext4") is not None, reason="no loop mounts")
def test_what_an_entry_is_can_not_be_told() -> None:
    """The directory does not have the types of its entries, and may not be searched."""
    with (
        tempfile.TemporaryDirectory(dir="/var/tmp") as name,
        loop_mount(Path(name), "ext4", 16, make_options=("-O", "^filetype")) as folder,
    ):
        for above in (Path(name), folder.parent, folder):
            above.chmod(0o755)
        tree = folder / "tree"
        (tree / "locked").mkdir(parents=True)
        (tree / "locked" / "file").touch()
        for path in (tree / "locked", tree):
            os.chown(path, 65534, 65534)
        (tree / "locked").chmod(0o600)
        in_child(partial(refuse_to_remove, str(tree)))


def refuse_to_remove(tree: str) -> None:
    give_up_root()

    async def main() -> None:
        await fs.rmtree(tree, ignore_errors=True)
        assert os.listdir(tree) == ["locked"]
        seen: list[Any] = []
        await fs.rmtree(tree, onexc=lambda *what: seen.append(what))
        assert [path for _, path, _ in seen] == [
            f"{tree}/locked/file",
            f"{tree}/locked",
            tree,
        ]

    run(main)


@pytest.mark.parametrize("kind", ["file", "missing", "link"])
def test_rmtree_of_no_directory_calls_the_handler_as_shutil_does(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "it"
    if kind == "file":
        path.write_bytes(b"kept")
    elif kind == "link":
        path.symlink_to(tmp_path)

    async def use() -> None:
        wanted: list[Any] = []
        seen: list[Any] = []
        shutil.rmtree(path, onerror=lambda *what: wanted.append(what))
        await fs.rmtree(path, onerror=lambda *what: seen.append(what))
        for calls in (wanted, seen):
            calls[:] = [(function, os.fspath(of), info[0]) for function, of, info in calls]
        assert seen == wanted
        await fs.rmtree(path, ignore_errors=True)

    run(use)
    assert path.is_file() == (kind == "file")


def move_without_proc(source: Path, target: Path) -> None:
    assert ctypes.CDLL(None).unshare(CLONE_NEWNS) == 0
    mount("none", Path("/"), "", MS_REC | MS_PRIVATE)
    mount("none", Path("/proc"), "tmpfs")
    run(partial(fs.move, source, target))


@pytest.mark.skipif(tmpfs_mount_reason() is not None, reason="no mounts")
def test_moving_a_tree_without_proc(tmp_path: Path, elsewhere: Path) -> None:
    """As in a chroot: the entries' attributes are not copied, all else is."""
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "file").write_bytes(b"x")
    (tree / "sub" / "file").chmod(0o604)
    in_child(partial(move_without_proc, tree, elsewhere / "new"))
    assert not tree.exists()
    moved = elsewhere / "new" / "sub" / "file"
    assert moved.read_bytes() == b"x"
    assert moved.stat().st_mode & 0o777 == 0o604


def test_what_is_kept_of_many_entries(tmp_path: Path) -> None:
    """Their names and types, not the status of each."""
    count = 4000
    for number in range(count):
        (tmp_path / f"{number:020}").touch()

    async def use() -> int:
        await fs.exists(tmp_path)  # for what is made once
        tracemalloc.start()
        try:
            await fs.rmtree(tmp_path)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # one step reads up to 1000 entries, which have room for their status
    assert run(use) < 1000 * 1000 + count * 300
