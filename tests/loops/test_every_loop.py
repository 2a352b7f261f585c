# SPDX-License-Identifier: Apache-2.0
"""What can be awaited, on asyncio, uvloop and Trio: results, cancelling, and nothing left."""

from __future__ import annotations

import gc
import hashlib
import os
import select
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import linux_aio
from linux_aio import AIOContext, AIOOperation, bulk, fs
from support.any_loop import AnyLoop, Group
from support.files import Gate, contents, file_in_memory
from support.fusefs import HoldingFS
from support.measure import soon
from support.operations import wait_idle

pytest_plugins = ["support.fixtures"]

BLOCK = 4096
DATA = bytes(number % 251 for number in range(20 * BLOCK))

Start = Callable[[AIOContext, int], Awaitable[Any]]

# kernel AIO waits for a pipe inside io_submit(2), and so does the engine `aio`
waits_elsewhere = pytest.mark.engine("auto", "uring", "threads")

METHODS: dict[str, tuple[Start, Any]] = {
    "read": (lambda ctx, fd: ctx.read(5, fd, 3), DATA[3:8]),
    "readinto": (lambda ctx, fd: ctx.readinto(bytearray(5), fd, 3), 5),
    "readv": (lambda ctx, fd: ctx.readv([bytearray(2), bytearray(3)], fd, 3), 5),
    "write": (lambda ctx, fd: ctx.write(b"hello", fd, 3), 5),
    "writev": (lambda ctx, fd: ctx.writev([b"he", b"llo"], fd, 3), 5),
    "fsync": (lambda ctx, fd: ctx.fsync(fd), None),
    "fdsync": (lambda ctx, fd: ctx.fdsync(fd), None),
    "poll": (lambda ctx, fd: ctx.poll(fd, select.POLLIN), select.POLLIN),
}

OPERATIONS: dict[str, tuple[Callable[[int], AIOOperation], Any]] = {
    "read": (lambda fd: AIOOperation.read(5, fd, 3), DATA[3:8]),
    "readinto": (lambda fd: AIOOperation.readinto(bytearray(5), fd, 3), 5),
    "write": (lambda fd: AIOOperation.write(b"hello", fd, 3), 5),
    "fsync": (lambda fd: AIOOperation.fsync(fd), None),
    "poll": (lambda fd: AIOOperation.poll(fd, select.POLLIN), select.POLLIN),
}


@pytest.fixture
def fd() -> Iterator[int]:
    with file_in_memory(DATA) as number:
        yield number


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(DATA)
    return tmp_path / "file"


@pytest.fixture
def direct(fs: HoldingFS) -> Iterator[int]:
    """A file whose requests stay in flight while the file system holds them."""
    fd = os.open(fs.create("data", DATA), os.O_RDWR | os.O_DIRECT)
    yield fd
    fs.unhold()
    os.close(fd)


def count_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def is_exported(buffer: bytearray) -> bool:
    """Whether somebody holds its memory, so that it can't be resized."""
    try:
        buffer.append(0)
    except BufferError:
        return True
    del buffer[-1]
    return False


# Contexts and operations


@pytest.mark.parametrize("name", METHODS)
def test_each_method(name: str, any_loop: AnyLoop, ctx: AIOContext, fd: int) -> None:
    start, wanted = METHODS[name]

    async def main() -> Any:
        return await start(ctx, fd)

    assert any_loop.run(main) == wanted
    assert ctx.in_flight == 0


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation(name: str, any_loop: AnyLoop, ctx: AIOContext, fd: int) -> None:
    make, wanted = OPERATIONS[name]

    async def main() -> None:
        operation = make(fd)
        operation.submit(ctx)
        assert await operation == wanted
        assert await operation == wanted  # as get_result, it may be asked again

    any_loop.run(main)


def test_an_operation_that_has_to_wait(any_loop: AnyLoop, ctx: AIOContext, gate: Gate) -> None:
    results: list[int] = []

    async def wait() -> None:
        operation = AIOOperation.poll(gate, select.POLLIN)
        operation.submit(ctx)
        results.append(await operation)

    async def main() -> None:
        async with any_loop.group() as group:
            group.start(wait)
            await any_loop.turns(5)
            assert not results
            gate.open()

    any_loop.run(main)
    assert results == [select.POLLIN]


def test_an_error(any_loop: AnyLoop, ctx: AIOContext) -> None:
    async def main() -> None:
        with pytest.raises(OSError, match="read of 4 bytes"):
            await ctx.read(4, 1 << 20)

    any_loop.run(main)


def test_a_closed_context(any_loop: AnyLoop, fd: int) -> None:
    async def main() -> None:
        async with AIOContext(4) as context:
            assert await context.read(4, fd) == DATA[:4]
        assert context.closed
        with pytest.raises(ValueError, match="closed"):
            await context.read(4, fd)

    any_loop.run(main)


def test_aclose_ends_what_waits(any_loop: AnyLoop, gate: Gate) -> None:
    ended: list[bool] = []

    async def wait(context: AIOContext) -> None:
        try:
            await context.poll(gate, select.POLLIN)
        except (OSError, ValueError, any_loop.cancelled):
            ended.append(True)

    async def main() -> None:
        context = AIOContext(4)
        async with any_loop.group() as group:
            group.start(wait, context)
            await any_loop.turns(5)
            await context.aclose()
        assert context.closed
        assert ended

    any_loop.run(main)


def test_more_than_the_queue_holds(any_loop: AnyLoop, fd: int) -> None:
    results = {}

    async def read(context: AIOContext, offset: int) -> None:
        results[offset] = await context.read(100, fd, offset)

    async def main() -> None:
        async with AIOContext(4) as context, any_loop.group() as group:
            for offset in range(200):
                group.start(read, context, offset)

    any_loop.run(main)
    assert results == {offset: DATA[offset : offset + 100] for offset in range(200)}


# Files, paths and bulk transfers


def test_a_binary_file(any_loop: AnyLoop, path: Path) -> None:
    async def main() -> None:
        async with linux_aio.open(path, "r+b") as file:
            assert await file.read(10) == DATA[:10]
            assert await file.tell() == 10
            assert await file.seek(-5, os.SEEK_END) == len(DATA) - 5
            assert await file.readall() == DATA[-5:]
            assert await file.pread(100, 3 * BLOCK) == DATA[3 * BLOCK : 3 * BLOCK + 100]
            buffer = bytearray(50)
            assert await file.preadinto(buffer, 7) == 50
            assert buffer == DATA[7:57]
            assert await file.pwrite(b"written", 5) == 7
            assert await file.seek(0) == 0
            assert await file.write(b"begun") == 5
            await file.flush()
            await file.fdatasync()
            assert await file.truncate(BLOCK) == BLOCK
            assert (await file.stat()).st_size == BLOCK
        assert file.closed

    any_loop.run(main)
    assert path.read_bytes() == b"begunwritten" + DATA[12:BLOCK]


def test_a_text_file(any_loop: AnyLoop, tmp_path: Path) -> None:
    lines = [f"line {number} ä\n" for number in range(1000)]

    async def main() -> None:
        async with linux_aio.open(tmp_path / "text", "w", encoding="utf-8") as file:
            await file.writelines(lines)
        async with linux_aio.open(tmp_path / "text", encoding="utf-8") as file:
            assert [line async for line in file] == lines
            await file.seek(0)
            assert await file.readline() == lines[0]
            assert await file.read(4) == "line"

    any_loop.run(main)


def test_whole_files(any_loop: AnyLoop, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "whole"
        assert await linux_aio.write_bytes(path, DATA, atomic=True, durable=True) == len(DATA)
        assert await linux_aio.read_bytes(path) == DATA
        assert await linux_aio.write_text(path, "täxt", encoding="utf-8") == 4
        assert await linux_aio.read_text(path, encoding="utf-8") == "täxt"

    any_loop.run(main)


def test_paths(any_loop: AnyLoop, path: Path) -> None:
    async def main() -> None:
        folder = path.parent / "a" / "b"
        await fs.makedirs(folder)
        await fs.copyfile(path, folder / "copy")
        await fs.rename(folder / "copy", folder / "renamed")
        assert await fs.exists(folder / "renamed")
        assert (await fs.stat(folder / "renamed")).st_size == len(DATA)
        assert [entry.name async for entry in fs.scandir(folder)] == ["renamed"]
        walked = [names async for names in fs.walk(path.parent / "a")]
        assert walked == list(os.walk(path.parent / "a"))
        async with fs.TemporaryDirectory() as name:
            assert await fs.isdir(name)
        assert not await fs.isdir(name)
        await fs.rmtree(path.parent / "a")
        assert await fs.listdir(path.parent) == ["file"]

    any_loop.run(main)


def test_bulk_transfers(any_loop: AnyLoop, path: Path) -> None:
    async def main() -> None:
        buffer = bytearray(len(DATA))
        assert (await bulk.aload_into(path, [(0, buffer)])).nbytes == len(DATA)
        assert buffer == DATA
        assert (await bulk.acopy(path, path.with_name("copy"))).nbytes == len(DATA)
        assert path.with_name("copy").read_bytes() == DATA
        assert await bulk.achecksum(path) == hashlib.sha256(DATA).hexdigest()
        ranges = [(offset, 100) for offset in range(0, len(DATA), 1000)]
        seen = {}
        async for index, data in bulk.read_many(path, ranges):
            seen[index] = bytes(data)
        assert seen == {at: DATA[o : o + n] for at, (o, n) in enumerate(ranges)}

    any_loop.run(main)


# Cancelling


@waits_elsewhere
def test_a_time_out_loses_nothing(any_loop: AnyLoop, ctx: AIOContext) -> None:
    reader, writer = os.pipe()

    async def main() -> None:
        async with any_loop.scope(0.03) as scope:
            await ctx.read(10, reader)
        assert scope.was_cancelled
        os.write(writer, b"kept")
        assert await ctx.read(10, reader) == b"kept"

    any_loop.run(main)
    os.close(reader)
    os.close(writer)


def cancel_when_held(any_loop: AnyLoop, fs: HoldingFS, scope: Any, count: int = 1) -> Any:
    """A coroutine function that cancels a scope once the file system holds the requests."""

    async def cancel() -> None:
        await any_loop.until(lambda: fs.held() == count)
        scope.cancel()

    return cancel


DEFERRED: dict[str, Callable[[AIOContext, int, bytearray], Awaitable[Any]]] = {
    "readinto": lambda ctx, fd, buffer: ctx.readinto(buffer, fd),
    "readv": lambda ctx, fd, buffer: ctx.readv([bytearray(8), buffer], fd),
    "write": lambda ctx, fd, buffer: ctx.write(buffer, fd),
    "writev": lambda ctx, fd, buffer: ctx.writev([b"x" * 8, buffer], fd),
}


@pytest.mark.needs_root
@pytest.mark.parametrize("name", DEFERRED)
def test_put_off_until_the_kernel_has_let_go(
    name: str, any_loop: AnyLoop, ctx: AIOContext, fs: HoldingFS, direct: int
) -> None:
    buffer = bytearray(BLOCK)
    ended: list[bool] = []

    async def transfer(group: Group) -> None:
        async with any_loop.scope() as scope:
            group.start(cancel_when_held(any_loop, fs, scope))
            await DEFERRED[name](ctx, direct, buffer)
        ended.append(scope.was_cancelled)
        assert not is_exported(buffer)
        assert ctx.in_flight == 0

    async def main() -> None:
        fs.hold()
        async with any_loop.group() as group:
            group.start(transfer, group)
            await any_loop.until(lambda: fs.held() == 1)
            await any_loop.sleep(0.03)
            try:
                assert not ended
                assert is_exported(buffer)
            finally:
                fs.unhold()

    any_loop.run(main)
    # in Trio a write that was made is not reported as cancelled
    assert ended == [any_loop.name != "trio" or not name.startswith("write")]


IMMEDIATE: dict[str, Start] = {
    "read": lambda ctx, fd: ctx.read(BLOCK, fd),
    "write": lambda ctx, fd: ctx.write(bytes(BLOCK), fd),
    "writev": lambda ctx, fd: ctx.writev((bytes(BLOCK), bytes(8)), fd),
}


@pytest.mark.needs_root
@pytest.mark.parametrize("name", IMMEDIATE)
def test_cancelled_at_once(
    name: str, any_loop: AnyLoop, ctx: AIOContext, fs: HoldingFS, direct: int
) -> None:
    """Memory of ours, and what can't change, keeps no task waiting.

    In Trio a write does nevertheless: it may be made, and then is not reported as cancelled.
    """
    waits = any_loop.name == "trio" and name.startswith("write")
    results: list[Any] = []

    async def release() -> None:
        await any_loop.until(lambda: fs.held() == 1)
        await any_loop.sleep(0.02)
        assert not results
        fs.unhold()

    async def main() -> None:
        fs.hold()
        async with any_loop.group() as group:
            if waits:
                group.start(release)
            async with any_loop.scope() as scope:
                group.start(cancel_when_held(any_loop, fs, scope))
                results.append(await IMMEDIATE[name](ctx, direct))
        assert scope.was_cancelled is not waits
        assert len(results) == waits
        assert ctx.in_flight == (0 if waits else 1)
        fs.unhold()
        await any_loop.until(lambda: ctx.in_flight == 0)

    any_loop.run(main)


@pytest.mark.needs_root
def test_a_group_of_tasks_is_cancelled(
    any_loop: AnyLoop, ctx: AIOContext, fs: HoldingFS, direct: int
) -> None:
    buffers = [bytearray(BLOCK) for _ in range(10)]

    async def main() -> None:
        fs.hold()
        async with any_loop.group() as group:
            for buffer in buffers:
                group.start(ctx.readinto, buffer, direct)
            await any_loop.until(lambda: fs.held() == 10)
            group.cancel()
            await any_loop.turns(3)
            all_exported = all(map(is_exported, buffers))
            fs.unhold()
        assert all_exported
        assert not any(map(is_exported, buffers))

    any_loop.run(main)


def test_cancelled_while_it_queues(any_loop: AnyLoop, fd: int, gate: Gate) -> None:
    """What has no place in the context yet never comes to the kernel."""

    async def main() -> None:
        async with AIOContext(1) as context, any_loop.group() as group:
            group.start(context.poll, gate, select.POLLIN)
            await any_loop.turns(3)
            async with any_loop.scope(0.02) as scope:
                await context.write(b"never", fd)
            assert scope.was_cancelled
            gate.open()
        assert contents(fd) == DATA

    any_loop.run(main)


def test_cancelled_opens_and_closes_leak_nothing(any_loop: AnyLoop, path: Path) -> None:
    async def use(mode: str) -> None:
        async with linux_aio.open(path, mode) as file:
            await file.read(10)

    async def main() -> None:
        for mode in ("rb", "r+b"):
            await use(mode)
        before = count_descriptors()
        for number in range(60):
            async with any_loop.group() as group:
                group.start(use, ("rb", "r+b")[number % 2])
                await any_loop.turns(number % 6)
                group.cancel()
        gc.collect()
        await any_loop.until(lambda: count_descriptors() <= before)

    any_loop.run(main)


def test_what_is_temporary_goes_though_its_task_is_cancelled(
    any_loop: AnyLoop, tmp_path: Path
) -> None:
    async def use_directory() -> None:
        async with fs.TemporaryDirectory(dir=tmp_path) as name:
            await fs.mkdir(os.path.join(name, "inner"))
            await any_loop.sleep(60)

    async def use_file() -> None:
        async with fs.NamedTemporaryFile(dir=tmp_path) as file:
            await file.write(b"data")
            await any_loop.sleep(60)

    async def main() -> None:
        for use in (use_directory, use_file):
            async with any_loop.group() as group:
                group.start(use)
                await any_loop.until(lambda: bool(os.listdir(tmp_path)))
                await any_loop.sleep(0.01)
                group.cancel()
            await any_loop.until(lambda: not os.listdir(tmp_path))

    any_loop.run(main)


def test_a_file_is_closed_though_its_task_is_cancelled(any_loop: AnyLoop, path: Path) -> None:
    """Also one that has something to write: it is written, by a task of the loop's."""

    async def use() -> None:
        async with linux_aio.open(path, "r+b") as file:
            await file.write(b"gathered")
            await any_loop.sleep(60)

    async def main() -> None:
        async with linux_aio.open(path, "r+b") as file:
            await file.read(1)
        before = count_descriptors()
        async with any_loop.group() as group:
            group.start(use)
            await any_loop.until(lambda: count_descriptors() > before)
            await any_loop.sleep(0.01)
            group.cancel()
        await any_loop.until(lambda: count_descriptors() <= before)

    any_loop.run(main)
    assert path.read_bytes() == b"gathered" + DATA[8:]


# Others have their turn, and nothing is left


@pytest.mark.engine("auto", "aio")
@pytest.mark.parametrize("readers", [1, 20])
def test_a_heartbeat(readers: int, any_loop: AnyLoop, fd: int) -> None:
    """The numbers are generous: what a turn's budget of 300 µs is enough for, ten times over."""
    reads = 0
    beats: list[int] = []

    async def read_for_ever(context: AIOContext) -> None:
        nonlocal reads
        while True:
            await context.read(BLOCK, fd)
            reads += 1

    async def main() -> None:
        nonlocal reads
        async with AIOContext(16) as context, any_loop.group() as group:
            for _ in range(readers):
                group.start(read_for_ever, context)
            while len(beats) < 100 or sum(beats) < 20:
                await any_loop.sleep(0)
                beats.append(reads)
                reads = 0
            group.cancel()

    any_loop.run(main)
    # Trio runs the tasks of a turn in random order, and each has a budget of its own
    assert max(beats) <= 3000 * (readers if any_loop.name == "trio" else 1)


def test_a_thousand_tasks(any_loop: AnyLoop, fd: int) -> None:
    count = 0

    async def work(context: AIOContext, number: int) -> None:
        nonlocal count
        offset = number * 7
        for _ in range(3):
            assert await context.read(50, fd, offset) == DATA[offset : offset + 50]
        count += 1

    async def main() -> None:
        async with AIOContext(16) as context:
            async with any_loop.group() as group:
                for number in range(1000):
                    group.start(work, context, number)
            assert context.in_flight == 0
            statistics = context.statistics()
            assert statistics["submitted"] == statistics["completed"]

    any_loop.run(main)
    assert count == 1000


def test_a_context_goes_from_loop_to_loop(any_loop: AnyLoop, ctx: AIOContext, fd: int) -> None:
    async def main() -> bytes:
        return await ctx.read(4, fd, 4)

    for _ in range(5):
        assert any_loop.run(main) == DATA[4:8]


@waits_elsewhere
def test_a_loop_that_ends_while_something_waits(
    any_loop: AnyLoop, ctx: AIOContext, fd: int, gate: Gate
) -> None:
    """The context is as good as before, and serves the next loop."""

    async def leave() -> None:
        async with any_loop.group() as group:
            group.start(ctx.poll, gate, select.POLLIN)
            await any_loop.turns(3)
            group.cancel()

    async def main() -> bytes:
        return await ctx.read(4, fd)

    for _ in range(3):
        any_loop.run(leave)
        wait_idle(ctx)
        assert any_loop.run(main) == DATA[:4]


def test_many_runs_leave_nothing(any_loop: AnyLoop, path: Path, fd: int) -> None:
    async def main() -> None:
        async with AIOContext(4) as context:
            await context.read(4, fd)
        async with linux_aio.open(path, "rb") as file:
            await file.read(10)
        await fs.stat(path)

    any_loop.run(main)
    gc.collect()
    before = count_descriptors()
    for _ in range(12):
        any_loop.run(main)
    gc.collect()
    assert soon(lambda: count_descriptors() <= before)
