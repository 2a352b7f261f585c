# SPDX-License-Identifier: Apache-2.0
"""read_bytes and its like against pathlib's: same contents, same exceptions; and no traces."""

from __future__ import annotations

import array
import asyncio
import contextlib
import errno
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import linux_aio
from linux_aio import AIOContext, _whole_files, read_bytes, read_text, write_bytes, write_text
from support.files import ACCESS_LIST, DEFAULT_LIST, access_list, let_others_pass
from support.forked import give_up_root, in_child
from support.fusefs import HoldingFS
from support.loops import LOOP_FACTORIES, LoopFactory, run, until
from support.mounts import tmpfs_mount, tmpfs_mount_reason

pytest_plugins = ["support.fixtures"]

SIZES = [0, 1, 4095, 4096, 4097, 100_000, 256 * 1024, 256 * 1024 + 1, 20_000_003]


def outcome(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except (OSError, ValueError, TypeError, LookupError) as error:
        return type(error), getattr(error, "errno", None)


async def awaited_outcome(function: Callable[[], Awaitable[Any]]) -> Any:
    try:
        return await function()
    except (OSError, ValueError, TypeError, LookupError) as error:
        return type(error), getattr(error, "errno", None)


def read_from(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def write_to(path: Any) -> int:
    return Path(path).write_bytes(b"")


def choices(*options: dict[str, bool]) -> tuple[Any, ...]:
    return options


def open_below(folder: Path) -> list[str]:
    """The files in a folder that the process has open, by our threads' tables as well."""
    names = []
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):
            for number in os.listdir(f"/proc/self/task/{thread}/fd"):
                with contextlib.suppress(OSError):
                    names.append(os.readlink(f"/proc/self/task/{thread}/fd/{number}"))
    return [name for name in names if name.startswith(f"{folder}/")]


@pytest.mark.parametrize("factory", LOOP_FACTORIES)
def test_any_size_comes_back(tmp_path: Path, factory: LoopFactory) -> None:
    async def main() -> None:
        for size in SIZES:
            data = os.urandom(size)
            for options in choices({}, {"durable": True}, {"atomic": True}):
                path = tmp_path / f"file-{size}"
                path.unlink(missing_ok=True)
                assert await write_bytes(path, data, **options) == size
                assert path.read_bytes() == data
                for _ in range(3):
                    assert await read_bytes(path) == data
        assert await read_bytes(tmp_path / "file-0") == b""

    run(main(), factory)


def test_trio(tmp_path: Path) -> None:
    trio = pytest.importorskip("trio")

    async def main() -> None:
        for size in SIZES:
            data = os.urandom(size)
            assert await write_bytes(tmp_path / "file", bytearray(data), atomic=True) == size
            assert await read_bytes(tmp_path / "file") == data
        with trio.move_on_after(0.05) as scope:
            os.mkfifo(tmp_path / "fifo")
            await read_bytes(tmp_path / "fifo")
        assert scope.cancelled_caught

    trio.run(main)


def test_direct(tmp_path: Path) -> None:
    async def main() -> None:
        for size in SIZES:
            data = os.urandom(size)
            await write_bytes(tmp_path / "file", data)
            got = await awaited_outcome(partial(read_bytes, tmp_path / "file", direct=True))
            if got == (OSError, errno.EINVAL):
                pytest.skip("no O_DIRECT here")
            assert got == data
        with pytest.raises(OSError, match="zero"):
            await read_bytes("/dev/zero", direct=True)

    run(main())


def test_a_named_context(tmp_path: Path) -> None:
    async def main() -> None:
        async with AIOContext(4) as context:
            await write_text(tmp_path / "file", "text", context=context)
            assert await read_text(tmp_path / "file", context=context) == "text"
            assert await read_bytes(tmp_path / "file", context=context) == b"text"
            assert await write_bytes(tmp_path / "file", b"b", context=context) == 1
        with pytest.raises(ValueError, match="closed"):
            await read_bytes(tmp_path / "file", context=context)

    run(main())


@pytest.mark.parametrize("path", ["/proc/self/status", "/proc/cpuinfo", "/sys/kernel/mm", "/sys"])
def test_sizes_that_lie(path: str) -> None:
    async def main() -> None:
        names = [entry.path for entry in os.scandir(path)] if path == "/sys" else [path]
        for name in names:
            got = await awaited_outcome(partial(read_bytes, name))
            wanted = outcome(Path(name).read_bytes)
            if path == "/proc/self/status":
                got, wanted = got.split(b"\n")[0], wanted.split(b"\n")[0]
            if path != "/proc/cpuinfo":
                assert got == wanted
            assert got

    run(main())


def test_wrong_paths(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_bytes(b"x")
    names: list[Any] = ["missing", "folder", "loop", "file/below", "file/", "folder/", "x" * 300]
    names += ["missing/below", "/".join(["folder", ".."] * 1000)]

    async def main() -> None:
        for name in names:
            path = os.path.join(tmp_path, name)
            assert await awaited_outcome(partial(read_bytes, path)) == outcome(
                partial(read_from, path)
            ), name
            if name == "missing":
                continue
            for atomic in (False, True):
                got = await awaited_outcome(partial(write_bytes, path, b"data", atomic=atomic))
                wanted = outcome(partial(open, path, "wb"))
                assert got == wanted, name
        wrong: list[Any] = ["", "nul\0", 1.5, None, 3, []]
        for bad in wrong:
            for atomic in (False, True):
                got = await awaited_outcome(partial(write_bytes, bad, b"", atomic=atomic))
                assert got == outcome(partial(write_to, bad)) or bad == ""
                assert isinstance(got, tuple)
            assert isinstance(await awaited_outcome(partial(read_bytes, bad)), tuple)
        with pytest.raises(FileNotFoundError) as caught:
            await read_bytes(tmp_path / "missing")
        assert caught.value.filename == str(tmp_path / "missing")
        assert os.listdir(tmp_path / "folder") == []
        assert (tmp_path / "file").read_bytes() == b"x"

    run(main())


def test_wrong_data(tmp_path: Path) -> None:
    async def main() -> None:
        for atomic in (False, True):
            bad_data: list[Any] = ["text", None, 5, memoryview(b"123456")[::2]]
            for bad in bad_data:
                with pytest.raises((TypeError, BufferError, ValueError)):
                    await write_bytes(tmp_path / "file", bad, atomic=atomic)
            with pytest.raises(TypeError):
                await write_text(tmp_path / "file", bad_data[3], atomic=atomic)
        assert os.listdir(tmp_path) == []

    run(main())


def test_buffers_of_all_kinds(tmp_path: Path) -> None:
    large = os.urandom(1_000_000)
    buffers: list[Any] = [bytearray(b"abc"), memoryview(b"abc"), array.array("I", [1, 2, 3])]
    buffers += [bytearray(large), memoryview(large), array.array("B", large)]

    async def main() -> None:
        for buffer in buffers:
            for atomic in (False, True):
                count = await write_bytes(tmp_path / "file", buffer, atomic=atomic)
                assert count == memoryview(buffer).nbytes
                assert (tmp_path / "file").read_bytes() == memoryview(buffer).cast("B")
        buffers[0].append(1)  # no export is left
        buffers[3].append(1)

    run(main())


TEXTS = ["", "plain\n", "a\r\nb\rc\n\r\n", "\r", "höhe €\n", "\ufeffmark", "x" * 300_000 + "\r\n"]


@pytest.mark.parametrize("encoding", [None, "utf-8", "latin-1", "utf-16", "utf-8-sig", "ascii"])
@pytest.mark.parametrize("errors", [None, "replace", "ignore"])
def test_texts(tmp_path: Path, encoding: str | None, errors: str | None) -> None:
    async def main() -> None:
        for text in TEXTS:
            ours, theirs = tmp_path / "ours", tmp_path / "theirs"
            got = await awaited_outcome(partial(write_text, ours, text, encoding, errors))
            assert got == outcome(partial(theirs.write_text, text, encoding, errors))
            if not isinstance(got, tuple):
                assert ours.read_bytes() == theirs.read_bytes()
            raw = text.encode("utf-8", "surrogateescape") + b"\xff\r\n"
            for data in (raw, raw[:-3], ours.read_bytes() if ours.exists() else b""):
                ours.write_bytes(data)
                got = await awaited_outcome(partial(read_text, ours, encoding, errors))
                assert got == outcome(partial(ours.read_text, encoding, errors))

    run(main())


@pytest.mark.parametrize("newline", [None, "", "\n", "\r", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig", "cp932"])
def test_line_ends(tmp_path: Path, encoding: str, newline: str | None) -> None:
    """Also of much text, which is converted in pieces."""

    async def main() -> None:
        for text in ("one\ntwo\r\nthree\r\n", "\r\n" * 524_289 + "x\n" * 600_000):
            ours, theirs = tmp_path / "ours", tmp_path / "theirs"
            assert await write_text(ours, text, encoding, newline=newline) == len(text)
            theirs.write_text(text, encoding, newline=newline)
            assert ours.read_bytes() == theirs.read_bytes()
            with theirs.open(encoding=encoding, newline=newline) as file:
                assert await read_text(ours, encoding, newline=newline) == file.read()

    run(main())


@pytest.mark.parametrize("newline", ["x", "\n\r", 5])
def test_wrong_line_ends(tmp_path: Path, newline: Any) -> None:
    path = tmp_path / "file"

    async def main() -> None:
        expected = outcome(partial(path.write_text, "text", newline=newline))
        assert await awaited_outcome(partial(write_text, path, "text", newline=newline)) == expected
        path.write_text("text")
        assert await awaited_outcome(partial(read_text, path, newline=newline)) == expected

    run(main())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "ascii", "utf-8-sig"])
def test_much_text_with_a_wrong_place(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "file"
    text = "x" * 1_500_000

    wrong = text + "\ud800"
    path.write_bytes(text.encode(encoding) + b"\xff\xd8\xff")
    with pytest.raises(UnicodeDecodeError) as not_read:
        path.read_text(encoding)
    with pytest.raises(UnicodeEncodeError) as not_written:
        (tmp_path / "other").write_text(wrong, encoding)

    async def main() -> None:
        with pytest.raises(UnicodeDecodeError) as raised:
            await read_text(path, encoding)
        assert str(raised.value) == str(not_read.value)
        with pytest.raises(UnicodeEncodeError) as caught:
            await write_text(path, wrong, encoding)
        assert str(caught.value) == str(not_written.value)

    run(main())


def test_much_text_lets_others_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is decoded and encoded: the file itself is left out."""
    text = "text \u00e9\n" * 1_000_000
    turns = 0

    async def read(*_: Any, **__: Any) -> bytes:
        return text.encode()

    async def write(_: Any, data: bytes, **__: Any) -> int:
        assert data == text.encode()
        return len(data)

    monkeypatch.setattr(_whole_files, "read_bytes", read)
    monkeypatch.setattr(_whole_files, "write_bytes", write)

    async def beat() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def main() -> None:
        beating = asyncio.ensure_future(beat())
        await asyncio.sleep(0)
        before = turns
        assert await read_text(tmp_path / "file", "utf-8") == text
        assert turns - before >= 7
        before = turns
        assert await write_text(tmp_path / "file", text, "utf-8") == len(text)
        assert turns - before >= 6
        beating.cancel()

    run(main())


def test_wrong_encodings(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    wrong: list[Any] = ["nonsense", "hex", 5]

    async def main() -> None:
        for encoding in wrong:
            for errors in (None, *wrong):
                ours = await awaited_outcome(
                    partial(read_text, tmp_path / "file", encoding, errors)
                )
                theirs = outcome(partial((tmp_path / "file").read_text, encoding, errors))
                assert ours == theirs

    run(main())


# --- atomic


def test_atomic_keeps_mode_owner_and_attributes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 1234, 2345)
        path.chmod(0o4750)
    has_attributes = True
    try:
        os.setxattr(path, "user.note", b"kept")
    except OSError:
        has_attributes = False
    before = path.stat()
    (tmp_path / "other-name").hardlink_to(path)

    async def main() -> None:
        await write_bytes(path, b"new", atomic=True)

    run(main())
    after = path.stat()
    assert path.read_bytes() == b"new"
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert after.st_ino != before.st_ino
    if has_attributes:
        assert os.getxattr(path, "user.note") == b"kept"
    assert (tmp_path / "other-name").read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["file", "other-name"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize(("old", "new"), [(0o640, 0o600), (0o674, 0o644), (0o666, 0o666)])
def test_atomic_gives_no_other_group_what_the_old_one_had(
    tmp_path: Path, old: int, new: int
) -> None:
    """The writer, who is not in the file's group, can't keep it."""
    let_others_pass(tmp_path)
    tmp_path.chmod(0o777)
    path = tmp_path / "file"
    path.write_bytes(b"old")
    os.chown(path, 65534, 12345)
    path.chmod(old)

    def replace() -> None:
        os.setgroups([])
        give_up_root()
        asyncio.run(write_bytes(path, b"new", atomic=True))

    in_child(replace)
    status = path.stat()
    assert (status.st_uid, status.st_gid) == (65534, 65534)
    assert stat.S_IMODE(status.st_mode) == new


@pytest.mark.parametrize("has_list", [False, True])
def test_atomic_keeps_the_access_list(tmp_path: Path, has_list: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o600)
    own = access_list(4242, 4)
    try:
        if has_list:
            os.setxattr(path, ACCESS_LIST, own)
        os.setxattr(tmp_path, DEFAULT_LIST, access_list(5353, 7))
    except OSError:
        pytest.skip("this file system has no access control lists")

    async def main() -> None:
        await write_bytes(path, b"new", atomic=True)

    run(main())
    assert path.read_bytes() == b"new"
    if has_list:
        assert os.getxattr(path, ACCESS_LIST) == own
    else:
        assert ACCESS_LIST not in os.listxattr(path)  # the folder's default names another user
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_new_file_has_the_mode_that_open_gives(tmp_path: Path) -> None:
    async def main() -> None:
        before = os.umask(0o027)
        try:
            for options in choices({}, {"atomic": True}, {"atomic": True, "durable": True}):
                (tmp_path / "file").unlink(missing_ok=True)
                await write_bytes(tmp_path / "file", b"new", **options)
                assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
        finally:
            os.umask(before)

    run(main())


def test_atomic_follows_symbolic_links(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_bytes(b"old")
    (tmp_path / "relative").symlink_to("there/second")
    (tmp_path / "there" / "second").symlink_to("file")
    (tmp_path / "absolute").symlink_to(tmp_path / "there" / "file")
    (tmp_path / "dangling").symlink_to("there/made")
    (tmp_path / "into-missing").symlink_to("nowhere/file")

    async def main() -> None:
        for name in ("relative", "absolute"):
            for durable in (False, True):
                data = f"{name} {durable}".encode()
                await write_bytes(tmp_path / name, data, atomic=True, durable=durable)
                assert (tmp_path / "there" / "file").read_bytes() == data
                assert (tmp_path / name).is_symlink()
        assert (tmp_path / "there" / "second").is_symlink()
        for options in choices({"atomic": True}, {"durable": True}):
            (tmp_path / "there" / "made").unlink(missing_ok=True)
            await write_bytes(tmp_path / "dangling", b"made", **options)
            assert (tmp_path / "there" / "made").read_bytes() == b"made"
            assert (tmp_path / "dangling").is_symlink()
            with pytest.raises(FileNotFoundError):
                await write_bytes(tmp_path / "into-missing", b"x", **options)
        assert sorted(os.listdir(tmp_path / "there")) == ["file", "made", "second"]

    run(main())


def test_atomic_refuses_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    deleted = os.open(tmp_path / "deleted", os.O_CREAT | os.O_RDWR)
    (tmp_path / "deleted").unlink()
    (tmp_path / "to-fifo").symlink_to("fifo")

    async def main() -> None:
        for path in (tmp_path / "fifo", tmp_path / "to-fifo", "/dev/null"):
            with pytest.raises(OSError, match="Invalid argument") as caught:
                await write_bytes(path, b"x", atomic=True)
            assert caught.value.filename == str(path)
        with pytest.raises(IsADirectoryError):
            await write_bytes(tmp_path / "folder", b"x", atomic=True)
        with pytest.raises(OSError, match="Invalid argument"):
            await write_bytes(f"/proc/self/fd/{deleted}", b"x", atomic=True)

    run(main())
    os.close(deleted)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert sorted(os.listdir(tmp_path)) == ["fifo", "folder", "to-fifo"]


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    async def main() -> None:
        for name in (b"\xff\xfe", os.urandom(20).replace(b"/", b"").replace(b"\0", b"") + b"x"):
            path = os.fsencode(tmp_path) + b"/" + name
            for options in choices({}, {"atomic": True, "durable": True}):
                assert await write_bytes(path, name, **options) == len(name)
                assert await read_bytes(os.fsdecode(path)) == name
            assert os.listdir(os.fsencode(tmp_path)) == [name]
            os.unlink(path)

    run(main())


def test_the_longest_name(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / ("x" * 255)
        for _ in range(2):
            await write_bytes(path, b"x", atomic=True, durable=True)
        assert os.listdir(tmp_path) == [path.name]

    run(main())


def test_relative_paths_and_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async def main() -> None:
        for options in choices({}, {"atomic": True}, {"durable": True}):
            await write_bytes("file", b"here", **options)
            assert await read_bytes("./file") == b"here"
            (tmp_path / "file").unlink()

    run(main())


AS_NOBODY = """
import asyncio, os, sys
import linux_aio
os.setgroups([]); os.setgid(65534); os.setuid(65534)
async def main():
    folder = sys.argv[1]
    await asyncio.sleep(0)
    for name, options in [
        ("closed/file", {}), ("closed/new", {}), ("closed/new", {"atomic": True}),
        ("closed/file", {"atomic": True}), ("open/readonly", {}),
        ("open/readonly", {"atomic": True}),
        ("blind/new", {"durable": True}), ("blind/new", {"durable": True, "atomic": True}),
        ("open/new", {"atomic": True, "durable": True}),
        ("sticky/link", {}), ("sticky/link", {"atomic": True}),
    ]:
        try:
            print(name, await linux_aio.write_bytes(f"{folder}/{name}", b"new", **options))
        except OSError as error:
            print(name, type(error).__name__, error.filename == f"{folder}/{name}")
    try:
        await linux_aio.read_bytes(f"{folder}/open/secret")
    except PermissionError:
        print("secret")
asyncio.run(main())
"""


def test_rights_of_others(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    import tempfile

    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for part, mode in (
            ("closed", 0o555),
            ("open", 0o777),
            ("blind", 0o333),
            ("sticky", 0o1777),
        ):
            (folder / part).mkdir()
            (folder / part).chmod(mode)
        for part in ("closed/file", "open/readonly", "open/secret"):
            (folder / part).write_bytes(b"old")
            (folder / part).chmod(0o600 if "secret" in part else 0o444)
        os.symlink("/nonexistent", folder / "sticky" / "link")
        os.chown(folder / "sticky" / "link", 1234, 1234, follow_symlinks=False)
        program = folder / "program.py"
        program.write_text(AS_NOBODY)
        result = subprocess.run(
            [sys.executable, "-P", program, folder],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        lines = result.stdout.splitlines()
        assert lines == [
            "closed/file PermissionError True",
            "closed/new PermissionError True",
            "closed/new PermissionError True",
            "closed/file PermissionError True",
            "open/readonly PermissionError True",
            "open/readonly PermissionError True",
            "blind/new 3",
            "blind/new 3",
            "open/new 3",
            "sticky/link PermissionError True",
            "sticky/link PermissionError True",
            "secret",
        ], result.stdout + result.stderr
        assert sorted(os.listdir(folder / "open")) == ["new", "readonly", "secret"]
        assert os.listdir(folder / "blind") == ["new"]


@pytest.mark.skipif(tmpfs_mount_reason() is not None, reason=str(tmpfs_mount_reason()))
def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    async def main(folder: Path) -> None:
        (folder / "file").write_bytes(b"old")
        data = bytes(8 << 20)
        with pytest.raises(OSError, match="No space") as caught:
            await write_bytes(folder / "file", data, atomic=True, durable=True)
        assert caught.value.errno == errno.ENOSPC
        assert (folder / "file").read_bytes() == b"old"
        assert os.listdir(folder) == ["file"]
        with pytest.raises(OSError, match="No space"):
            await write_bytes(folder / "file", data)

    with tmpfs_mount(tmp_path / "small", 2048) as folder:
        run(main(Path(folder)))


# --- streams


def test_fifos_and_devices(tmp_path: Path) -> None:
    if os.environ.get("LINUX_AIO_ENGINE") == "aio":
        return  # kernel AIO itself waits for a FIFO, in the loop's thread
    path = tmp_path / "fifo"
    os.mkfifo(path)

    async def main() -> None:
        data = os.urandom(300_000)
        got, count = await asyncio.gather(read_bytes(path), write_bytes(path, data))
        assert got == data
        assert count == len(data)
        os.mkfifo(tmp_path / "another")
        for started in (read_bytes(path), write_bytes(tmp_path / "another", b"x")):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(started, 0.05)
        assert await read_bytes("/dev/null") == b""
        assert await write_bytes("/dev/null", b"gone") == 4
        with pytest.raises(OSError, match="No space"):
            await write_bytes("/dev/full", b"gone")
        await until(lambda: not open_below(tmp_path))

    run(main())


# --- files that change meanwhile


def test_a_file_that_grows_and_shrinks(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    ends = threading.Event()

    def change() -> None:
        with path.open("r+b", buffering=0) as file:
            size = 0
            while not ends.is_set():
                size = (size + 123_457) % 1_500_000
                file.truncate(size)
                file.seek(0)
                file.write(b"x" * size)
                time.sleep(0.0005)

    thread = threading.Thread(target=change)
    thread.start()

    async def main() -> None:
        for _ in range(300):
            data = await read_bytes(path)
            assert not data.strip(b"x\0")

    try:
        run(main())
    finally:
        ends.set()
        thread.join()


def test_a_reader_of_an_atomic_file_sees_no_part(tmp_path: Path) -> None:
    path = tmp_path / "file"
    versions = [bytes([number]) * (number * 30_011) for number in range(20)]

    (tmp_path / "link").symlink_to("file")

    async def write(name: str) -> None:
        for _ in range(3):
            for data in versions:
                await write_bytes(tmp_path / name, data, atomic=True)

    async def main() -> None:
        await write_bytes(path, versions[0], atomic=True)
        writing = [asyncio.create_task(write(name)) for name in ("file", "link")]
        while not all(task.done() for task in writing):
            assert await read_bytes(path) in versions
        await asyncio.gather(*writing)
        assert sorted(os.listdir(tmp_path)) == ["file", "link"]

    run(main())


# --- cancelling


def test_a_cancelled_write_is_whole_or_not_there(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)

    async def main() -> None:
        for number in range(120):
            path = tmp_path / f"file-{number}"
            given = data if number % 2 else bytearray(data)
            task = asyncio.create_task(write_bytes(path, given, atomic=number % 3 == 0))
            await asyncio.sleep(number * 0.00003)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            if number % 20 == 0:
                await asyncio.sleep(0.02)
        await until(lambda: not open_below(tmp_path))

        def is_whole() -> bool:
            return all(path.stat().st_size == len(data) for path in tmp_path.iterdir())

        await until(is_whole)
        assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]

    run(main())


def test_a_cancelled_read_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(30_000_000))

    async def main() -> None:
        await read_bytes(path)
        for number in range(60):
            task = asyncio.create_task(read_bytes(path))
            await asyncio.sleep(number * 0.0001)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await until(lambda: not open_below(tmp_path))

    run(main())


def test_a_hung_server_does_not_hold_the_task(fuse: HoldingFS, tmp_path: Path) -> None:
    fuse.create("file", b"x" * 1000)
    (tmp_path / "local").write_bytes(b"local")

    async def main() -> None:
        assert await read_bytes(fuse.path("file")) == b"x" * 1000
        for name in ("a", "b", "c", "d"):
            fuse.create(name, b"y" * 1000)
        fuse.hold()
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(read_bytes(fuse.path(name))) for name in ("a", "b", "c")
        ]
        tasks.append(asyncio.create_task(write_bytes(fuse.path("d"), b"z", durable=True)))
        await asyncio.sleep(0.1)
        for _ in range(20):
            assert await read_bytes(tmp_path / "local") == b"local"
            assert await write_bytes(tmp_path / "other", b"written", atomic=True) == 7
        for task in tasks:
            task.cancel()
        for task in tasks:
            with pytest.raises(asyncio.CancelledError):
                await task
        fuse.unhold()
        await until(lambda: not open_below(fuse.mountpoint))

    run(main())


def test_a_failing_server(fuse: HoldingFS) -> None:
    async def main() -> None:
        for kind, code in (("write", errno.ENOSPC), ("fsync", errno.EIO)):
            fuse.create("file", b"x")
            fuse.fail(code, kinds=[kind])  # type: ignore[list-item]
            with pytest.raises(OSError) as caught:  # noqa: PT011
                await write_bytes(fuse.path("file"), b"data" * 3000, durable=True)
            assert caught.value.errno == code
            fuse.reset()

    run(main())


# --- a thousand at once


def test_a_thousand_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        paths = [tmp_path / str(number) for number in range(1000)]
        await asyncio.gather(*(write_bytes(path, path.name.encode() * 99) for path in paths))
        for path in paths:
            fd = os.open(path, os.O_RDWR)
            os.fdatasync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)
        got = await asyncio.gather(*map(read_bytes, paths))
        assert got == [path.name.encode() * 99 for path in paths]
        await until(lambda: not open_below(tmp_path))

    run(main())


# --- killed

REWRITE = """
import asyncio, sys
import linux_aio
async def main():
    number = 0
    print("ready", flush=True)
    while True:
        number += 1
        data = b"%d\\n" % number * 40_000
        await linux_aio.write_bytes(sys.argv[1], data, atomic=True, durable=True)
asyncio.run(main())
"""


def test_killed_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0\n" * 40_000)
    for number in range(15):
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", REWRITE, path], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.002 * number)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        lines = path.read_bytes().splitlines()
        assert len(lines) == 40_000
        assert len(set(lines)) == 1
        for name in os.listdir(tmp_path):
            assert name == "file" or name.startswith(".linux-aio-")


def test_exported() -> None:
    for name in ("read_bytes", "read_text", "write_bytes", "write_text"):
        assert name in linux_aio.__all__
