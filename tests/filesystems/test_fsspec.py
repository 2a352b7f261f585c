# SPDX-License-Identifier: Apache-2.0
"""AioFileSystem beside fsspec's LocalFileSystem."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import io
import os
import pickle
import random
import select
import shutil
import stat
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

fsspec = pytest.importorskip("fsspec")

from fsspec.implementations.local import LocalFileSystem  # noqa: E402

from linux_aio import bulk  # noqa: E402
from linux_aio._loop_context import loop_context  # noqa: E402
from linux_aio.fsspec import AioFileSystem  # noqa: E402
from support.forked import give_up_root, in_child  # noqa: E402
from support.fusefs import fs_available, mounted  # noqa: E402
from support.workers import finish  # noqa: E402
from support.workers import start as start_worker  # noqa: E402

LOCAL = LocalFileSystem()


@pytest.fixture
def aio() -> AioFileSystem:
    return AioFileSystem()


def outcome(call: Callable[[], Any]) -> Any:
    """The result, or the type of the exception."""
    try:
        return call()
    except Exception as error:
        return type(error)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with files, folders and links."""
    folder = tmp_path / "tree"
    (folder / "below" / "empty").mkdir(parents=True)
    (folder / "file").write_bytes(bytes(range(256)) * 10)
    (folder / "nothing").touch()
    (folder / "below" / "other").write_text("one\ntwo\n")
    (folder / "link").symlink_to("file")
    (folder / "folder-link").symlink_to("below")
    (folder / "broken").symlink_to("nowhere")
    return folder


NAMES = ["", "file", "nothing", "below", "below/other", "link", "folder-link", "broken", "no/such"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "method",
    [
        "info",
        "exists",
        "lexists",
        "isfile",
        "isdir",
        "islink",
        "size",
        "created",
        "modified",
        "cat",
    ],
)
def test_same_answers(aio: AioFileSystem, tree: Path, method: str, name: str) -> None:
    path = str(tree / name)
    mine = outcome(lambda: getattr(aio, method)(path))
    assert mine == outcome(lambda: getattr(LOCAL, method)(path))
    assert mine == outcome(lambda: getattr(aio, method)(f"aio://{path}"))


@pytest.mark.parametrize("name", NAMES)
def test_same_listings(aio: AioFileSystem, tree: Path, name: str) -> None:
    path = str(tree / name)

    def names(fs: Any) -> Any:
        return outcome(lambda: sorted(fs.ls(path, detail=False)))

    def infos(fs: Any) -> Any:
        return outcome(lambda: sorted(fs.ls(path, detail=True), key=lambda info: info["name"]))

    assert names(aio) == names(LOCAL)
    assert infos(aio) == infos(LOCAL)
    assert aio.find(path) == LOCAL.find(path)
    assert aio.glob(path + "/*") == LOCAL.glob(path + "/*")
    assert sorted(aio.walk(path)) == sorted(LOCAL.walk(path)) or not os.path.isdir(path)


ERRORS: dict[str, Callable[[Any, str], Any]] = {
    "read a folder": lambda fs, path: fs.cat_file(f"{path}/below"),
    "read below a file": lambda fs, path: fs.cat_file(f"{path}/file/x"),
    "make what is there": lambda fs, path: fs.mkdir(f"{path}/below"),
    "make without parents": lambda fs, path: fs.mkdir(f"{path}/a/b", create_parents=False),
    "make folders that are there": lambda fs, path: fs.makedirs(f"{path}/below"),
    "remove a full folder": lambda fs, path: fs.rmdir(f"{path}/below"),
    "remove a folder": lambda fs, path: fs.rm(f"{path}/below"),
    "remove nothing": lambda fs, path: fs.rm(f"{path}/no"),
    "remove the file nothing": lambda fs, path: fs.rm_file(f"{path}/no"),
    "open nothing": lambda fs, path: fs.open(f"{path}/no"),
    "open a folder": lambda fs, path: fs.open(f"{path}/below", "wb"),
    "write in no folder": lambda fs, path: fs.open(f"{path}/no/file", "wb"),
    "pipe in no folder": lambda fs, path: fs.pipe_file(f"{path}/no/file", b"x"),
    "pipe to a folder": lambda fs, path: fs.pipe_file(f"{path}/below", b"x"),
    "make again": lambda fs, path: fs.open(f"{path}/file", "xb"),
    "pipe again": lambda fs, path: fs.pipe_file(f"{path}/file", b"x", mode="create"),
    "copy nothing": lambda fs, path: fs.cp_file(f"{path}/no", f"{path}/new"),
    "move nothing": lambda fs, path: fs.mv(f"{path}/no", f"{path}/new"),
    "touch in no folder": lambda fs, path: fs.touch(f"{path}/no/file"),
    "list nothing": lambda fs, path: fs.ls(f"{path}/no"),
}


@pytest.mark.parametrize("what", ERRORS)
def test_same_errors(aio: AioFileSystem, tree: Path, what: str) -> None:
    mine = outcome(lambda: ERRORS[what](aio, str(tree)))
    assert mine == outcome(lambda: ERRORS[what](LOCAL, str(tree)))
    assert issubclass(mine, Exception)


BOUNDS = [None, 0, 1, 100, 2559, 2560, 2561, 10**6, -1, -100, -2560, -2561]


@pytest.mark.parametrize("direct", [False, "auto", True])
def test_slices_of_a_file(tree: Path, direct: Any) -> None:
    fs = AioFileSystem(direct=direct)
    path = str(tree / "file")
    data = (tree / "file").read_bytes()
    bounds = [(start, end) for start in BOUNDS for end in BOUNDS]
    if direct:
        bounds = random.Random(0).sample(bounds, 20)
    try:
        for start, end in bounds:
            assert fs.cat_file(path, start, end) == data[start:end], (start, end)
    except OSError:
        if direct is not True:
            raise
        pytest.skip("no O_DIRECT in the folder for temporary files")
    paths = [path] * len(bounds)
    starts, ends = map(list, zip(*bounds, strict=True))
    for _ in range(2):
        results = fs.cat_ranges(paths, starts, ends)
        assert results == [data[start:end] for start, end in bounds]
        assert {type(result) for result in results} == {bytes}
    assert fs.cat_ranges(paths[:3], 5, 50) == [data[5:50]] * 3


def test_many_files_and_ranges(aio: AioFileSystem, tmp_path: Path) -> None:
    contents = {str(tmp_path / f"{i}"): os.urandom(i * 7 % 1000) for i in range(300)}
    aio.pipe(contents)
    assert {path: Path(path).read_bytes() for path in contents} == contents
    assert aio.cat(list(contents)) == contents
    assert aio.cat(f"{tmp_path}/*") == contents
    assert aio.cat(str(tmp_path), recursive=True, on_error="omit") == contents
    with pytest.raises(FileNotFoundError):
        aio.cat([*contents, str(tmp_path / "no")])
    returned = aio.cat([*contents, str(tmp_path / "no")], on_error="return")
    assert isinstance(returned.pop(str(tmp_path / "no")), FileNotFoundError)
    assert returned == contents

    chosen = random.Random(0)
    wanted = [(chosen.choice(list(contents)), chosen.randrange(900)) for _ in range(5000)]
    wanted += [(next(reversed(contents)), start) for start in range(300)]
    wanted.append((str(tmp_path / "no"), 0))
    paths, starts = map(list, zip(*wanted, strict=True))
    ends = [start + chosen.randrange(100) for start in starts]
    found = aio.cat_ranges(paths, starts, ends)
    assert isinstance(found.pop(), FileNotFoundError)
    for path, start, end, data in zip(paths, starts, ends, found, strict=False):
        assert data == contents[path][start:end]
    with pytest.raises(FileNotFoundError):
        aio.cat_ranges(paths, starts, ends, on_error="raise")


def test_open_both_directions(aio: AioFileSystem, tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    with aio.open(path, "wb") as file:
        assert file.writable()
        file.write(b"hello world\n")
        file.seek(6)
        file.write(b"W")
        assert file.tell() == 7
        assert not os.path.exists(path)
    with aio.open(path) as file:
        assert (file.size, file.read(5), file.tell()) == (12, b"hello", 5)
        again = pickle.loads(pickle.dumps(file))
        assert again.read() == b" World\n"
        again.close()
        assert file.seek(-2, io.SEEK_END) == 10
        assert list(file) == [b"d\n"]
        buffer = bytearray(5)
        file.seek(0)
        assert file.readinto(buffer) == 5
        assert buffer == b"hello"
    with aio.open(path, "ab") as file:
        file.write(b"two\n")
    with aio.open(path, "r+b") as file:
        file.write(b"H")
        file.seek(0)
        assert file.readlines() == [b"Hello World\n", b"two\n"]
    with aio.open(path, "w", encoding="utf-16") as text:
        text.write("größer")
    with aio.open(path, "r", encoding="utf-16") as text:
        assert text.read() == "größer"
    for compression in ("gzip", "xz", "bz2"):
        with aio.open(path, "wb", compression=compression) as file:
            file.write(b"x" * 10_000)
        with aio.open(path, "rb", compression=compression) as file:
            assert file.read() == b"x" * 10_000


def test_a_file_is_replaced_when_it_is_whole(aio: AioFileSystem, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to("file")
    with aio.open(str(link), "wb") as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640

    def fail() -> None:
        with aio.open(str(path), "wb") as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_bytes() == b"new"
    aio.pipe_file(str(link), b"piped")
    assert path.read_bytes() == b"piped"
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]
    with aio.open("/dev/null", "wb") as file:
        file.write(b"x")
    aio.pipe_file("/dev/null", b"x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_link_that_leads_nowhere_yet(aio: AioFileSystem, tmp_path: Path) -> None:
    writers: list[Callable[[str], Any]] = [
        lambda path: aio.pipe_file(path, b"x"),
        lambda path: aio.open(path, "wb").close(),
    ]
    for number, write in enumerate(writers):
        link = tmp_path / f"link{number}"
        link.symlink_to(f"target{number}")
        with pytest.raises(FileExistsError):
            aio.pipe_file(str(link), b"x", mode="create")
        write(str(link))
        assert link.is_symlink()
        assert (tmp_path / f"target{number}").is_file()
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        aio.pipe_file(str(loop), b"x")


def test_a_new_file_has_the_umasks_mode(aio: AioFileSystem, tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        aio.pipe_file(str(tmp_path / "a"), b"x")
        aio.touch(str(tmp_path / "b"))
        with aio.open(str(tmp_path / "c"), "wb"):
            pass
    finally:
        os.umask(old)
    for name in "abc":
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640


def test_of_two_that_make_a_file_one_fails(aio: AioFileSystem, tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    first, second = aio.open(path, "xb"), aio.open(path, "xb")
    first.write(b"first")
    second.write(b"second")
    second.close()
    with pytest.raises(FileExistsError):
        first.close()
    assert os.listdir(tmp_path) == ["file"]
    assert Path(path).read_bytes() == b"second"


@pytest.mark.parametrize("fails", [False, True])
def test_transactions(aio: AioFileSystem, tmp_path: Path, fails: bool) -> None:
    (tmp_path / "old").write_bytes(b"old")
    try:
        with aio.transaction:
            with aio.open(str(tmp_path / "old"), "wb") as file:
                file.write(b"new")
            aio.pipe_file(str(tmp_path / "new"), b"new")
            assert os.listdir(tmp_path) == ["old"]
            assert (tmp_path / "old").read_bytes() == b"old"
            if fails:
                raise KeyError
    except KeyError:
        pass
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == (
        {"old": b"old"} if fails else {"old": b"new", "new": b"new"}
    )
    aio.pipe_file(str(tmp_path / "later"), b"x")
    assert (tmp_path / "later").exists()


@pytest.mark.parametrize("kind", [LocalFileSystem, AioFileSystem])
@pytest.mark.parametrize("truncate", [False, True])
def test_touch_of_what_another_program_makes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, truncate: bool
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"data")

    async def not_yet(_: str) -> bool:
        return False

    monkeypatch.setattr("linux_aio.fs.exists", not_yet)
    monkeypatch.setattr(LocalFileSystem, "exists", lambda *_: False)
    kind().touch(str(path), truncate=truncate)
    assert path.read_bytes() == (b"" if truncate else b"data")


def test_changes(aio: AioFileSystem, tree: Path) -> None:
    aio.touch(str(tree / "file"), truncate=False)
    assert aio.size(str(tree / "file")) == 2560
    aio.touch(str(tree / "file"))
    assert aio.size(str(tree / "file")) == 0
    aio.chmod(str(tree / "file"), 0o600)
    assert aio.info(str(tree / "file"))["mode"] == stat.S_IFREG | 0o600
    aio.mv(str(tree / "below"), str(tree / "moved"))
    assert (tree / "moved" / "other").exists()
    aio.link(str(tree / "file"), str(tree / "hard"))
    aio.symlink("hard", str(tree / "soft"))
    assert aio.islink(str(tree / "soft"))
    aio.rm(str(tree / "*ard"))
    assert not (tree / "hard").exists()
    aio.rm([str(tree / "soft"), str(tree / "moved")], recursive=True)
    assert sorted(os.listdir(tree)) == ["broken", "file", "folder-link", "link", "nothing"]
    for name in ("a*", "b[c]", "d?"):
        aio.pipe_file(str(tree / name), b"x")
        aio.rm_file(str(tree / name))
        aio.pipe_file(str(tree / name), b"x")
        aio.rm(str(tree / name))
    assert sorted(os.listdir(tree)) == ["broken", "file", "folder-link", "link", "nothing"]


def test_auto_mkdir(tmp_path: Path) -> None:
    fs = AioFileSystem(auto_mkdir=True)
    for number, write in enumerate(
        [
            lambda path: fs.pipe_file(path, b"x"),
            lambda path: fs.open(path, "wb").close(),
            lambda path: fs.open(path, "ab").close(),
            fs.touch,
            lambda path: fs.cp_file(__file__, path),
            lambda path: fs.put_file(__file__, path),
        ]
    ):
        path = tmp_path / str(number) / "below" / "file"
        write(str(path))
        assert path.exists()


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
def test_copies(tmp_path: Path, size: int) -> None:
    fs = AioFileSystem(durable=True)
    data = os.urandom(size)
    path = str(tmp_path / "file")
    fs.pipe_file(path, data)
    fs.cp_file(path, path + "2")
    fs.get_file(path, path + "3")
    fs.put_file(path, path + "4")
    target = io.BytesIO()
    fs.get_file(path, target)
    assert target.getvalue() == data
    for name in "234":
        assert Path(path + name).read_bytes() == data
    with pytest.raises(FileExistsError):
        fs.put_file(path, path + "4", mode="create")


def test_urls(tmp_path: Path) -> None:
    url = f"aio://{tmp_path}/file"
    with fsspec.open(url, "wb") as file:
        file.write(b"x")
    fs, path = fsspec.core.url_to_fs(url, auto_mkdir=True)
    assert isinstance(fs, AioFileSystem)
    assert fs.auto_mkdir
    assert path == str(tmp_path / "file")
    assert fs.unstrip_protocol(path) == url
    assert fsspec.open_local(url) == path
    for spelled in (path, f"aio:{path}", url, tmp_path / "file", [url]):
        stripped = AioFileSystem._strip_protocol(spelled)
        assert stripped == ([path] if isinstance(spelled, list) else path)
    assert AioFileSystem._strip_protocol("aio://x/y") == f"{os.getcwd()}/x/y"
    assert AioFileSystem._strip_protocol("aio:///") == "/"
    assert AioFileSystem._strip_protocol("~/x") == os.path.expanduser("~/x")
    assert fs._parent("/a/b") == "/a"
    assert fs._parent("/a") == "/"
    mapper = fsspec.get_mapper(f"aio://{tmp_path}")
    mapper["key"] = b"value"
    assert dict(mapper) == {"file": b"x", "key": b"value"}


def test_options_pickle() -> None:
    fs = AioFileSystem(auto_mkdir=True, direct="auto", durable=True, batch_size=7)
    again = pickle.loads(pickle.dumps(fs))
    assert (again.auto_mkdir, again.direct, again.durable, again.batch_size) == (
        True,
        "auto",
        True,
        7,
    )
    assert AioFileSystem.from_json(fs.to_json()) == fs
    with pytest.raises(ValueError, match="direct must be"):
        AioFileSystem(direct="maybe")  # type: ignore[arg-type]


def test_asynchronous(tmp_path: Path) -> None:
    path = str(tmp_path / "file")

    async def run() -> None:
        fs = AioFileSystem(asynchronous=True, skip_instance_cache=True)
        await fs._pipe_file(path, b"hello world")
        assert await fs._cat_file(path, 6) == b"world"
        assert await fs._cat_ranges([path] * 20, list(range(20)), [20] * 20) == [
            b"hello world"[start:20] for start in range(20)
        ]
        async with await fs.open_async(path) as file:
            assert file.size == 11
            assert await file.read(5) == b"hello"
            file.seek(-5, 2)
            assert await file.read() == b"world"
            assert await file.read() == b""
        async with await fs.open_async(path, "wb") as file:
            for _ in range(1000):
                assert await file.write(b"x" * 100) == 100
            assert file.tell() == 100_000
            assert await fs._size(path) == 11
        assert await fs._size(path) == 100_000
        file = await fs.open_async(path, "wb")
        await file.write(b"half")
        await file.__aexit__(KeyError, KeyError(), None)
        async with await fs.open_async(path, "ab") as file:
            await file.write(b"!")
        assert await fs._size(path) == 100_001
        with pytest.raises(ValueError, match="bytes"):
            await fs.open_async(path, "w")
        with pytest.raises(RuntimeError, match="not running"):
            fs.cat_file(path)

    asyncio.run(run())


async def cancel_and_drop(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel the task, which is the only one in the list, and drop it."""
    task = tasks.pop()
    task.cancel()
    await asyncio.wait([task])
    del task
    gc.collect()


def executor_is_busy() -> list[asyncio.Future[None]]:
    """Have all threads of the loop's executor be busy for a while."""
    count = (os.cpu_count() or 1) + 4
    return [asyncio.ensure_future(asyncio.to_thread(time.sleep, 0.2)) for _ in range(count)]


@pytest.mark.parametrize("turns", range(4))
def test_a_cancelled_open_async_leaves_the_file(tmp_path: Path, turns: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    async def run() -> None:
        fs = AioFileSystem(asynchronous=True, skip_instance_cache=True)
        for _ in range(20):
            task = asyncio.ensure_future(fs.open_async(str(path), "wb"))
            for _ in range(turns):
                await asyncio.sleep(0)
            tasks = [task]
            del task
            await cancel_and_drop(tasks)
            await asyncio.sleep(0.005)
            gc.collect()
            assert path.read_bytes() == b"old"

    asyncio.run(run())
    assert os.listdir(tmp_path) == ["file"]


def test_an_open_async_that_is_cancelled_when_the_loop_ends(tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def run() -> None:
        fs = AioFileSystem(asynchronous=True, skip_instance_cache=True)
        task = asyncio.ensure_future(fs.open_async(str(path), "wb"))
        await asyncio.sleep(0)
        await cancel_and_drop([task])

    for _ in range(20):
        path.write_bytes(b"old")
        asyncio.run(run())
        gc.collect()
        assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_an_asynchronous_file_whose_end_is_cancelled(tmp_path: Path) -> None:
    """It is discarded or closed all the same, once a thread has time for that."""
    path = tmp_path / "file"
    path.write_bytes(b"old")

    async def write(fs: AioFileSystem) -> None:
        async with await fs.open_async(str(path), "wb") as file:
            await file.write(b"a part")
            await asyncio.sleep(60)

    async def run() -> None:
        fs = AioFileSystem(asynchronous=True, skip_instance_cache=True)
        task = asyncio.ensure_future(write(fs))
        await asyncio.sleep(0.1)
        busy = executor_is_busy()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0.05)
        tasks = [task]
        del task
        await cancel_and_drop(tasks)
        await asyncio.gather(*busy)
        await asyncio.to_thread(gc.collect)
        assert path.read_bytes() == b"old"

        file = await fs.open_async(str(path), "wb")
        await file.write(b"all of it")
        busy = executor_is_busy()
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(file.close(), 0.05)
        await asyncio.gather(*busy)
        for _ in range(100):
            if path.read_bytes() != b"old":
                break
            await asyncio.sleep(0.01)
        assert path.read_bytes() == b"all of it"

    asyncio.run(run())


def test_a_closed_asynchronous_file_beside_its_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"contents")

    async def run() -> None:
        fs = AioFileSystem(asynchronous=True, skip_instance_cache=True)
        file = await fs.open_async(str(path), "rb")
        context = loop_context()
        reader, writer = os.pipe()
        polls = [
            asyncio.ensure_future(context.poll(reader, select.POLLIN))
            for _ in range(context.max_requests)
        ]
        await asyncio.sleep(0.1)
        reading = asyncio.ensure_future(file.read())
        await asyncio.sleep(0.05)
        await file.close()
        opened = [os.open("/dev/zero", os.O_RDONLY) for _ in range(3)]
        os.write(writer, b"!")
        await asyncio.gather(*polls)
        assert await reading == b"contents"
        with pytest.raises(ValueError, match="closed"):
            await file.read()
        for fd in (*opened, reader, writer):
            os.close(fd)

    asyncio.run(run())


@pytest.mark.parametrize("count", [5, 40])
@pytest.mark.parametrize("unfit", ["a\0b", "\ud800"])
def test_ranges_of_an_unfit_path(tmp_path: Path, count: int, unfit: str) -> None:
    """The error is that path's alone, however many there are."""
    files = [tmp_path / f"file-{number}" for number in range(count - 1)]
    for file in files:
        file.write_bytes(b"contents")
    paths = [*map(str, files), str(tmp_path / unfit)]
    fs = AioFileSystem(skip_instance_cache=True)
    found = fs.cat_ranges(paths, [0] * count, [3] * count, on_error="return")
    assert found[:-1] == [b"con"] * (count - 1)
    assert isinstance(found[-1], ValueError)
    with pytest.raises(type(found[-1])):
        fs.cat_ranges(paths, [0] * count, [3] * count, on_error="raise")


def test_many_ranges_of_a_file_that_does_not_say_its_size() -> None:
    data = Path("/proc/version").read_bytes()
    found = AioFileSystem().cat_ranges(["/proc/version"] * 9, list(range(9)), [5] * 9)
    assert found == [data[start:5] for start in range(9)]


@pytest.mark.parametrize("size", [0, 100, (1 << 20) + 1])
@pytest.mark.parametrize("method", ["cp_file", "copy", "get_file", "put_file"])
@pytest.mark.parametrize("target", ["file", "link", "hard"])
def test_a_file_is_not_copied_onto_itself(
    aio: AioFileSystem, tmp_path: Path, method: str, target: str, size: int
) -> None:
    source = tmp_path / "file"
    source.write_bytes(b"x" * size)
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "hard").hardlink_to(source)
    number = source.stat().st_ino
    for fs in (LOCAL, aio):
        with pytest.raises(shutil.SameFileError):
            getattr(fs, method)(str(source), str(tmp_path / target))
    assert source.read_bytes() == b"x" * size
    assert source.stat().st_ino == number
    assert source.stat().st_nlink == 2


def test_a_pipe_is_not_written_by_a_copy(aio: AioFileSystem, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    for fs in (LOCAL, aio):
        with pytest.raises(shutil.SpecialFileError):
            fs.cp_file(str(tmp_path / "file"), str(tmp_path / "pipe"))


@pytest.mark.skipif(fs_available() is not None, reason=fs_available() or "there is FUSE")
@pytest.mark.parametrize("change", ["shorter", "empty", "fails"])
def test_parts_that_fail_alone(aio: AioFileSystem, tmp_path: Path, change: str) -> None:
    """A file that gets shorter, or of which a part can't be read, while its parts are read."""
    data = random.Random(7).randbytes(1 << 20)
    unit = 1 << 16
    starts = list(range(0, len(data), unit))
    ends = [start + 100 for start in starts]
    with mounted(tmp_path) as disk:
        path = disk.create("data", data)
        other = tmp_path / "other"
        other.write_bytes(data)
        disk.hold(writes=False, fsyncs=False)
        paths = [str(path)] * len(starts) + [str(other)] * 3
        call = partial(aio.cat_ranges, paths, [*starts, 0, 1, 2], [*ends, 3, 3, 3], max_gap=0)
        worker = start_worker(call)
        disk.wait_held(1)
        size = len(data)
        if change == "fails":
            disk.fail(errno.EIO, kinds=["read"], count=1)
        else:
            size = 5 * unit + 50 if change == "shorter" else 0
            disk.create("data", data[:size])  # truncate(2) would wait for the reads
        disk.unhold()
        found = finish(worker)[0]
    wanted = [data[start : min(end, size)] for start, end in zip(starts, ends, strict=True)]
    assert found[-3:] == [data[0:3], data[1:3], data[2:3]]
    if change == "fails":
        # the failed request is asked for again, for each part alone
        assert found[:-3] == wanted
    else:
        # what lay behind the new end may have been read before or not
        for part, whole in zip(found, wanted, strict=False):
            assert part[: len(whole)] == whole


@pytest.mark.skipif(fs_available() is not None, reason=fs_available() or "there is FUSE")
def test_parts_that_can_not_be_read(aio: AioFileSystem, tmp_path: Path) -> None:
    with mounted(tmp_path) as disk:
        path = disk.create("data", bytes(1 << 20))
        disk.fail(errno.EIO, kinds=["read"])
        found = aio.cat_ranges([str(path)] * 20, list(range(20)), list(range(5, 25)))
        assert [type(part) for part in found] == [OSError] * 20
        with pytest.raises(OSError, match="Input/output"):
            aio.cat_ranges([str(path)] * 20, [0] * 20, [5] * 20, on_error="raise")


@pytest.mark.parametrize("size", [100, (1 << 20) + 1])
@pytest.mark.parametrize("method", ["cp_file", "get_file", "put_file"])
def test_a_copy_has_a_mode_and_times_of_its_own(
    aio: AioFileSystem, tmp_path: Path, method: str, size: int
) -> None:
    source, new, old = tmp_path / "source", tmp_path / "new", tmp_path / "old"
    source.write_bytes(b"x" * size)
    source.chmod(0o600)
    os.utime(source, (1, 1))
    modes = []
    for fs in (LOCAL, aio):
        old.write_bytes(b"")
        old.chmod(0o604)
        for target in (new, old):
            getattr(fs, method)(str(source), str(target))
            assert target.stat().st_size == size
            assert target.stat().st_mtime > 1
            modes.append(stat.S_IMODE(target.stat().st_mode))
            target.unlink()
    assert modes[:2] == modes[2:]


def test_a_new_content_keeps_attributes(aio: AioFileSystem, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    attributes = {}
    with contextlib.suppress(OSError):  # a file system without them
        os.setxattr(path, "user.note", b"kept")
        attributes["user.note"] = b"kept"
    with aio.open(str(path), "wb") as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    for name, value in attributes.items():
        assert os.getxattr(path, name) == value
    aio.pipe_file(str(path), b"newer")
    for name, value in attributes.items():
        assert os.getxattr(path, name) == value


@pytest.mark.parametrize("mode", ["ab", "r+b", "wb"])
def test_a_close_that_fails_closes(tmp_path: Path, mode: str) -> None:
    durable = AioFileSystem(durable=True)
    file = durable.open("/dev/full", mode)
    file.write(b"x")
    with pytest.raises(OSError, match="No space"):
        file.close()
    assert file.closed


@pytest.mark.parametrize("part", [(-2, 5), (-3, -1), (-100, None), (1, 3)])
def test_a_part_of_a_file_that_does_not_say_its_size(aio: AioFileSystem, part: Any) -> None:
    path = "/proc/sys/kernel/ostype"
    assert aio.cat_file(path, *part) == Path(path).read_bytes()[slice(*part)]


MODES = ["rwb", "wab", "wwb", "wbz", "w!b", "wxb", "rxb", "b", "bw+x"]


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_that_there_is_not(aio: AioFileSystem, tmp_path: Path, mode: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="mode"):
        aio.open(str(path), mode)
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("spelling", ["{}", "{}/sub/..", "../{name}", "."])
def test_the_working_directory_is_not_removed(
    aio: AioFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="working directory"):
        aio.rm(spelling.format(tmp_path, name=tmp_path.name), recursive=True)
    assert os.listdir(tmp_path) == ["sub"]


def test_text_that_is_not_whole_replaces_nothing(aio: AioFileSystem, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(path: str) -> None:
        file = aio.open(path, "w", encoding="latin-1")
        try:
            with file:
                file.write("part")
                file.flush()
                file.write(" of it")
                raise ZeroDivisionError
        finally:
            assert file.closed
            file.close()

    for name in (str(path), "/dev/null"):
        with pytest.raises(ZeroDivisionError):
            fail(name)
    gc.collect()
    assert path.read_bytes() == b"old"
    with aio.open(str(path), "w", encoding="latin-1", newline="\r\n") as file:
        file.write("\xe9\n")
    assert path.read_bytes() == b"\xe9\r\n"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("mode", ["wb", "xb"])
def test_a_child_does_not_complete_its_parents_file(
    aio: AioFileSystem, tmp_path: Path, mode: str
) -> None:
    path = tmp_path / "file"
    file = aio.open(str(path), mode)
    file.write(b"one")

    def drop() -> None:
        nonlocal file
        file.close()
        del file
        gc.collect()

    in_child(drop)
    assert os.listdir(tmp_path) == []
    file.write(b", two")
    file.close()
    assert path.read_bytes() == b"one, two"


def test_a_device_is_written_durably(tmp_path: Path) -> None:
    durable = AioFileSystem(durable=True)
    for mode in ("wb", "ab"):
        with durable.open("/dev/null", mode) as file:
            file.write(b"x")


def test_a_transaction_completes_what_is_open(aio: AioFileSystem, tmp_path: Path) -> None:
    names = {mode: str(tmp_path / mode) for mode in ("wb", "w+b", "ab")}
    with aio.transaction:
        files = {mode: aio.open(name, mode) for mode, name in names.items()}
        for file in files.values():
            file.write(b"x")
        aio.pipe(str(tmp_path / "pipe"), b"x")
        for mode in ("w+b", "ab"):
            files[mode].close()
    for path in tmp_path.iterdir():
        assert path.read_bytes() == b"x"
        (tmp_path / "other").touch()
        assert path.stat().st_mode == (tmp_path / "other").stat().st_mode
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize("size", ["default", 1.5, 1 << 40, -1, 0, None])
def test_a_block_size_that_is_none(aio: AioFileSystem, tmp_path: Path, size: Any) -> None:
    path = str(tmp_path / "file")
    with aio.open(path, "wb", block_size=size) as file:
        file.write(b"x")
        assert file.name == path
    with aio.open(path, "rb", block_size=size) as file:
        assert file.read() == b"x"


@pytest.mark.filterwarnings("ignore")  # fsspec's cache leaves its own file open
def test_blocks_are_cached(aio: AioFileSystem, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    cached = fsspec.filesystem("blockcache", fs=aio, cache_storage=str(tmp_path / "cache"))
    with cached.open(str(tmp_path / "file")) as file:
        assert file.read(4) == b"0123"
        file.seek(8)
        assert file.read() == b"89"
    del file, cached
    gc.collect()


def test_an_asynchronous_file_that_does_not_say_its_size(aio: AioFileSystem) -> None:
    async def use() -> bytes:
        file = await AioFileSystem(asynchronous=True).open_async("/proc/version")
        try:
            data: bytes = await file.read()
            return data
        finally:
            await file.close()

    assert asyncio.run(use()) == Path("/proc/version").read_bytes()


def test_a_refused_file_is_named(aio: AioFileSystem) -> None:
    def refused(path: str) -> Any:
        give_up_root()
        try:
            aio.open(path, "wb")
        except PermissionError as error:
            return error.filename
        return None

    with TemporaryDirectory(dir="/var/tmp") as name:
        os.chmod(name, 0o555)
        assert in_child(lambda: refused(f"{name}/new")) == f"{name}/new"


@pytest.mark.engine("auto", "uring", "threads")
@pytest.mark.parametrize("how", ["read", "write", "read many"])
def test_fifos_hold_up_nothing_else(how: str, tmp_path: Path) -> None:
    """More than there may be calls of one device at a time; cancelling ends them."""
    fifos = [str(tmp_path / f"fifo{number}") for number in range(40)]
    for path in fifos:
        os.mkfifo(path)

    async def main() -> None:
        aio = AioFileSystem(asynchronous=True)

        def use(path: str) -> Any:
            if how == "read":
                return aio._cat_file(path, start=0, end=10)
            if how == "write":
                return aio._pipe_file(path, b"x")
            return aio._cat_ranges([path, path], [0, 1], [1, 2])

        tasks = [asyncio.ensure_future(use(path)) for path in fifos]
        await asyncio.sleep(0.1)
        for number in range(3):
            data = bytes([number]) * 100_000
            path = str(tmp_path / "file")
            await asyncio.wait_for(aio._pipe_file(path, data), 20)
            assert await asyncio.wait_for(aio._cat_file(path, start=5, end=-5), 20) == data[5:-5]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await asyncio.wait_for(aio._pipe_file(path, b"after"), 20)

    asyncio.run(main())
    assert (tmp_path / "file").read_bytes() == b"after"


@pytest.mark.engine("auto", "uring", "threads")
@pytest.mark.parametrize(("start", "end"), [(0, 5), (2, None), (-3, None), (-3, -1), (0, 100)])
def test_a_part_of_what_a_fifo_brings(start: int, end: int | None, tmp_path: Path) -> None:
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    for through in ("_cat_file", "_cat_ranges"):

        async def main(through: str = through) -> Any:
            aio = AioFileSystem(asynchronous=True)
            call = (
                aio._cat_file(path, start=start, end=end)
                if through == "_cat_file"
                else aio._cat_ranges([path], [start], [end])
            )
            reading = asyncio.ensure_future(call)
            await aio._pipe_file(path, b"0123456789")
            found = await asyncio.wait_for(reading, 20)
            return found if through == "_cat_file" else found[0]

        assert asyncio.run(main()) == b"0123456789"[start:end]


def test_a_file_that_comes_to_be_while_another_is_put(
    aio: AioFileSystem, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With mode="create" the other program's file stays."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(3 << 20))
    copy_data = bulk._copy_data

    def create(*arguments: Any) -> Any:
        target.write_bytes(b"the other's")
        return copy_data(*arguments)

    monkeypatch.setattr(bulk, "_copy_data", create)
    with pytest.raises(FileExistsError):
        aio.put_file(str(source), str(target), mode="create")
    assert target.read_bytes() == b"the other's"
    assert sorted(os.listdir(tmp_path)) == ["source", "target"]


@pytest.mark.parametrize("size", [2, 3 << 20])
@pytest.mark.parametrize("how", ["cp_file", "put_file"])
def test_copies_to_a_device(aio: AioFileSystem, how: str, size: int, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(size))
    getattr(aio, how)(str(source), "/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize("size", [2, 3 << 20])
@pytest.mark.parametrize("how", ["cp_file", "put_file"])
def test_copies_into_a_folder_that_can_not_be_written_to(
    how: str, size: int, tmp_path: Path
) -> None:
    source, folder = tmp_path / "source", tmp_path / "folder"
    data = os.urandom(size)
    source.write_bytes(data)
    folder.mkdir()
    (folder / "target").write_bytes(b"old")
    (folder / "target").chmod(0o666)
    folder.chmod(0o555)
    for path in (tmp_path, *tmp_path.parents):
        with contextlib.suppress(PermissionError):
            path.chmod(path.stat().st_mode | 0o111)
    source.chmod(0o644)

    def copy() -> None:
        give_up_root()
        getattr(AioFileSystem(), how)(str(source), str(folder / "target"))

    in_child(copy)
    folder.chmod(0o755)
    assert (folder / "target").read_bytes() == data


@pytest.mark.parametrize("size", [2, 3 << 20])
def test_a_durable_copy_to_where_the_file_is(
    size: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A device is not replaced; what was written to it is synced all the same."""
    synced: list[str] = []

    async def note(file: Any) -> None:
        synced.append(file.name)

    monkeypatch.setattr("linux_aio._many_files._sync", note)
    source = tmp_path / "source"
    source.write_bytes(os.urandom(size))
    AioFileSystem(durable=True, skip_instance_cache=True).cp_file(str(source), "/dev/null")
    assert synced == ["/dev/null"]


def test_a_file_is_put_where_there_are_no_links(
    aio: AioFileSystem, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As on vfat: no links, and no files without a name."""
    opened = os.open

    def open_named(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return opened(path, flags, *arguments, **options)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "open", open_named)
    monkeypatch.setattr(os, "link", refuse)
    source, target = tmp_path / "source", tmp_path / "target"
    data = os.urandom(3 << 20)
    source.write_bytes(data)
    aio.put_file(str(source), str(target), mode="create")
    assert target.read_bytes() == data
    with pytest.raises(FileExistsError):
        aio.put_file(str(source), str(target), mode="create")
    assert sorted(os.listdir(tmp_path)) == ["source", "target"]


@pytest.mark.parametrize("source", ["tree", "tree/", "tree/*"])
@pytest.mark.parametrize("target", ["new", "new/", "there"])
def test_a_tree_is_copied_whole(
    aio: AioFileSystem, tmp_path: Path, source: str, target: str
) -> None:
    """Files do not get ahead of the folders into which they go."""
    for name in ("a", "b/c", "b/d/e/f", "b/d/g", "h/i"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)

    def copied(filesystem: Any, folder: Path) -> dict[str, str]:
        (folder / "there").mkdir(parents=True)
        filesystem.cp(f"{tmp_path}/{source}", f"{folder}/{target}", recursive=True)
        found = [path for path in folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): path.read_text() for path in found}

    expected = copied(LOCAL, tmp_path / "local")
    for number in range(10):
        found = copied(aio, tmp_path / f"aio-{number}")
        assert len(found) == 5
        assert expected.items() <= found.items()  # of a pattern's files, fsspec may miss some


def test_files_that_are_missing_in_a_copy(aio: AioFileSystem, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("data")
    paths = [str(tmp_path / name) for name in ("missing", "there")]
    with pytest.raises(FileNotFoundError):
        aio.cp(paths, [str(tmp_path / name) for name in ("1", "2")])
    aio.cp(paths, [str(tmp_path / name) for name in ("3", "4")], on_error="ignore")
    assert not (tmp_path / "3").exists()
    assert (tmp_path / "4").read_text() == "data"


def test_numbers_of_calls_at_a_time_that_are_none(aio: AioFileSystem, tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    with pytest.raises(ValueError, match="batch_size"):
        aio.pipe({path: b"1"}, batch_size=-5)
    (tmp_path / "file").write_text("data")
    with pytest.raises(ValueError, match="batch_size"):
        aio.cat([path, path + "2"], batch_size=-5)
    with pytest.raises(ValueError, match="batch_size"):
        aio.cat_ranges([path] * 40, 0, 1, batch_size=-5)
    assert aio.cat_ranges([path] * 40, 0, 1, batch_size=-1) == [b"d"] * 40


def test_slashes_at_the_ends_of_local_paths(aio: AioFileSystem, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("data")
    aio.get_file(str(path), f"{tmp_path}/new/")
    assert (tmp_path / "new").read_text() == "data"
    aio.put_file(f"{path}/", f"{tmp_path}/other")
    assert (tmp_path / "other").read_text() == "data"
    for given in (b"path", path):
        with pytest.raises(ValueError, match="must be str or dict"):
            aio.pipe(given, b"")
