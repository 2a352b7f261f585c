# SPDX-License-Identifier: Apache-2.0
"""A program that restricts itself after our threads have started gets what os.open() gives."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from linux_aio import AIOContext, fs
from linux_aio import open as aio_open
from support import seccomp
from support.files import let_others_pass
from support.forked import in_child
from support.mount_calls import MS_PRIVATE, MS_REC, mount

pytestmark = pytest.mark.needs_root

CLONE_FS = 0x200
CLONE_NEWNS = 0x20000
NOBODY = 65534
_libc = ctypes.CDLL(None, use_errno=True)


def _check(status: int) -> None:
    if status != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def unshare(what: int) -> None:
    """Of this thread alone, unlike what the C library does for setuid(2)."""
    _check(_libc.unshare(what))


def become_nobody(_: Path) -> None:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def become_nobody_on_files(_: Path) -> None:
    _libc.setfsuid(NOBODY)


def have_a_group_less(_: Path) -> None:
    os.setgroups([])


def change_the_root(folder: Path) -> None:
    os.chroot(folder / "root")
    os.chdir("/")


def have_another_root_alone(folder: Path) -> None:
    unshare(CLONE_FS)
    change_the_root(folder)


def go_elsewhere_alone(folder: Path) -> None:
    unshare(CLONE_FS)
    os.chdir(folder / "root")


def mount_over_it(folder: Path) -> None:
    unshare(CLONE_NEWNS)
    mount("none", Path("/"), "", MS_REC | MS_PRIVATE)
    mount("none", folder / "public", "tmpfs")


def have_calls_refused(_: Path) -> None:
    seccomp.refuse(["openat", "openat2"], errno.EACCES)


def enter_a_landlock(folder: Path) -> None:
    """Files below the folder `root` can be opened, and no others."""
    create, add, restrict = 444, 445, 446
    handled = ctypes.c_uint64(1 << 2)  # LANDLOCK_ACCESS_FS_READ_FILE
    rules = _libc.syscall(create, ctypes.byref(handled), ctypes.c_size_t(8), 0)
    if rules < 0:
        raise NotImplementedError
    below = os.open(folder / "root", os.O_PATH)
    rule = (ctypes.c_char * 12).from_buffer_copy(
        (1 << 2).to_bytes(8, "little") + below.to_bytes(4, "little")
    )
    _check(_libc.syscall(add, rules, 1, rule, 0))
    _check(_libc.prctl(38, *(ctypes.c_ulong(value) for value in (1, 0, 0, 0))))
    _check(_libc.syscall(restrict, rules, 0))


RESTRICTIONS = [
    become_nobody,
    become_nobody_on_files,
    have_a_group_less,
    change_the_root,
    have_another_root_alone,
    go_elsewhere_alone,
    mount_over_it,
    have_calls_refused,
    enter_a_landlock,
]


def make_tree(folder: Path) -> list[Path]:
    """Files of which a restriction opens others, or none."""
    folder.chmod(0o755)
    for name in ("public", "root", f"root{folder}", f"root{folder}/public"):
        (folder / name.lstrip("/")).mkdir(parents=True, exist_ok=True)
    secret = folder / "public" / "secret"
    groups = folder / "public" / "groups"
    files = [folder / "public" / "open", secret, groups, folder / "root" / "own"]
    others = [Path(f"{folder}/root{path}") for path in files[:1]]
    for path in files + others:
        path.write_bytes(bytes(path))
    secret.chmod(0o600)
    os.chown(groups, NOBODY, 12345)
    groups.chmod(0o040)
    return [*files, Path("own"), Path("/own"), Path("/etc/shadow"), Path("absent")]


Outcome = bytes | int | None  # of opening and reading a file: its contents or an errno


def read(path: Path) -> Outcome:
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError as error:
        return error.errno
    try:
        return os.read(fd, 1000)
    finally:
        os.close(fd)


async def read_ours(path: Path, context: AIOContext) -> Outcome:
    try:
        async with aio_open(path, "rb", buffering=0, context=context) as file:
            return await file.read(1000)
    except OSError as error:
        return error.errno


@pytest.mark.parametrize("restrict", RESTRICTIONS, ids=lambda function: function.__name__)
def test_paths_after_a_restriction(restrict: Callable[[Path], None], tmp_path: Path) -> None:
    if restrict is have_calls_refused and seccomp.reason_unavailable():
        pytest.skip(str(seccomp.reason_unavailable()))
    let_others_pass(tmp_path)
    paths = make_tree(tmp_path)

    async def compare() -> tuple[list[Outcome], list[Outcome]] | None:
        os.setgroups([12345])
        async with AIOContext(8) as ctx:
            for path in paths:  # our threads are there
                await read_ours(path, ctx)
            try:
                restrict(tmp_path)
            except NotImplementedError:
                return None
            return [read(path) for path in paths], [await read_ours(path, ctx) for path in paths]

    result = in_child(lambda: asyncio.run(compare()))
    if result is None:
        pytest.skip("no Landlock in this kernel")
    expected, found = result
    assert found == expected
    assert len({*map(str, expected)}) > 1 or restrict is have_calls_refused


def test_paths_with_very_many_groups(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    let_others_pass(tmp_path)

    async def look() -> tuple[Outcome, bool]:
        os.setgroups(range(1000, 1300))
        async with AIOContext(8) as context:
            return await read_ours(tmp_path / "file", context), await fs.exists(tmp_path)

    assert in_child(lambda: asyncio.run(look())) == (b"data", True)
