# SPDX-License-Identifier: Apache-2.0
"""Files that are made beside their target: their mode, the errors of servers, and without /proc."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linux_aio import _copying
from linux_aio.bulk import copy, copy_contents
from support.files import ACCESS_LIST, DEFAULT_LIST, access_list
from support.forked import in_child
from support.fusefs import fs_available, mounted
from support.mount_calls import MS_PRIVATE, MS_REC, detach, mount

pytestmark = pytest.mark.engine_independent

CLONE_NEWNS = 0x20000
DATA = b"new" * 1000

Make = Callable[[Path, Path], object]

needs_fuse = pytest.mark.skipif(
    fs_available() is not None, reason=fs_available() or "there is FUSE"
)


def copy_all(source: Path, target: Path) -> None:
    copy(source, target, durable=False)


def copy_only_contents(source: Path, target: Path) -> None:
    run = copy_contents(str(source), str(target), direct="auto", durable=False, exclusive=False)
    asyncio.run(run)


def save(source: Path, target: Path) -> None:
    np = pytest.importorskip("numpy")
    pytest.importorskip("linux_aio.numpy").save(target, np.zeros(100))


def write(source: Path, target: Path, mode: str = "wb") -> None:
    pytest.importorskip("fsspec")
    file_system: Any = pytest.importorskip("linux_aio.fsspec").AioFileSystem()
    with file_system.open(str(target), mode) as file:
        file.write(source.read_bytes())


def write_exclusively(source: Path, target: Path) -> None:
    write(source, target, "xb")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize("make", [copy_only_contents, save, write, write_exclusively])
def test_the_folders_default_access_list(make: Make, source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    try:
        os.setxattr(folder, DEFAULT_LIST, access_list(4242, 6))
    except OSError:
        pytest.skip("this file system has no access control lists")
    made, wanted = folder / "made", folder / "wanted"
    shutil.copyfile(source, wanted)
    make(source, made)
    assert made.stat().st_mode == wanted.stat().st_mode
    assert os.getxattr(made, ACCESS_LIST) == os.getxattr(wanted, ACCESS_LIST)


@needs_fuse
@pytest.mark.parametrize("make", [copy_only_contents, save, write, write_exclusively])
def test_the_umasks_mode_of_a_file_with_a_temporary_name(
    make: Make, source: Path, tmp_path: Path
) -> None:
    before = os.umask(0o027)
    try:
        with mounted(tmp_path) as fs:
            make(source, fs.path("made"))
            assert stat.S_IMODE(fs.path("made").stat().st_mode) == 0o640
    finally:
        os.umask(before)


@needs_fuse
def test_nobody_else_opens_what_may_be_private(tmp_path: Path) -> None:
    """A file with a temporary name, before it gets the mode of another one."""
    with mounted(tmp_path) as fs:
        for private in (True, False):
            fs.create("old", b"old")
            for target in (fs.path("new"), fs.path("old")):
                new = _copying.NewFile(os.fspath(target), private=private)
                assert new.has_name
                is_open = target.name == "new" and not private
                assert bool(os.fstat(new.fd).st_mode & 0o077) == is_open
                new.close()
        assert os.listdir(fs.mountpoint) == ["old"]


@needs_fuse
@pytest.mark.parametrize("kinds", [["flush"], ["write", "flush"]])
@pytest.mark.parametrize(
    ("make", "old"),
    [
        (write_exclusively, None),
        *((make, old) for make in (copy_all, save, write) for old in (b"old", None)),
    ],
)
def test_a_server_that_tells_at_close_that_a_write_failed(
    make: Make, old: bytes | None, kinds: list[Any], source: Path, tmp_path: Path
) -> None:
    with mounted(tmp_path, flushes=True) as fs:
        target = fs.path("target")
        if old is not None:
            fs.create("target", old)
        fs.fail(errno.EDQUOT, 1 if kinds == ["flush"] else None, kinds=kinds)
        with pytest.raises(OSError, match="quota") as caught:
            make(source, target)
        assert caught.value.errno == errno.EDQUOT
        fs.reset()
        assert os.listdir(fs.mountpoint) == ([] if old is None else ["target"])
        assert old is None or fs.contents("target") == old
        make(source, target)
        assert len(fs.contents("target")) > 100


@pytest.mark.needs_root
@pytest.mark.parametrize("make", [copy_all, copy_only_contents, save, write, write_exclusively])
def test_without_proc(make: Make, source: Path, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "old").chmod(0o640)
    make(source, tmp_path / "imports what it needs")
    source.chmod(0o604)
    os.utime(source, (1_000_000_000, 1_500_000_000))

    def make_without() -> bool:
        if ctypes.CDLL(None).unshare(CLONE_NEWNS) != 0:
            return False
        mount("none", Path("/"), "none", MS_REC | MS_PRIVATE)
        detach(Path("/proc"))
        assert not os.path.exists("/proc/self")
        make(source, tmp_path / "new")
        if make is not write_exclusively:
            make(source, tmp_path / "old")
        if make is copy_all:
            copy(source, tmp_path / "verified", verify="sha256")
        return True

    if not in_child(make_without):
        pytest.skip("mounting needs root")
    names = ["imports what it needs", "new", "old", "source"]
    assert sorted(os.listdir(tmp_path)) == names + (["verified"] if make is copy_all else [])
    assert (tmp_path / "new").stat().st_size == (tmp_path / names[0]).stat().st_size
    if make is copy_all:
        for name in ("new", "old", "verified"):
            status = (tmp_path / name).stat()
            assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o604, 1_500_000_000)
    else:
        assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o640
