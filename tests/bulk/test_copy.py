# SPDX-License-Identifier: Apache-2.0
"""copy and acopy: the bytes, the holes, the metadata, and that a target is whole or untouched."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import pytest

import linux_aio
from linux_aio import _core
from linux_aio.bulk import acopy, checksum, copy, load_into
from support.direct import direct_reason
from support.files import let_others_pass
from support.forked import give_up_root, in_child
from support.fusefs import fs_available, mounted
from support.loops import LOOP_FACTORIES, LoopFactory, run
from support.mount_calls import detach, mount
from support.mounts import (
    SMALLEST_MIB,
    loop_mount,
    loop_mount_reason,
    overlay_mount,
    overlay_mount_reason,
    tmpfs_mount,
    tmpfs_mount_reason,
)
from support.programs import start_program

MIB = 1 << 20
DATA = random.Random(4).randbytes(9 * MIB)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, MIB - 1, MIB, MIB + 1, 8 * MIB + 77])
@pytest.mark.parametrize("direct", ["auto", True, False])
@pytest.mark.parametrize("durable", [True, False])
def test_bytes_mode_and_times(
    size: int, direct: Literal["auto"] | bool, durable: bool, tmp_path: Path
) -> None:
    if direct is True and (reason := direct_reason(tmp_path)):
        pytest.skip(reason)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(DATA[:size])
    source.chmod(0o640)
    os.utime(source, (1_000_000_000, 1_500_000_000))
    for verify in (None, "sha256"):
        transfer = copy(source, target, direct=direct, durable=durable, verify=verify)
        assert transfer.nbytes == size
        assert target.read_bytes() == DATA[:size]
        assert target.stat().st_mode == source.stat().st_mode
        assert target.stat().st_mtime == 1_500_000_000
    assert sorted(os.listdir(tmp_path)) == ["source", "target"]


@pytest.mark.needs_root
@pytest.mark.parametrize("fstype", ["ext4", "xfs", "btrfs", "tmpfs"])
def test_file_systems(fstype: str, tmp_path: Path) -> None:
    reason = tmpfs_mount_reason() if fstype == "tmpfs" else loop_mount_reason(fstype)
    if reason is not None:
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:
        if fstype == "tmpfs":
            folder = stack.enter_context(tmpfs_mount(tmp_path / "mnt", 65536))
        else:
            mount = loop_mount(tmp_path, fstype, max(SMALLEST_MIB[fstype], 64))
            folder = stack.enter_context(mount)
        (folder / "source").write_bytes(DATA)
        transfer = copy(folder / "source", folder / "target", verify="sha256")
        assert (folder / "target").read_bytes() == DATA
        if fstype == "btrfs":
            assert transfer.engine == "reflink"
        copy(folder / "source", tmp_path / "out")  # to another file system
        assert (tmp_path / "out").read_bytes() == DATA


@pytest.mark.needs_root
def test_verified_on_an_overlay_without_direct_io(tmp_path: Path) -> None:
    if reason := overlay_mount_reason():
        pytest.skip(reason)
    mount("none", tmp_path, "ramfs", 0, "")
    try:
        with overlay_mount(tmp_path) as (_, merged):
            (merged / "source").write_bytes(DATA)
            copy(merged / "source", merged / "target", verify="sha256")
            assert (merged / "target").read_bytes() == DATA
    finally:
        detach(tmp_path)


def test_holes_stay_holes(tmp_path: Path) -> None:
    """A file of 100 GiB, of which nearly nothing is there."""
    source, target = tmp_path / "source", tmp_path / "target"
    size = 100 << 30
    with source.open("wb") as file:
        file.truncate(size)
        for offset, mark in ((0, b"start"), (50 << 30, b"x" * 5000), (size - 3, b"end")):
            file.seek(offset)
            file.write(mark)
    copy(source, target)
    assert target.stat().st_size == size
    assert target.stat().st_blocks * 512 < 10 * MIB
    with target.open("rb") as file:
        for offset, mark in (
            (0, b"start\0"),
            (50 << 30, b"x" * 5000 + b"\0"),
            (size - 4, b"\0end"),
        ):
            file.seek(offset)
            assert file.read(len(mark)) == mark


@pytest.mark.needs_root
@pytest.mark.parametrize("fstype", ["ext4", "tmpfs"])
@pytest.mark.parametrize("end", [b"", b"end"])
def test_holes_stay_holes_where_the_file_system_copies(
    end: bytes, fstype: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reason = tmpfs_mount_reason() if fstype == "tmpfs" else loop_mount_reason(fstype)
    if reason is not None:
        pytest.skip(reason)
    monkeypatch.setattr(_core, "_bulk_copies_itself", lambda _: True)
    size = 40 * MIB + 77
    with contextlib.ExitStack() as stack:
        if fstype == "tmpfs":
            folder = stack.enter_context(tmpfs_mount(tmp_path / "mnt", 65536))
        else:
            folder = stack.enter_context(loop_mount(tmp_path, fstype, 64))
        source, target = folder / "source", folder / "target"
        with source.open("wb") as file:
            for offset, data in ((0, b"start"), (20 * MIB - 1, b"x" * 50), (30 * MIB, DATA[:MIB])):
                file.seek(offset)
                file.write(data)
            file.truncate(size - len(end))
            file.seek(0, os.SEEK_END)
            file.write(end)
        transfer = copy(source, target)
        assert (transfer.engine, transfer.nbytes) == ("copy_file_range", size)
        assert target.read_bytes() == source.read_bytes()
        assert target.stat().st_blocks <= source.stat().st_blocks + 64


def test_a_file_system_that_copies_and_tells_no_holes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seek = os.lseek

    def seek_no_data(fd: int, position: int, whence: int) -> int:
        if whence == os.SEEK_DATA:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return seek(fd, position, whence)

    monkeypatch.setattr(os, "lseek", seek_no_data)
    monkeypatch.setattr(_core, "_bulk_copies_itself", lambda _: True)
    (tmp_path / "source").write_bytes(DATA)
    assert copy(tmp_path / "source", tmp_path / "target").engine == "copy_file_range"
    assert (tmp_path / "target").read_bytes() == DATA


def test_where_the_copy_goes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"new")
    folder = tmp_path / "folder"
    folder.mkdir()
    copy(source, folder)
    assert (folder / "source").read_bytes() == b"new"
    old = tmp_path / "old"
    old.write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to(old)
    copy(source, link)
    assert link.is_symlink()
    assert old.read_bytes() == b"new"


def test_what_can_not_be_copied(tmp_path: Path) -> None:
    source, other = tmp_path / "source", tmp_path / "other"
    source.write_bytes(b"data")
    other.hardlink_to(source)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for same in (source, other):
        with pytest.raises(shutil.SameFileError):
            copy(source, same)
    for special in (Path("/dev/null"), fifo):
        with pytest.raises(shutil.SpecialFileError):
            copy(source, special)
        with pytest.raises(shutil.SpecialFileError):
            copy(special, tmp_path / "new")
    with pytest.raises(IsADirectoryError):
        copy(tmp_path, tmp_path / "new")
    with pytest.raises(FileNotFoundError):
        copy(tmp_path / "missing", tmp_path / "new")
    with pytest.raises(FileNotFoundError):
        copy(source, tmp_path / "missing" / "new")
    with pytest.raises(ValueError, match="nonsense"):
        copy(source, tmp_path / "new", verify="nonsense")
    assert not (tmp_path / "new").exists()
    assert source.read_bytes() == b"data"


@pytest.mark.needs_root
@pytest.mark.skipif(tmpfs_mount_reason() is not None, reason="no tmpfs can be mounted")
def test_a_full_disk(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA)
    with tmpfs_mount(tmp_path / "mnt", 2048) as folder:
        target = folder / "target"
        target.write_bytes(b"old")
        with pytest.raises(OSError, match="space") as full:
            copy(source, target)
        assert full.value.errno == errno.ENOSPC
        assert target.read_bytes() == b"old"
        assert os.listdir(folder) == ["target"]


@pytest.mark.skipif(fs_available() is not None, reason=fs_available() or "there is FUSE")
def test_an_error_of_the_source(tmp_path: Path) -> None:
    with mounted(tmp_path) as fs:
        fs.create("data", DATA[:MIB])
        fs.fail(errno.EIO, kinds=["read"])
        target = tmp_path / "target"
        target.write_bytes(b"old")
        with pytest.raises(OSError, match="Input/output") as failed:
            copy(fs.path("data"), target)
        assert failed.value.errno == errno.EIO
        assert target.read_bytes() == b"old"
        fs.reset()
        copy(fs.path("data"), target)
        assert target.read_bytes() == DATA[:MIB]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_at_random_moments(number: signal.Signals, tmp_path: Path) -> None:
    """The target has the old contents or the new; an interrupt leaves nothing else."""
    source, folder = tmp_path / "source", tmp_path / "folder"
    folder.mkdir()
    target = folder / "target"
    source.write_bytes(DATA)
    digests = {hashlib.sha256(data).hexdigest() for data in (b"old", DATA)}
    dice = random.Random(number)
    for _ in range(6):
        target.write_bytes(b"old")
        program = start_program(
            "import sys; from linux_aio.bulk import copy; copy(sys.argv[1], sys.argv[2])",
            source,
            target,
        )
        time.sleep(0.05 + dice.random() * 0.2)
        program.send_signal(number)
        program.communicate(timeout=60)
        assert hashlib.sha256(target.read_bytes()).hexdigest() in digests
        for other in folder.iterdir():
            if other != target:  # killed between the link and the rename
                assert number == signal.SIGTERM
                assert other.read_bytes() == DATA
                other.unlink()


@pytest.mark.parametrize("factory", LOOP_FACTORIES)
def test_awaited(factory: LoopFactory, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA)

    async def main() -> None:
        targets = [tmp_path / f"target {i}" for i in range(3)]
        await asyncio.gather(*(acopy(source, target) for target in targets))
        for target in targets:
            assert target.read_bytes() == DATA

    run(main(), factory)


def test_cancelled(tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "folder"
    folder.mkdir()
    source.write_bytes(DATA)
    target = folder / "target"
    target.write_bytes(b"old")

    async def main() -> None:
        dice = random.Random(1)
        for _ in range(10):
            task = asyncio.create_task(acopy(source, target))
            await asyncio.sleep(dice.random() * 0.03)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert target.read_bytes() in (b"old", DATA)
            assert os.listdir(folder) == ["target"]

    run(main())


@pytest.mark.needs_root
def test_a_target_that_may_not_be_written(tmp_path: Path) -> None:
    """The folder would allow to replace it."""
    source = tmp_path / "source"
    source.write_bytes(b"new")
    target = tmp_path / "target"
    target.write_bytes(b"old")
    target.chmod(0o644)
    tmp_path.chmod(0o777)

    def copy_as_nobody() -> int | None:
        os.setresuid(-1, 65534, -1)
        try:
            os.chdir(tmp_path_fd)
            copy("source", "target")
        except PermissionError as error:
            return error.errno
        return None

    tmp_path_fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert in_child(copy_as_nobody) == errno.EACCES
    finally:
        os.close(tmp_path_fd)
    assert target.read_bytes() == b"old"


FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
FS_IMMUTABLE_FL = 0x10
FS_APPEND_FL = 0x20
MS_RDONLY = 1
MS_REMOUNT = 32


@contextlib.contextmanager
def flagged(path: Path, flag: int) -> Iterator[None]:
    """Give the file one of the flags of chattr(1)."""
    fd = os.open(path, os.O_RDONLY)
    try:
        before = fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(struct.calcsize("l")))
        (others,) = struct.unpack("l", before)
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("l", others | flag))
    except OSError as error:
        os.close(fd)
        pytest.skip(f"no flags for files here: {error}")
    try:
        yield
    finally:
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, before)
        os.close(fd)


@contextlib.contextmanager
def unwritable(folder: Path, kind: str) -> Iterator[Path]:
    """Give a path that open(2) refuses to write to."""
    path = folder / "target"
    path.write_bytes(b"old")
    if kind == "folder":
        yield folder
    elif kind == "append-only":
        with flagged(path, FS_APPEND_FL):
            yield path
    elif kind == "immutable":
        with flagged(path, FS_IMMUTABLE_FL):
            yield path
    else:
        if (reason := tmpfs_mount_reason()) is not None:
            pytest.skip(reason)
        with tmpfs_mount(folder / "tmpfs", 64) as mounted_there:
            path = mounted_there / "target"
            path.write_bytes(b"old")
            mount("tmpfs", mounted_there, "tmpfs", MS_REMOUNT | MS_RDONLY)
            yield path


def errno_of(call: Callable[[], object]) -> int:
    try:
        call()
    except OSError as error:
        return error.errno or 0
    raise AssertionError("it is done")


def save(target: Path) -> None:
    pytest.importorskip("linux_aio.numpy").save(target, [1, 2])


def write_whole(target: Path) -> None:
    run(linux_aio.write_bytes(target, b"new", atomic=True))


@pytest.mark.parametrize("kind", ["append-only", "folder", "immutable", "on a read-only disk"])
@pytest.mark.parametrize("call", [None, save, write_whole])
def test_what_open_refuses_to_write_to(
    tmp_path: Path, kind: str, call: Callable[[Path], None] | None
) -> None:
    """The errno is open()'s, and the file stays as it is."""
    (tmp_path / "source").write_bytes(b"new")

    def replace(target: Path) -> None:
        if call is not None:
            call(target)
        else:
            copy(tmp_path / "source", target)

    with unwritable(tmp_path, kind) as target:
        wanted = errno_of(lambda: os.open(target, os.O_WRONLY))
        if call is None and kind == "folder":
            target = tmp_path / "folder"  # into which it copies
            (target / "source").mkdir(parents=True)
        assert errno_of(lambda: replace(target)) == wanted
        if target.is_file():
            assert target.read_bytes() == b"old"
        assert not [name for name in os.listdir(target.parent) if "tmp" in name and name[0] == "."]


def test_a_running_program_is_replaced(tmp_path: Path) -> None:
    """open() refuses to write to its file; it keeps the old one."""
    program, source = tmp_path / "program", tmp_path / "source"
    shutil.copy(shutil.which("sleep") or "", program)
    source.write_bytes(b"new")
    with subprocess.Popen([program, "100"]) as process:
        try:
            assert errno_of(lambda: os.open(program, os.O_WRONLY)) == errno.ETXTBSY
            copy(source, program)
            assert program.read_bytes() == b"new"
            assert process.poll() is None
        finally:
            process.kill()


def test_a_name_that_is_long_in_bytes(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"data")
    copy(tmp_path / "source", tmp_path / ("\u3042" * 80))
    assert (tmp_path / ("\u3042" * 80)).read_bytes() == b"data"


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"data")
    with pytest.raises(FileNotFoundError) as caught:
        copy(tmp_path / "source", tmp_path / "missing" / "target")
    assert ".tmp" not in str(caught.value)


@pytest.mark.parametrize("durable", [True, False])
def test_into_a_folder_that_may_not_be_read(tmp_path: Path, durable: bool) -> None:
    """As `cp` does: to make a file asks for the rights to write and to search."""
    let_others_pass(tmp_path)
    tmp_path.chmod(0o755)
    folder = tmp_path / "folder"
    folder.mkdir()
    source = tmp_path / "source"
    source.write_bytes(DATA[:100])
    (folder / "old").write_bytes(b"old")
    if os.getuid() == 0:
        for path in (folder, source, folder / "old"):
            os.chown(path, 65534, 65534)
    folder.chmod(0o333)

    def copy_there() -> None:
        give_up_root()
        with pytest.raises(PermissionError):
            os.listdir(folder)
        for name in ("new", "old", ""):
            copy(source, folder / name, durable=durable)

    in_child(copy_there)
    folder.chmod(0o777)
    assert sorted(os.listdir(folder)) == ["new", "old", "source"]
    assert {path.read_bytes() for path in folder.iterdir()} == {DATA[:100]}


@pytest.mark.parametrize(
    "target", ["new/", "new//", "file/", "missing/new/", "new/.", "file/.", "new/..", "link/"]
)
def test_names_that_only_a_folder_may_have(tmp_path: Path, target: str) -> None:
    (tmp_path / "source").write_bytes(b"data")
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("nowhere")
    path = f"{tmp_path}/{target}"
    with pytest.raises(OSError, match=re.escape(path)) as wanted:
        shutil.copyfile(tmp_path / "source", path)
    with pytest.raises(type(wanted.value), match=re.escape(repr(path))):
        copy(tmp_path / "source", path)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["file", "link", "source"]


def test_to_no_name(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"data")
    with pytest.raises(FileNotFoundError) as caught:
        copy(tmp_path / "source", "")
    assert caught.value.filename == ""


def test_a_folder_with_a_slash_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"data")
    (tmp_path / "folder").mkdir()
    copy(tmp_path / "source", f"{tmp_path}/folder/")
    assert (tmp_path / "folder" / "source").read_bytes() == b"data"
    with pytest.raises(NotADirectoryError):
        copy(f"{tmp_path}/source/", tmp_path / "new")


@pytest.mark.parametrize("call", [checksum, partial(load_into, segments=[(0, bytearray(10))])])
def test_an_error_of_direct_io_names_the_file(call: Callable[..., object], tmp_path: Path) -> None:
    path = Path("/proc/version")
    for file in (path, str(path), os.fsencode(path)):
        with pytest.raises(OSError, match="version") as caught:
            call(file, direct=True)
        assert os.fsdecode(caught.value.filename) == str(path)
    with pytest.raises(OSError, match="version"):
        copy(path, tmp_path / "copy", direct=True)
    with path.open("rb") as opened:
        with pytest.raises(OSError, match="version"):
            call(opened, direct=True)
        number = opened.fileno()
        with pytest.raises(OSError, match=f"fd {number}"):
            call(number, direct=True)
