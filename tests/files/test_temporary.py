# SPDX-License-Identifier: Apache-2.0
"""Temporary files and directories of linux_aio.fs against those of tempfile."""

# ruff: noqa: ASYNC240 - the standard library is asked what is there

from __future__ import annotations

import asyncio
import gc
import os
import stat
import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from linux_aio import AIOContext, fs
from support import any_loop as loops
from support.files import let_others_pass
from support.forked import give_up_root, in_child
from support.loops import run as run_asyncio
from support.loops import until
from support.open_files import settle_below
from support.workers import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

pytest_plugins = ["support.fixtures"]

pytestmark = pytest.mark.usefixtures("any_loop")


def run(use: Callable[[], Any]) -> Any:
    return loops.current.run(use)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mode": "w+"},
        {"mode": "w"},
        {"prefix": "begin-", "suffix": ".end"},
        {"prefix": b"begin-"},
        {"suffix": b""},
        {"dir": "bytes"},
        {"dir": "path"},
        {"dir": "relative"},
        {"mode": "x+b"},
        {"mode": "a"},
    ],
    ids=repr,
)
def test_a_named_file_is_as_the_standard_librarys(tmp_path: Path, options: dict[str, Any]) -> None:
    options = dict(options)
    forms: dict[str, Any] = {"bytes": os.fsencode(tmp_path), "relative": os.path.relpath(tmp_path)}
    form = options.pop("dir", "text")
    options["dir"] = {**forms, "path": tmp_path, "text": str(tmp_path)}[form]
    if isinstance(options.get("prefix", options.get("suffix")), bytes):
        options["dir"] = os.fsencode(tmp_path)
    data: Any = b"data" if "b" in options.get("mode", "b") else "data"
    with tempfile.NamedTemporaryFile(**options) as other:
        wanted_type, wanted_name = type(other.name), os.fsdecode(other.name)
        wanted_mode = stat.S_IMODE(os.stat(other.name).st_mode)

    async def use() -> None:
        file = await fs.NamedTemporaryFile(**options)
        assert type(file.name) is wanted_type
        path = Path(os.fsdecode(file.name))
        assert os.path.isabs(path)
        assert path.parent.samefile(tmp_path)
        assert len(path.name) == len(os.path.basename(wanted_name))
        assert stat.S_IMODE(path.stat().st_mode) == wanted_mode
        await file.write(data)
        await file.flush()
        assert path.read_bytes() == b"data"
        await file.close()
        assert not path.exists()
        path.touch()
        await file.close()  # the file of that name is somebody else's now
        assert path.exists()
        path.unlink()
        async with fs.NamedTemporaryFile(**options) as file:
            path = Path(os.fsdecode(file.name))
            assert path.exists()
        assert not path.exists()
        async with await fs.NamedTemporaryFile(**options) as file:
            path = Path(os.fsdecode(file.name))
        assert not path.exists()
        assert os.listdir(tmp_path) == []

    run(use)


@pytest.mark.parametrize("mode", ["w+b", "w+"])
def test_what_removes_it(tmp_path: Path, mode: str) -> None:
    async def use() -> None:
        file = await fs.NamedTemporaryFile(mode, dir=tmp_path, delete=False)
        await file.close()
        os.unlink(file.name)
        async with fs.NamedTemporaryFile(mode, dir=tmp_path, delete_on_close=False) as file:
            await file.close()
            assert os.path.exists(file.name)
        assert os.listdir(tmp_path) == []
        async with await fs.NamedTemporaryFile(mode, dir=tmp_path, delete_on_close=False) as file:
            await file.close()
            assert os.path.exists(file.name)
        assert os.listdir(tmp_path) == []
        async with fs.NamedTemporaryFile(mode, dir=tmp_path) as file:
            os.unlink(file.name)  # which is no error
        for _ in range(2):
            await file.close()

    run(use)


@pytest.mark.parametrize("mode", ["w+b", "w+"])
def test_dropped_open_it_is_removed(tmp_path: Path, mode: str) -> None:
    async def use() -> None:
        file: Any = await fs.NamedTemporaryFile(mode, dir=tmp_path)
        await file.write("x" if mode == "w+" else b"x")
        assert os.listdir(tmp_path)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del file
            gc.collect()
        assert [warning.category for warning in caught] == [ResourceWarning]
        await until(lambda: not os.listdir(tmp_path))

    run_asyncio(use())


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "zz"},
        {"mode": "rw"},
        {"encoding": "utf-8"},
        {"mode": "w", "encoding": "no such encoding"},
        {"mode": "w", "newline": "x"},
        {"mode": "w", "buffering": 0},
        {"prefix": b"bytes", "suffix": "str"},
        {"prefix": b"bytes"},
        {"prefix": "a/b"},
        {"suffix": "nul\0"},
        {"prefix": 5},
    ],
    ids=repr,
)
@pytest.mark.parametrize("kind", ["NamedTemporaryFile", "TemporaryFile"])
def test_wrong_arguments_leave_nothing(tmp_path: Path, kind: str, wrong: dict[str, Any]) -> None:
    wanted: Any = None
    try:
        getattr(tempfile, kind)(dir=str(tmp_path), **wrong).close()
    except (ValueError, TypeError, LookupError, OSError) as error:
        wanted = type(error)
    if kind == "TemporaryFile" and "prefix" not in wrong and "suffix" not in wrong:
        assert wanted is not None

    async def use() -> None:
        before = len(os.listdir("/proc/self/fd"))
        got: Any = None
        try:
            async with getattr(fs, kind)(dir=str(tmp_path), **wrong):
                pass
        except (ValueError, TypeError, LookupError, OSError) as error:
            got = type(error)
        assert got is wanted
        assert os.listdir(tmp_path) == []
        await until_or_now(lambda: len(os.listdir("/proc/self/fd")) <= before)

    async def until_or_now(holds: Callable[[], bool]) -> None:
        for _ in range(2000):
            if holds():
                return
            await loops.current.sleep(0.005)
        assert holds()

    async def warm() -> None:
        async with fs.TemporaryFile(dir=str(tmp_path)):
            pass
        await use()

    run(warm)


def test_a_cancelled_opening_leaves_no_file(tmp_path: Path) -> None:
    import asyncio

    async def main() -> None:
        for turns in range(8):
            task = asyncio.ensure_future(fs.NamedTemporaryFile(dir=tmp_path)._open())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            try:
                file = await task
            except asyncio.CancelledError:
                pass
            else:
                await file.close()
        await until(lambda: not os.listdir(tmp_path))

    run_asyncio(main())


def test_a_child_process_leaves_the_parents_file(tmp_path: Path) -> None:
    async def use() -> None:
        async with fs.NamedTemporaryFile(dir=tmp_path) as file:
            removal = file._removal
            in_child(removal.remove_soon)
            assert os.path.exists(file.name)
            await file.write(b"data")
            await file.flush()
            in_child(lambda: run_asyncio(file.close()))
            assert Path(file.name).read_bytes() == b"data"
        assert not os.path.exists(file.name)

    run(use)


@pytest.mark.parametrize("suffix", [None, "-s", b"-s"])
def test_directories(tmp_path: Path, suffix: Any) -> None:
    folder: Any = os.fsencode(tmp_path) if isinstance(suffix, bytes) else tmp_path

    async def use() -> None:
        async with fs.TemporaryDirectory(suffix=suffix, dir=folder) as name:
            with tempfile.TemporaryDirectory(suffix=suffix, dir=folder) as other:
                assert type(name) is type(other)
                assert len(name) == len(other)
                assert os.path.isabs(name)
        assert os.listdir(tmp_path) == []
        async with fs.TemporaryDirectory(dir=tmp_path, delete=False) as name:
            pass
        os.rmdir(name)
        with pytest.raises(TypeError, match="mix bytes"):
            fs.TemporaryDirectory(suffix=b"x", prefix="y")

    run(use)


@pytest.mark.parametrize("end", ["cleanup", "close", "async with"])
def test_a_directory_that_is_awaited(end: str, tmp_path: Path) -> None:
    """As aiofiles' is."""

    async def use() -> None:
        directory = await fs.TemporaryDirectory(dir=tmp_path)
        Path(directory.name, "file").touch()
        assert os.listdir(tmp_path) == [os.path.basename(directory.name)]
        if end == "async with":
            async with directory as name:
                assert name == directory.name
                assert len(os.listdir(tmp_path)) == 1
        else:
            await getattr(directory, end)()
        assert os.listdir(tmp_path) == []

    run(use)


def test_a_directory_that_can_not_be_read_is_removed(tmp_path: Path) -> None:
    """As tempfile's, which changes the modes. Root needs no modes to be changed."""

    def remove_there() -> None:
        give_up_root()

        async def main() -> None:
            async with fs.TemporaryDirectory(dir=tmp_path) as name:
                for folder in ("a", "a/b", "a/b/c"):
                    os.mkdir(f"{name}/{folder}")
                    Path(name, folder, "file").touch()
                for folder in ("a/b/c", "a/b", "a"):
                    os.chmod(f"{name}/{folder}", 0o500 if folder == "a/b" else 0o000)

        run_asyncio(main())

    tmp_path.chmod(0o777)
    let_others_pass(tmp_path)
    in_child(remove_there)
    assert os.listdir(tmp_path) == []


def test_a_directory_that_is_dropped_is_removed(tmp_path: Path) -> None:
    async def main() -> None:
        directory: Any = fs.TemporaryDirectory(dir=tmp_path)
        name = await directory.__aenter__()
        Path(name, "file").touch()
        with pytest.warns(ResourceWarning, match="Implicitly cleaning up"):
            del directory
        await until(lambda: not os.listdir(tmp_path))

    run_asyncio(main())


def test_what_the_end_of_the_loop_leaves_is_removed(tmp_path: Path) -> None:
    """A loop that ends cancels what was to remove them."""

    async def drop_a_file() -> None:
        await fs.NamedTemporaryFile(dir=tmp_path)

    async def drop_a_directory() -> None:
        directory: Any = fs.TemporaryDirectory(dir=tmp_path)
        name = await directory.__aenter__()
        for number in range(50):
            Path(name, f"file {number}").touch()

    for drop in (drop_a_file, drop_a_directory):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            run(drop)
            gc.collect()
        assert os.listdir(tmp_path) == []


def test_a_loop_that_ends_while_they_are_removed(tmp_path: Path) -> None:
    async def use(entered: asyncio.Event) -> None:
        async with (
            fs.NamedTemporaryFile(dir=tmp_path),
            fs.TemporaryDirectory(dir=tmp_path) as name,
        ):
            for number in range(300):
                Path(name, f"file {number}").touch()
            entered.set()

    async def main(turns: int) -> None:
        entered = asyncio.Event()
        task = asyncio.create_task(use(entered))
        await entered.wait()
        for _ in range(turns):
            await asyncio.sleep(0)
        assert not task.cancelled()

    for turns in (0, 1, 2, 5, 20, 100):
        run_asyncio(main(turns))
        assert os.listdir(tmp_path) == []


KINDS: dict[str, Callable[..., Any]] = {
    "file": fs.NamedTemporaryFile,
    "file without a name": fs.TemporaryFile,
    "directory": fs.TemporaryDirectory,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_context_that_is_closed_while_they_are_made(tmp_path: Path, kind: str) -> None:
    async def use(context: AIOContext) -> None:
        async with KINDS[kind](dir=tmp_path, context=context):
            await loops.current.sleep(60)

    async def main(turns: int) -> None:
        async with AIOContext() as context, loops.current.group() as group:
            group.start(use, context)
            await loops.current.turns(turns)
            group.cancel()
        await loops.current.until(lambda: not os.listdir(tmp_path))

    for turns in range(12):
        run(partial(main, turns))


@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_that_ends_while_they_are_made(tmp_path: Path, kind: str) -> None:
    async def use() -> None:
        async with KINDS[kind](dir=tmp_path):
            await loops.current.sleep(60)

    async def main(turns: int) -> None:
        async with loops.current.group() as group:
            group.start(use)
            await loops.current.turns(turns)
            group.cancel()

    for turns in range(12):
        run(partial(main, turns))
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", KINDS)
def test_all_other_tasks_are_cancelled_while_they_are_made(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As programs do that shut down, and know nothing of the tasks of this library."""
    # the file without a name is then made with one, as on a file system without O_TMPFILE
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)

    async def make() -> str:
        async with KINDS[kind](dir=tmp_path):
            return "made"

    async def make_and_cancel(turns: int) -> str:
        known = asyncio.all_tasks()
        task = asyncio.create_task(make())
        known.add(task)
        while not task.done() and asyncio.all_tasks() <= known:  # noqa: ASYNC110
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        for other in asyncio.all_tasks() - known:
            other.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            return "cancelled"

    async def main() -> None:
        assert await make_and_cancel(0) == "cancelled"
        for turns in range(8):
            await make_and_cancel(turns)
        await until(lambda: not os.listdir(tmp_path))
        await settle_below(tmp_path)

    run_asyncio(main())


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_made_when_a_trio_run_ends(tmp_path: Path, kind: str) -> None:
    """Trio then cancels all system tasks, and so the one that makes them."""
    trio: Any = pytest.importorskip("trio")
    errors: list[str] = []

    async def make_late() -> None:
        context = AIOContext()
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(PATIENCE, shield=True):
                try:
                    await KINDS[kind](dir=tmp_path, context=context)
                except RuntimeError as error:
                    errors.append(str(error))
            context.close()

    async def main() -> None:
        trio.lowlevel.spawn_system_task(make_late)
        await trio.sleep(0)

    trio.run(main)
    assert errors == ["the Trio run is ending"]
    assert os.listdir(tmp_path) == []
