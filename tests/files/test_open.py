# SPDX-License-Identifier: Apache-2.0
"""What becomes of files that are opened, cancelled, closed and dropped; in asyncio and in Trio."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import linux_aio
from linux_aio import _unwritten, fs
from support.any_loop import AnyLoop
from support.direct import direct_reason
from support.forked import in_child
from support.fusefs import HoldingFS
from support.loops import run, until
from support.open_files import settle_below
from support.workers import PATIENCE

pytest_plugins = ["support.fixtures"]

# kernel AIO, and so the engine `aio`, refuses files of devices and of /proc
by_more_than_aio = pytest.mark.engine("auto", "uring", "threads")

# A buffer so small that a few writes begin a request.
HALF_MIB = 1 << 19


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def settle(count: int) -> None:
    """Wait until no more than count descriptors are open: some are closed in the background."""
    for _ in range(500):
        if descriptors() <= count:
            return
        gc.collect()
        await asyncio.sleep(0.01)
    assert descriptors() <= count


def test_read_and_write(tmp_path: Path) -> None:
    async def main() -> None:
        async with linux_aio.open(tmp_path / "file", "w") as file:
            assert await file.write("first\n") == 6
            await file.writelines(["second\n", "third"])
        async with linux_aio.open(tmp_path / "file") as file:
            assert [line async for line in file] == ["first\n", "second\n", "third"]
        binary = await linux_aio.open(tmp_path / "file", "rb")
        assert await binary.read(5) == b"first"
        assert await binary.pread(6, 6) == b"second"
        assert await binary.tell() == 5
        await binary.close()
        assert binary.closed

    run(main())


def test_closed_after_an_exception(tmp_path: Path) -> None:
    kept: list[Any] = []

    async def main() -> None:
        async def use() -> None:
            async with linux_aio.open(tmp_path / "file", "wb") as file:
                kept.append(file)
                await file.write(b"written")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await use()
        assert kept[0].closed
        assert (tmp_path / "file").read_bytes() == b"written"

    run(main())


def test_the_open_of_a_fifo_is_cancelled(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    async def main() -> None:
        async with linux_aio.open(os.devnull):
            pass
        before = descriptors()
        for _ in range(20):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await linux_aio.open(tmp_path / "fifo")
        await settle(before)

    run(main())


def test_opens_cancelled_at_random_leak_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    chance = random.Random(1)

    modes = ["rb", "r+b", "ab"]

    async def use(mode: str) -> None:
        async with linux_aio.open(path, mode) as file:
            await file.read(10) if file.readable() else await file.write(b"y")

    async def main() -> None:
        for mode in modes:  # the context, and its threads, keep what they have
            await use(mode)
        before = descriptors()
        for _ in range(150):
            task = asyncio.create_task(use(chance.choice(modes)))
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await settle(before)

    run(main())


def test_a_cancelled_close_closes(tmp_path: Path) -> None:
    async def main() -> None:
        for turns in range(6):
            file = await linux_aio.open(tmp_path / "file", "wb")
            await file.write(b"gathered")
            task = asyncio.create_task(file.close())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            del file, task
            await settle_below(tmp_path)
            if turns:
                assert (tmp_path / "file").read_bytes() == b"gathered"

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # one never came to its first step
        run(main())


def test_dropped_open(tmp_path: Path) -> None:
    """It warns, and what was gathered is written all the same."""

    async def main() -> None:
        await (await linux_aio.open(os.devnull)).close()
        before = descriptors()
        files = [await linux_aio.open(tmp_path / "file", "wb")]
        await files[0].write(b"gathered")
        with pytest.warns(ResourceWarning, match="unclosed"):
            files.clear()
        await settle(before)
        deadline = time.monotonic() + 10
        while (tmp_path / "file").read_bytes() != b"gathered":
            assert time.monotonic() < deadline
            await asyncio.sleep(0.001)

    run(main())


@pytest.mark.parametrize("is_reading", [False, True])
def test_a_cancelled_close_leaves_the_descriptor_to_what_goes_on(
    is_reading: bool, tmp_path: Path
) -> None:
    """Else it would go on in whatever file gets the number."""
    size = 6 << 20
    (tmp_path / "file").write_bytes(b"o" * size)
    (tmp_path / "other").write_bytes(b"v" * size)
    others: list[int] = []

    async def main() -> None:
        async with linux_aio.open(tmp_path / "file", "r+b") as file:  # our threads begin
            await file.pwrite(b"o" * size, 0)
        before = descriptors()
        file = await linux_aio.open(tmp_path / "file", "r+b")
        if is_reading:
            going_on: asyncio.Future[Any] = asyncio.ensure_future(
                file.pread(size + 10, 0)
            )  # two requests
        else:
            going_on = asyncio.ensure_future(file.pwrite(b"w" * size, 0))
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(file.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.sleep(0)
        assert file.closed
        others.extend(os.open(tmp_path / "other", os.O_RDWR) for _ in range(3))
        with pytest.raises(ValueError, match="closed"):
            await file.pread(1, 0)
        assert await going_on == (b"o" * size if is_reading else size)
        for number in others:
            os.close(number)
        await settle(before)

    run(main())
    assert (tmp_path / "other").read_bytes() == b"v" * size
    assert (tmp_path / "file").read_bytes() == (b"o" if is_reading else b"w") * size


def test_a_descriptor_that_appends_is_left_at_the_end(tmp_path: Path) -> None:
    for mode, flags in (("ab", 0), ("wb", os.O_APPEND), ("r+b", os.O_APPEND)):
        path = tmp_path / "file"
        path.write_bytes(b"0123456789")
        fd = os.open(path, os.O_RDWR | flags)

        async def main(fd: int = fd, mode: str = mode) -> int:
            async with linux_aio.open(fd, mode, closefd=False) as file:
                await file.write(b"AB")
                await file.flush()
                return int(await file.tell())

        assert run(main()) == 12
        os.write(fd, b"more")
        os.close(fd)
        assert path.read_bytes() == b"0123456789ABmore"


@by_more_than_aio
def test_readinto_of_a_pipe_that_is_cancelled_loses_nothing() -> None:
    reader, writer = os.pipe()

    async def main() -> None:
        async with linux_aio.open(reader, "rb") as file:
            os.write(writer, b"01234")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(file.readinto(bytearray(10)), 0.05)
            os.write(writer, b"56789")
            assert await file.read(10) == b"0123456789"

    run(main())
    os.close(writer)


@by_more_than_aio
def test_a_large_write_to_a_full_pipe_can_be_cancelled() -> None:
    reader, writer = os.pipe()

    async def main() -> None:
        file = await linux_aio.open(writer, "wb", HALF_MIB)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(file.write(bytes(1 << 20)), 0.05)
        await file.close()

    run(main())
    os.close(reader)


def test_what_was_read_while_it_was_overwritten_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"o" * 65536)

    async def main() -> None:
        for _ in range(30):
            async with linux_aio.open(tmp_path / "file", "r+b") as file:
                await file.pwrite(b"o" * 8192, 8192)
                reading = asyncio.ensure_future(file.read(10))
                await asyncio.sleep(0)
                await file.pwrite(b"n" * 8192, 8192)
                await reading
                await file.seek(8192)
                assert await file.read(10) == b"n" * 10

    run(main())


def test_a_file_that_has_grown_is_read_to_its_new_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 20))

    async def main() -> None:
        async with linux_aio.open(path, "rb") as file:
            first = len(await file.read(300_000)) + len(await file.read(100_000))
            with path.open("ab") as other:
                other.write(bytes(1 << 20))
            assert first + len(await file.read()) == 2 << 20

    run(main())


def test_memory_of_no_bytes_and_several_dimensions(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    empty = numpy.empty((0, 3))

    async def main() -> None:
        async with linux_aio.open(tmp_path / "file", "w+b") as file:
            assert await file.write(empty) == 0
            assert await file.pwrite(empty, 0) == 0
            assert await file.readinto(empty) == 0
            assert await file.preadinto(empty, 0) == 0

    run(main())


@pytest.mark.parametrize("wrong", [0.5, "a", None])
def test_a_position_that_is_no_integer(wrong: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with linux_aio.open(tmp_path / "file", "wb") as file:
            with pytest.raises(TypeError):
                await file.seek(wrong)
            if wrong is not None:
                with pytest.raises(TypeError):
                    await file.truncate(wrong)

    run(main())


@by_more_than_aio
def test_a_cancelled_write_leaves_an_encoding_with_states_as_it_was() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)

    async def main() -> None:
        file = await linux_aio.open(writer, "w", encoding="iso2022_jp", buffering=100)
        text = ""
        for _ in range(2000):
            piece = "a" * 90 + "い"
            try:
                await asyncio.wait_for(file.write(piece), 0.05)
            except TimeoutError:
                break
            text += piece
        else:
            pytest.fail("the pipe is never full")
        taken = b""
        closing = asyncio.ensure_future(file.close())
        while not closing.done():
            with contextlib.suppress(BlockingIOError):
                taken += os.read(reader, 1 << 16)
            await asyncio.sleep(0.001)
        with contextlib.suppress(BlockingIOError):
            taken += os.read(reader, 1 << 16)
        assert taken.decode("iso2022_jp") == text

    run(main())
    os.close(reader)


@by_more_than_aio
def test_no_space_is_told_once() -> None:
    async def main() -> None:
        file = await linux_aio.open("/dev/full", "wb", buffering=100)
        await file.write(b"x")
        with pytest.raises(OSError, match="No space") as caught:
            await file.flush()
        assert caught.value.errno == errno.ENOSPC
        with pytest.raises(OSError, match="No space"):  # what was gathered is not given up
            await file.close()
        assert file.closed
        await file.close()

    run(main())


def test_calls_of_many_tasks_are_done_in_order(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(200)))

    async def main() -> None:
        async with linux_aio.open(tmp_path / "file", "rb", buffering=16) as file:
            parts = await asyncio.gather(*(file.read(10) for _ in range(20)))
        assert b"".join(parts) == bytes(range(200))

    run(main())


def test_a_seek_to_where_a_text_stands_is_one_call(tmp_path: Path) -> None:
    """What other tasks read after it is not read again."""
    (tmp_path / "file").write_text("".join(f"{number}\n" for number in range(10)))

    async def main() -> None:
        async with linux_aio.open(tmp_path / "file") as file:
            assert await file.readline() == "0\n"
            await file.buffer._acquire()  # so that the calls queue
            calls = [file.seek(0, os.SEEK_CUR), file.readline(), file.tell(), file.readline()]
            tasks = [asyncio.ensure_future(call) for call in calls]
            await asyncio.sleep(0)
            file.buffer._release()
            assert await asyncio.gather(*tasks) == [2, "1\n", 4, "2\n"]
            assert await file.readline() == "3\n"

    run(main())


@by_more_than_aio
@pytest.mark.parametrize(
    "name", ["/proc/self/status", "/sys/kernel/mm/transparent_hugepage/enabled"]
)
def test_files_whose_size_lies(name: str) -> None:
    if not os.path.exists(name):
        pytest.skip(f"there is no {name}")
    beginnings = []

    async def main() -> None:
        async with linux_aio.open(name) as file:
            beginnings.append((await file.read())[:4])

    run(main())
    assert beginnings == [Path(name).read_text()[:4]]


def test_in_trio(tmp_path: Path) -> None:
    trio: Any = pytest.importorskip("trio")

    async def main() -> None:
        async with linux_aio.open(tmp_path / "file", "w") as file:
            for number in range(1000):
                await file.write(f"{number}\n")
        async with linux_aio.open(tmp_path / "file") as file:
            assert [int(line) async for line in file] == list(range(1000))
        os.mkfifo(tmp_path / "fifo")
        with trio.move_on_after(0.05) as scope:
            await linux_aio.open(tmp_path / "fifo")
        assert scope.cancelled_caught

    for _ in range(2):
        trio.run(main)
        (tmp_path / "fifo").unlink()
    before = descriptors()
    trio.run(main)
    assert descriptors() <= before


def plain_run(main: Any) -> None:
    """A loop that is closed without its tasks being cancelled."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # it complains of the tasks
    try:
        loop.run_until_complete(main)
    finally:
        loop.close()


def trio_run(main: Any) -> None:
    async def awaited() -> None:
        await main

    pytest.importorskip("trio").run(awaited)


@pytest.mark.parametrize("runner", [run, plain_run, trio_run])
@pytest.mark.parametrize("how", ["dropped", "after its context"])
@pytest.mark.parametrize("mode", ["wb", "ab"])
@pytest.mark.parametrize("count", [1, 10])
def test_a_file_that_the_loops_end_leaves_open_is_written(
    tmp_path: Path, runner: Any, how: str, mode: str, count: int
) -> None:
    path = tmp_path / "file"
    piece = b"gathered" if count == 1 else b"x" * 300_000

    async def main() -> None:
        async with linux_aio.AIOContext() as context:
            file: Any = await linux_aio.open(
                path, mode, HALF_MIB, context=context if how == "after its context" else None
            )
            for _ in range(count):
                await file.write(piece)
            if how == "dropped":
                del file

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the file, and of a task that never began
        runner(main())
        gc.collect()
    assert path.read_bytes() == piece * count
    run(settle_below(tmp_path))


@pytest.mark.engine("auto", "uring", "threads")  # kernel AIO waits for pipes inside io_submit
@pytest.mark.parametrize("mode", ["wb", "ab"])
def test_files_dropped_while_their_loop_rests_are_written(tmp_path: Path, mode: str) -> None:
    """Some of the requests wait in the context's queue, and an endless one is in flight."""
    reading, writing = os.pipe()
    loop = asyncio.new_event_loop()
    paths = [tmp_path / str(number) for number in range(20)]

    async def read_pipe() -> bytes:
        async with linux_aio.open(reading, "rb", closefd=False) as pipe:
            return await pipe.read(10)

    async def main() -> tuple[list[Any], asyncio.Task[bytes]]:
        files: list[Any] = [await linux_aio.open(path, mode, HALF_MIB) for path in paths]
        task = asyncio.create_task(read_pipe())
        await asyncio.sleep(0.01)
        for file in files:
            for number in range(4):
                await file.write(bytes([number]) * 200_000)
        return files, task

    try:
        files, task = loop.run_until_complete(main())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            del files
            gc.collect()
        wanted = b"".join(bytes([number]) * 200_000 for number in range(4))
        assert all(path.read_bytes() == wanted for path in paths)
        os.close(writing)
        assert loop.run_until_complete(task) == b""
    finally:
        loop.close()
        os.close(reading)


def drop_in_child(files: list[Any]) -> None:
    """Have a child process drop its copies of the files."""

    def drop() -> None:
        warnings.simplefilter("ignore", ResourceWarning)
        files.clear()
        gc.collect()

    in_child(drop)


@pytest.mark.parametrize("mode", ["wb", "ab"])
def test_a_child_writes_nothing_that_was_gathered(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "file"

    async def main() -> None:
        files: list[Any] = [await linux_aio.open(path, mode)]
        await files[0].write(b"gathered")
        drop_in_child(files)
        assert path.read_bytes() == b""
        await files[0].close()

    run(main())
    assert path.read_bytes() == b"gathered"


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("mode", ["rb", "wb", "r+b"])
def test_a_child_can_close_its_copy(tmp_path: Path, mode: str, direct: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"data")
    if direct and (reason := direct_reason(tmp_path)):
        pytest.skip(reason)
    loop = asyncio.new_event_loop()

    async def open_file() -> Any:
        return await linux_aio.open(path, mode, direct=direct)

    try:
        file = loop.run_until_complete(open_file())
        number = file.fileno()

        def close() -> None:
            asyncio.run(file.close())
            deadline = time.monotonic() + 10
            while True:  # it may be closed in the background
                try:
                    os.fstat(number)
                except OSError:
                    return
                assert time.monotonic() < deadline
                time.sleep(0.001)

        in_child(close)
        os.fstat(number)
        loop.run_until_complete(file.close())
    finally:
        loop.close()


def close_in_child(file: Any, close: Callable[[Any], Any]) -> None:
    """Have a child process close its copy of a file of a loop that runs; see that it is closed."""
    number = file.fileno()

    def close_copy() -> None:
        close(file)
        assert file.closed
        deadline = time.monotonic() + 10
        while os.path.exists(f"/proc/self/fd/{number}"):  # it may be closed in the background
            assert time.monotonic() < deadline
            time.sleep(0.001)

    in_child(close_copy)
    os.fstat(number)


def close_by_asyncio(file: Any) -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(file.close())
    loop.close()


def close_by_trio(file: Any) -> None:
    trio = pytest.importorskip("trio")
    trio.run(file.close)


in_each_way = pytest.mark.parametrize("close", [close_by_asyncio, close_by_trio])


@by_more_than_aio
@in_each_way
@pytest.mark.parametrize("mode", ["rb", "r"])
def test_a_child_closes_its_copy_of_a_file_that_a_task_reads(
    mode: str, close: Callable[[Any], Any]
) -> None:
    async def main() -> None:
        reader, writer = os.pipe()
        async with linux_aio.open(reader, mode) as file:
            reading = asyncio.ensure_future(file.read(1))
            waiting = asyncio.ensure_future(file.read(1))
            await asyncio.sleep(0.01)
            close_in_child(file, close)
            os.write(writer, b"ab")
            assert await reading + await waiting in ("ab", b"ab")
        os.close(writer)

    run(main())


@by_more_than_aio
@in_each_way
def test_a_child_closes_its_copy_of_a_file_beside_calls(
    fuse: HoldingFS, close: Callable[[Any], Any]
) -> None:
    fuse.create("file", b"data")

    async def main() -> None:
        async with linux_aio.open(fuse.path("file"), "rb") as file:
            fuse.hold()
            reading = asyncio.ensure_future(file.pread(4, 0))
            await until(lambda: fuse.held() > 0)
            close_in_child(file, close)
            fuse.unhold()
            assert await reading == b"data"

    run(main())


# Calls that no buffer answers; `given` makes what the file reads and writes.
CALLS: dict[str, Callable[[Any, Callable[[str], Any]], Any]] = {
    "read": lambda file, _: file.read(1),
    "read all": lambda file, _: file.read(),
    "readline": lambda file, _: file.readline(),
    "readlines": lambda file, _: file.readlines(),
    "iterate": lambda file, _: anext(file),
    "writelines": lambda file, given: file.writelines([given("childs\n")]),
    "write much": lambda file, given: file.write(given("childs\n") * HALF_MIB),
    "flush": lambda file, _: file.flush(),
    "tell": lambda file, _: file.tell(),
    "seek": lambda file, _: file.seek(0),
    "truncate": lambda file, _: file.truncate(0),
    "fsync": lambda file, _: file.fsync(),
    "stat": lambda file, _: file.stat(),
}

CALLS_OF_BYTES: dict[str, Callable[[Any, Callable[[str], Any]], Any]] = {
    "readinto": lambda file, _: file.readinto(bytearray(1)),
    "read1": lambda file, _: file.read1(),
    "peek": lambda file, _: file.peek(),
    "write other memory": lambda file, _: file.write(bytearray(1)),
    "pread": lambda file, _: file.pread(1, 0),
    "preadinto": lambda file, _: file.preadinto(bytearray(1), 0),
    "pwrite": lambda file, _: file.pwrite(b"x", 0),
}


@pytest.mark.parametrize("is_in_use", [False, True])
@pytest.mark.parametrize("mode", ["r+", "r+b"])
def test_a_child_can_not_use_its_copy(
    any_loop: AnyLoop, tmp_path: Path, mode: str, is_in_use: bool
) -> None:
    """Nor does it wait for the parent's calls, which never end there."""
    path = tmp_path / "file"
    path.write_bytes(b"parents\n")
    calls = CALLS | CALLS_OF_BYTES if mode == "r+b" else CALLS

    def given(text: str) -> Any:
        return text.encode() if mode == "r+b" else text

    async def use(file: Any) -> None:
        async with file:
            for call in calls.values():
                with pytest.raises(RuntimeError, match="belongs to the process that made it"):
                    await call(file, given)

    async def main() -> None:
        async with linux_aio.open(path, mode) as file:
            binary = file if mode == "r+b" else file.buffer
            if is_in_use:
                await binary._acquire()
            in_child(lambda: any_loop.run(lambda: use(file)))
            if is_in_use:
                binary._release()
            assert await file.read() == given("parents\n")
        assert path.read_bytes() == b"parents\n"

    run(main())


@pytest.mark.parametrize("mode", ["r+b", "r+"])
@pytest.mark.parametrize("use", ["read", "write"])
def test_a_child_has_no_use_of_the_buffers(
    any_loop: AnyLoop, tmp_path: Path, mode: str, use: str
) -> None:
    """What they could answer or gather at once is refused, too: nothing vanishes."""
    path = tmp_path / "file"
    path.write_bytes(b"parents\n")

    async def refused(file: Any) -> None:
        async with file:
            with pytest.raises(RuntimeError, match="belongs to the process that made it"):
                await (file.read(1) if use == "read" else file.write("x" if mode == "r+" else b"x"))

    async def main() -> None:
        async with linux_aio.open(path, mode) as file:
            if use == "read":
                await file.read(1)
            in_child(lambda: any_loop.run(lambda: refused(file)))

    run(main())
    assert path.read_bytes() == b"parents\n"


@in_each_way
@pytest.mark.parametrize("mode", ["wb", "ab", "w"])
def test_a_child_that_closes_its_copy_leaves_the_parents_bytes(
    tmp_path: Path, mode: str, close: Callable[[Any], Any]
) -> None:
    path = tmp_path / "file"

    async def main() -> None:
        async with linux_aio.open(path, mode) as file:
            await file.write("x" * 1000 if mode == "w" else b"x" * 1000)
            close_in_child(file, close)
            assert path.read_bytes() == b""

    run(main())
    assert path.read_bytes() == b"x" * 1000


@by_more_than_aio
@pytest.mark.parametrize("mode", ["wb", "ab"])
def test_a_child_writes_nothing_that_is_in_flight(fuse: HoldingFS, mode: str) -> None:
    fuse.create("file", b"")

    async def main() -> None:
        files: list[Any] = [await linux_aio.open(fuse.path("file"), mode, HALF_MIB)]
        fuse.hold()
        for number in range(2):
            await files[0].write(bytes([number]) * 300_000)
        await until(lambda: fuse.held() > 0)
        drop_in_child(files)
        fuse.unhold()
        await files[0].close()

    run(main())
    assert fuse.contents("file") == b"".join(bytes([number]) * 300_000 for number in range(2))


class Unawaited:
    """A request in flight for whose awaiting task there is no memory."""

    def __init__(self, request: Any) -> None:
        self._is_over = request._is_over
        self._is_finished = request._is_finished
        self._result_if_over = request._result_if_over

    def __await__(self) -> Any:
        raise MemoryError


@pytest.mark.parametrize("mode", ["wb", "ab"])
@pytest.mark.parametrize("how", ["closed", "dropped"])
def test_what_could_not_be_waited_for_is_written_once(tmp_path: Path, mode: str, how: str) -> None:
    path = tmp_path / "file"

    async def main() -> None:
        file: Any = await linux_aio.open(path, mode, HALF_MIB)
        for _ in range(3):
            await file.write(b"x" * 300_000)
        request = file._request
        file._request = Unawaited(request)
        with pytest.raises(MemoryError):
            await file.flush()
        if file._request is not None:
            file._request = request
        if how == "closed":
            await file.close()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        run(main())
        gc.collect()
    assert path.read_bytes() == b"x" * 900_000


@pytest.mark.parametrize("mode", ["wb", "ab"])
def test_an_interrupt_that_follows_the_result_of_a_write(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result has been taken, and is not noted. The bytes are written once all the same."""
    path = tmp_path / "file"
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # it complains of the task

    def interrupt(*_: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    async def main() -> None:
        file: Any = await linux_aio.open(path, mode)
        await file.write(b"gathered")
        monkeypatch.setattr(_unwritten.Leftover, "_note", interrupt)
        del file
        await asyncio.Event().wait()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(main())
        loop.close()
        del loop
        gc.collect()
    assert path.read_bytes() == b"gathered"


@by_more_than_aio
@pytest.mark.parametrize("mode", ["wb", "ab"])
def test_ctrl_c_ends_the_wait_for_a_server_that_hangs(
    fuse: HoldingFS, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is dropped after its loop waits for the request in flight, without the GIL."""
    fuse.create("file", b"")
    files: list[Any] = []
    ignored: list[Any] = []
    is_waiting = threading.Event()
    sleep = time.sleep

    async def main() -> None:
        files.append(await linux_aio.open(fuse.path("file"), mode, HALF_MIB))
        fuse.hold()
        for number in range(2):
            await files[0].write(bytes([number]) * 300_000)
        await until(lambda: fuse.held() > 0)

    def note_wait(seconds: float) -> None:
        is_waiting.set()
        sleep(seconds)

    def interrupt() -> None:
        assert is_waiting.wait(PATIENCE)
        os.kill(os.getpid(), signal.SIGINT)

    plain_run(main())
    thread = threading.Thread(target=interrupt)
    thread.start()
    with monkeypatch.context() as patches:
        patches.setattr(time, "sleep", note_wait)
        # what a finalizer raises is ignored
        patches.setattr(sys, "unraisablehook", lambda what: ignored.append(what.exc_type))
        files.clear()
        gc.collect()
    thread.join()
    assert fuse.held() > 0
    assert ignored == [KeyboardInterrupt]
    fuse.unhold()


@by_more_than_aio
@pytest.mark.parametrize("runner", [run, plain_run, trio_run])
@pytest.mark.parametrize("how", ["dropped", "held", "being closed"])
def test_a_pipe_that_nobody_reads_does_not_keep_the_loop(runner: Any, how: str) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    held: list[Any] = []

    async def main() -> None:
        file: Any = await linux_aio.open(writing, "wb", HALF_MIB)
        for _ in range(10):
            await file.write(b"x" * 100_000)
        assert not file._request._is_over()
        if how == "held":
            held.append(file)
        if how == "being closed":
            if runner is trio_run:
                with pytest.importorskip("trio").move_on_after(0):
                    await file.close()
            else:
                closing = asyncio.ensure_future(file.close())
                await asyncio.sleep(0)
                closing.cancel()

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            runner(main())
            held.clear()
            gc.collect()
    finally:
        os.close(reading)


def test_a_close_that_is_cancelled_by_the_loops_end_writes(tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def main(turns: int) -> None:
        file = await linux_aio.open(path, "wb")
        await file.write(b"gathered")
        closing = asyncio.ensure_future(file.close())
        for _ in range(turns):
            await asyncio.sleep(0)
        closing.cancel()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # one never came to its first step
        for turns in range(5):
            run(main(turns))
            gc.collect()
            assert path.read_bytes() == b"gathered"
            path.unlink()


@pytest.mark.parametrize("wrong", [4096.5, "1", None, 1 << 31, -(1 << 31) - 1])
def test_a_size_of_the_buffer_that_is_none(tmp_path: Path, wrong: Any) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((TypeError, OverflowError)) as wanted:
        open(tmp_path / "file", "rb", buffering=wrong).close()
    with pytest.raises(wanted.type):
        linux_aio.open(tmp_path / "file", "rb", buffering=wrong)


def test_text_before_what_is_no_text_is_there_afterwards(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abcdefgh\xe3\x81")

    async def main() -> None:
        async with linux_aio.open(tmp_path / "file", encoding="utf-8") as file:
            assert await file.read(3) == "abc"
            with pytest.raises(UnicodeDecodeError):
                await file.read()
            assert await file.read(4) == "defg"

    with open(tmp_path / "file", encoding="utf-8") as file:
        assert file.read(3) == "abc"
        with pytest.raises(UnicodeDecodeError):
            file.read()
        assert file.read(4) == "defg"
    run(main())


@pytest.mark.parametrize("buffering", [0, -1, 5])
def test_a_write_of_nothing_leaves_the_position(tmp_path: Path, buffering: int) -> None:
    """Of a file that appends, too: nothing is appended."""
    (tmp_path / "file").write_bytes(b"0123456789")

    async def main() -> None:
        async with linux_aio.open(tmp_path / "file", "a+b", buffering) as file:
            await file.seek(2)
            assert await file.write(b"") == 0
            assert await file.tell() == 2
            assert await file.read(3) == b"234"
            assert await file.write(b"ab") == 2
            assert await file.write(b"") == 0
            await file.flush()
            assert await file.tell() == 12
        assert (tmp_path / "file").read_bytes() == b"0123456789ab"

    run(main())


@pytest.mark.parametrize("mode", ["w", "a", "w+"])
@pytest.mark.parametrize("kind", ["open", "named", "temporary"])
def test_line_buffering_has_the_usual_buffer(tmp_path: Path, mode: str, kind: str) -> None:
    """Text is gathered until a line ends, and then all of it is written."""

    async def main() -> None:
        opening: Any
        if kind == "open":
            opening = linux_aio.open(tmp_path / "file", mode, buffering=1)
        else:
            make: Any = fs.NamedTemporaryFile if kind == "named" else fs.TemporaryFile
            opening = make(mode, buffering=1, dir=tmp_path)
        async with opening as file:
            assert file.line_buffering
            await file.write("begun")
            assert os.fstat(file.fileno()).st_size == 0
            await file.write(", ended\nbegun")
            assert os.fstat(file.fileno()).st_size == 18
            assert file.buffer._limit > 1
            assert file.buffer._chunk > 1

    run(main())


def test_lines_of_two_programs_do_not_mix(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "file"
        async with (
            linux_aio.open(path, "a", buffering=1) as one,
            linux_aio.open(path, "a", buffering=1) as two,
        ):
            for _ in range(3):
                await one.write("one ")
                await two.write("two ")
                await one.write("one\n")
                await two.write("two\n")
        assert path.read_text() == "one one\ntwo two\n" * 3

    run(main())


@pytest.mark.parametrize(
    ("wrong", "error"), [(None, TypeError), ("1", TypeError), (0.5, TypeError), (-1, OSError)]
)
@pytest.mark.parametrize("direct", [False, True])
def test_offsets_and_sizes_that_are_none(
    tmp_path: Path, wrong: Any, error: type[Exception], direct: bool
) -> None:
    """They are refused before the file is touched."""
    if direct and direct_reason(tmp_path):
        pytest.skip(direct_reason(tmp_path) or "")
    (tmp_path / "file").write_bytes(b"0123456789")
    memory = bytearray(b"unchanged")

    async def main() -> None:
        async with linux_aio.open(tmp_path / "file", "r+b", direct=direct) as file:
            os.lseek(file.fileno(), 3, os.SEEK_SET)
            for call in (
                partial(file.pread, 5, wrong),
                partial(file.pread, wrong, 0),
                partial(file.preadinto, memory, wrong),
                partial(file.preadinto, bytearray(), wrong),
                partial(file.pwrite, b"no", wrong),
                partial(file.pwrite, b"", wrong),
            ):
                with pytest.raises(error) as caught:
                    await call()
                if error is OSError:
                    assert isinstance(caught.value, OSError)
                    assert caught.value.errno == errno.EINVAL
            assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 3
            assert memory == b"unchanged"
            assert await file.pread(0, 5) == b""
            assert await file.pread(2, 20) == b""

    run(main())
    assert (tmp_path / "file").read_bytes() == b"0123456789"


@pytest.mark.parametrize("mode", ["r+", "w+", "a+", "r+b", "w+b", "a+b"])
@by_more_than_aio
def test_a_fifo_that_is_read_and_written(tmp_path: Path, mode: str) -> None:
    """The built-in open() refuses it, for it has no position."""
    os.mkfifo(tmp_path / "fifo")

    async def main() -> None:
        async with linux_aio.open(tmp_path / "fifo", mode) as file:
            line: Any = b"a line\n" if "b" in mode else "a line\n"
            await file.write(line)
            await file.flush()
            assert await file.readline() == line
            assert not file.seekable()

    run(main())
