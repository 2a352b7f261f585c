# SPDX-License-Identifier: Apache-2.0
"""Awaiting in Trio, and so in anyio on Trio: results, cancel points, and nothing left of a run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import select
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

import linux_aio
from linux_aio import AIOContext, AIOOperation, bulk, fs
from support.forked import in_child
from support.fusefs import HoldingFS
from support.measure import soon
from support.workers import beside

trio: Any = pytest.importorskip("trio")

pytest_plugins = ["support.fixtures"]

BLOCK = 4096

# kernel AIO waits for a pipe inside io_submit(2), and so does the engine `aio`
waits_elsewhere = pytest.mark.engine("auto", "uring", "threads")


@pytest.fixture
def file() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(b"".join(bytes([number]) * BLOCK for number in range(100)))
        os.fsync(file.fileno())
        yield file


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def count_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_each_operation(file: IO[bytes]) -> None:
    async def main() -> None:
        async with AIOContext() as ctx:
            assert await ctx.write(b"Hello", file, 1) == 5
            assert await ctx.writev([b" ", b"Trio"], file, 6) == 5
            assert await ctx.read(10, file, 1) == b"Hello Trio"
            buffer = bytearray(5)
            assert await ctx.readinto(buffer, file, 1) == 5
            assert buffer == b"Hello"
            assert await ctx.readv([buffer], file, 6) == 5
            assert buffer == b" Trio"
            await ctx.fsync(file)
            await ctx.fdsync(file)
            assert ctx.loop is None
        assert ctx.closed

    trio.run(main)


def test_an_error() -> None:
    fd = os.open("/dev/null", os.O_WRONLY)

    async def main() -> None:
        async with AIOContext() as ctx:
            with pytest.raises(OSError, match="fd"):
                await ctx.read(1, fd)

    try:
        trio.run(main)
    finally:
        os.close(fd)


def test_a_submitted_operation(file: IO[bytes]) -> None:
    async def main() -> None:
        with AIOContext() as ctx:
            operation = AIOOperation.read(BLOCK, file, BLOCK)
            operation.submit(ctx)
            assert await operation == bytes([1]) * BLOCK

    trio.run(main)


def test_more_than_the_queue_holds(file: IO[bytes]) -> None:
    results = {}

    async def read(ctx: AIOContext, number: int) -> None:
        results[number] = await ctx.read(BLOCK, file, number * BLOCK)

    async def main() -> None:
        async with AIOContext(4) as ctx, trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(read, ctx, number)

    trio.run(main)
    assert results == {number: bytes([number]) * BLOCK for number in range(100)}


@waits_elsewhere
def test_what_waits_is_woken(pipe: tuple[int, int]) -> None:
    got = []

    async def read(ctx: AIOContext) -> None:
        got.append(await ctx.read(10, pipe[0]))

    async def main() -> None:
        async with AIOContext() as ctx, trio.open_nursery() as nursery:
            nursery.start_soon(read, ctx)
            await trio.sleep(0.02)
            os.write(pipe[1], b"late")

    trio.run(main)
    assert got == [b"late"]


@waits_elsewhere
def test_a_time_out(pipe: tuple[int, int]) -> None:
    async def main() -> None:
        async with AIOContext() as ctx:
            with trio.move_on_after(0.05) as scope:
                await ctx.read(10, pipe[0])
            assert scope.cancelled_caught
            os.write(pipe[1], b"kept")
            assert await ctx.read(10, pipe[0]) == b"kept"

    trio.run(main)


@pytest.mark.parametrize("shielded", [False, True])
def test_each_call_is_a_cancel_point(file: IO[bytes], shielded: bool) -> None:
    """A task that is cancelled already begins nothing, unless it is shielded."""
    before = os.pread(file.fileno(), BLOCK, 0)

    async def main() -> None:
        async with AIOContext() as ctx:
            with trio.CancelScope() as scope:
                scope.cancel()
                with trio.CancelScope(shield=shielded):
                    await ctx.write(b"\xff" * BLOCK, file)
            assert scope.cancelled_caught is not shielded

    trio.run(main)
    after = os.pread(file.fileno(), BLOCK, 0)
    assert after == (b"\xff" * BLOCK if shielded else before)


def test_memory_that_the_kernel_uses_is_waited_for(fs: HoldingFS) -> None:
    """A cancelled readinto ends when the kernel has let go of the buffer."""
    fd = os.open(fs.create("data", b"x" * BLOCK), os.O_RDWR | os.O_DIRECT)
    ended = []

    async def read(ctx: AIOContext, buffer: Any, scope: Any) -> None:
        with scope:
            await ctx.readinto(buffer, fd)
        ended.append(scope.cancelled_caught)

    async def main() -> None:
        from linux_aio import aligned_buffer

        buffer = aligned_buffer(BLOCK)
        scope = trio.CancelScope()
        async with AIOContext() as ctx, trio.open_nursery() as nursery:
            fs.hold()
            nursery.start_soon(read, ctx, buffer, scope)
            try:
                # one that has not come to the file system yet is cancelled without it
                await trio.to_thread.run_sync(fs.wait_held, 1)
                scope.cancel()
                await trio.sleep(0.05)
                assert not ended
            finally:
                fs.unhold()  # or the read, which can't be aborted, keeps the nursery

    try:
        trio.run(main)
    finally:
        fs.unhold()
        os.close(fd)
    assert ended == [True]


def test_from_asyncio_to_trio_and_back(file: IO[bytes]) -> None:
    with AIOContext() as ctx:

        async def read() -> bytes:
            return await ctx.read(BLOCK, file, BLOCK)

        for _ in range(3):
            assert asyncio.run(read()) == bytes([1]) * BLOCK
            assert trio.run(read) == bytes([1]) * BLOCK


def test_two_runs_at_once_in_two_threads(file: IO[bytes]) -> None:
    async def main() -> None:
        async with AIOContext() as ctx:
            for number in range(100):
                assert await ctx.read(1, file, number * BLOCK) == bytes([number])

    threads = [threading.Thread(target=trio.run, args=(main,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_from_a_thread_of_trios(file: IO[bytes]) -> None:
    async def main() -> None:
        async with AIOContext() as ctx:

            def in_thread() -> bytes:
                return trio.from_thread.run(ctx.read, 4, file, BLOCK)  # type: ignore[no-any-return]

            assert await trio.to_thread.run_sync(in_thread) == bytes([1]) * 4

    trio.run(main)


def test_the_program_watches_the_context_meanwhile(file: IO[bytes]) -> None:
    async def main() -> None:
        with AIOContext() as ctx:
            assert await ctx.read(1, file) == b"\0"
            operation = AIOOperation.read(4, file, BLOCK)
            watched = ctx.fileno
            operation.submit(ctx)
            await trio.lowlevel.wait_readable(watched)
            assert ctx.getevents(0) == [operation]
            assert await ctx.read(1, file, BLOCK) == b"\1"

    trio.run(main)


@pytest.mark.engine("auto", "aio")
def test_others_have_their_turn(file: IO[bytes]) -> None:
    """A task that reads cached data does not keep the loop for itself."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async def main() -> None:
        async with AIOContext() as ctx, trio.open_nursery() as nursery:
            nursery.start_soon(count)
            for _ in range(10_000):
                await ctx.read(BLOCK, file)
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert turns > 3


def test_nothing_is_left_of_a_run(file: IO[bytes]) -> None:
    async def main() -> None:
        async with AIOContext() as ctx:
            await ctx.read(BLOCK, file)

    trio.run(main)
    before = count_descriptors()
    for _ in range(20):
        trio.run(main)
    assert soon(lambda: count_descriptors() <= before)


@waits_elsewhere
def test_a_context_outlives_its_run(file: IO[bytes], pipe: tuple[int, int]) -> None:
    """What a run leaves in flight is cancelled with its tasks, and the context stays usable."""
    with AIOContext() as ctx:

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ctx.read, 10, pipe[0])
                await trio.sleep(0.01)
                nursery.cancel_scope.cancel()

        trio.run(main)

        async def again() -> bytes:
            return await ctx.read(1, file, BLOCK)

        assert trio.run(again) == b"\1"


@waits_elsewhere
def test_a_run_ends_though_something_started_is_kept(
    file: IO[bytes], pipe: tuple[int, int]
) -> None:
    """No task waits for what was begun without one, so the run does not wait for it either."""
    with AIOContext() as ctx:

        async def main() -> list[Any]:
            started: list[Any] = [ctx.read(BLOCK, file), ctx.poll(pipe[0], select.POLLIN)]
            for awaitable in started:
                awaitable._start()
            return started

        kept = trio.run(main)
        assert len(kept) == 2
        os.write(pipe[1], b"x")  # the poll ends, whether or not the context is closed first


@waits_elsewhere
def test_the_testing_clock(file: IO[bytes], pipe: tuple[int, int]) -> None:
    async def main() -> None:
        async with AIOContext() as ctx:
            with trio.move_on_after(1000) as scope:
                await ctx.read(10, pipe[0])
            assert scope.cancelled_caught
            assert await ctx.read(1, file, BLOCK) == b"\1"

    testing: Any = pytest.importorskip("trio.testing")
    trio.run(main, clock=testing.MockClock(autojump_threshold=0.01))


@waits_elsewhere
def test_interrupted(pipe: tuple[int, int]) -> None:
    async def main() -> None:
        async with AIOContext() as ctx, trio.open_nursery() as nursery:
            nursery.start_soon(ctx.read, 10, pipe[0])
            await trio.sleep(0.01)
            os.kill(os.getpid(), 2)
            await trio.sleep(5)

    with pytest.raises(BaseException) as caught:  # noqa: PT011
        trio.run(main)
    error: Any = caught.value
    assert isinstance(error, KeyboardInterrupt) or error.split(KeyboardInterrupt)[1] is None


def test_never_awaited(file: IO[bytes]) -> None:
    async def main() -> None:
        async with AIOContext() as ctx:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                ctx.read(1, file)  # type: ignore[unused-coroutine]
            assert [one.category for one in caught] == [RuntimeWarning]

    trio.run(main)


ANYIO_BACKENDS = ["asyncio", "trio"]


@waits_elsewhere
@pytest.mark.parametrize("backend", ANYIO_BACKENDS)
def test_the_same_program_on_anyio(file: IO[bytes], pipe: tuple[int, int], backend: str) -> None:
    anyio: Any = pytest.importorskip("anyio")
    results = {}

    async def read(ctx: AIOContext, number: int) -> None:
        results[number] = await ctx.read(1, file, number * BLOCK)

    async def main() -> None:
        async with AIOContext() as ctx:
            async with anyio.create_task_group() as group:
                for number in range(100):
                    group.start_soon(read, ctx, number)
            with anyio.move_on_after(0.05) as scope:
                await ctx.read(1, pipe[0])
            assert scope.cancelled_caught
            assert await anyio.to_thread.run_sync(os.getpid) == os.getpid()

    anyio.run(main, backend=backend)
    assert results == {number: bytes([number]) for number in range(100)}


def test_a_thousand_tasks(file: IO[bytes]) -> None:
    async def read(ctx: AIOContext, number: int) -> None:
        data = await ctx.read(BLOCK, file, number % 100 * BLOCK)
        assert data == bytes([number % 100]) * BLOCK

    async def main() -> None:
        async with AIOContext(32) as ctx, trio.open_nursery() as nursery:
            for number in range(1000):
                nursery.start_soon(read, ctx, number)

    trio.run(main)


def test_guest_mode(file: IO[bytes], pipe: tuple[int, int]) -> None:
    """A Trio run that is a guest of an asyncio loop: each task awaits in its own."""
    results: list[Any] = []

    async def guest(ctx: AIOContext) -> bytes:
        async with AIOContext() as own:
            assert await own.read(1, file, BLOCK) == b"\1"
            assert own.loop is None
            with trio.move_on_after(0.02) as scope:
                await own.poll(pipe[0], select.POLLIN)
            assert scope.cancelled_caught
        return await ctx.read(1, file, 2 * BLOCK)

    async def host() -> None:
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        with AIOContext() as ctx, AIOContext() as hosts:
            trio.lowlevel.start_guest_run(
                guest,
                ctx,
                run_sync_soon_threadsafe=loop.call_soon_threadsafe,
                done_callback=ended.set_result,
            )
            while not ended.done():
                assert await hosts.read(1, file, 3 * BLOCK) == b"\3"
                assert hosts.loop is loop
                await asyncio.sleep(0.001)
            results.append(ended.result().unwrap())

    asyncio.run(host())
    assert results == [b"\2"]


async def use_files(folder: Path) -> bytes:
    """Calls of each kind that need the running loop: files, whole files, temporary ones, trees."""
    path = folder / "file"
    async with linux_aio.open(path, "wb", buffering=0) as file:
        assert await file.write(bytearray(300_000)) == 300_000
    async with linux_aio.open(path, "ab") as file, trio.open_nursery() as nursery:
        for _ in range(3):  # each waits for its turn
            nursery.start_soon(file.write, b"x")
    async with fs.TemporaryDirectory(dir=folder) as temporary:
        await fs.makedirs(Path(temporary, "a", "b"))
        assert [names async for _, names, _ in fs.walk(temporary)] == [["a"], ["b"], []]
    async with fs.NamedTemporaryFile(dir=folder) as named:
        await named.write(b"y")
    await fs.copyfile(path, folder / "copy")
    await bulk.acopy(path, folder / "second")
    assert await linux_aio.write_bytes(folder / "atomic", b"z", atomic=True) == 1
    return (await linux_aio.read_bytes(folder / "copy"))[-4:]


def test_files_in_guest_mode(tmp_path: Path) -> None:
    """The host uses files as well, each in its own loop's context."""
    results: list[Any] = []

    async def host() -> None:
        ended = asyncio.get_running_loop().create_future()
        trio.lowlevel.start_guest_run(
            use_files,
            tmp_path,
            run_sync_soon_threadsafe=asyncio.get_running_loop().call_soon_threadsafe,
            done_callback=ended.set_result,
        )
        while not ended.done():
            assert await linux_aio.write_bytes(tmp_path / "host", b"host") == 4
            assert await linux_aio.read_bytes(tmp_path / "host") == b"host"
            await asyncio.sleep(0.001)
        results.append(ended.result().unwrap())

    asyncio.run(host())
    assert results == [b"\0xxx"]


def test_a_run_inside_a_task_of_asyncio(tmp_path: Path) -> None:
    """As in a notebook's cell, which then uses files in its own loop."""

    async def outer() -> bytes:
        assert trio.run(use_files, tmp_path) == b"\0xxx"
        return await linux_aio.read_bytes(tmp_path / "copy")

    assert asyncio.run(outer())[-4:] == b"\0xxx"


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_a_generator_that_ends_with_the_run_writes_its_file(mode: str, tmp_path: Path) -> None:
    """Trio ends it when the loop's context is closed."""
    generators: list[Any] = []

    async def rows() -> Any:
        async with linux_aio.open(tmp_path / "rows", mode) as file:
            await file.write("abc" if mode == "w" else b"abc")
            yield

    async def main() -> None:
        generators.append(rows())
        await anext(generators[0])

    trio.run(main)
    assert (tmp_path / "rows").read_bytes() == b"abc"


def test_a_call_when_the_run_has_ended_says_so(tmp_path: Path) -> None:
    generators: list[Any] = []
    descriptors = count_descriptors()

    async def late() -> Any:
        try:
            yield
        finally:
            with trio.CancelScope(shield=True), pytest.raises(RuntimeError, match="run is ending"):
                await linux_aio.write_bytes(tmp_path / "file", b"abc")
            generators.clear()

    async def main() -> None:
        generators.append(late())
        await anext(generators[0])

    trio.run(main)
    assert generators == []
    assert count_descriptors() == descriptors


@waits_elsewhere
def test_interrupted_while_the_only_task_waits(pipe: tuple[int, int]) -> None:
    """Trio then interrupts the main task, wherever it waits."""
    descriptors = count_descriptors()

    async def main() -> None:
        async with AIOContext() as ctx:
            timer = threading.Timer(0.05, os.kill, (os.getpid(), 2))
            timer.start()
            await ctx.read(10, pipe[0])

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert count_descriptors() <= descriptors + 1  # of the signal, which Trio keeps


def test_a_file_from_a_thread(tmp_path: Any) -> None:
    import linux_aio

    (tmp_path / "file").write_bytes(b"data")

    async def read() -> bytes:
        async with linux_aio.open(tmp_path / "file", "rb") as file:
            return await file.read()

    async def main() -> bytes:
        result: bytes = await trio.to_thread.run_sync(lambda: trio.from_thread.run(read))
        return result

    assert trio.run(main) == b"data"


@waits_elsewhere
def test_a_deadline_of_the_testing_clock(file: IO[bytes], pipe: tuple[int, int]) -> None:
    """The clock jumps only when the run has nothing to do: a read in flight does not stop it."""
    testing: Any = pytest.importorskip("trio.testing")
    started = []

    async def main() -> None:
        started.append(trio.current_time())
        async with AIOContext() as ctx:
            with pytest.raises(trio.TooSlowError), trio.fail_after(3600):
                await ctx.read(10, pipe[0])
            assert trio.current_time() - started[0] >= 3600
            assert await ctx.read(1, file, BLOCK) == b"\1"

    trio.run(main, clock=testing.MockClock(autojump_threshold=0.01))


def test_a_run_ends_though_a_file_outlives_its_context(tmp_path: Path) -> None:
    """Who waits for what a context gives up as it closes is woken without an event."""
    path = tmp_path / "file"

    async def main() -> None:
        async with AIOContext() as context:
            file: Any = await linux_aio.open(path, "wb", 1 << 19, context=context)
            for _ in range(10):
                await file.write(b"x" * 300_000)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for _ in range(30):
            trio.run(main)
    assert path.stat().st_size == 3_000_000


@pytest.mark.parametrize("how", [{}, {"direct": True}, {"buffering": 0}])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_a_cancelled_task_begins_no_write(tmp_path: Path, kind: Any, how: dict[str, Any]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    large = kind(8 << 20)

    async def main() -> None:
        async with linux_aio.open(path, "r+b", **how) as opened:
            with trio.CancelScope() as scope:
                scope.cancel()
                await opened.write(large)
            assert scope.cancelled_caught
            assert await opened.tell() == 0
        assert path.read_bytes() == b"old"
        with trio.CancelScope() as scope:
            scope.cancel()
            await linux_aio.write_bytes(path, large)
        assert scope.cancelled_caught
        assert path.read_bytes() == b"old"

    trio.run(main)


def test_a_cancelled_write_of_text_leaves_the_start_to_the_next(tmp_path: Path) -> None:
    """The mark at the beginning of UTF-16 was not written either."""

    async def main() -> None:
        async with linux_aio.open(tmp_path / "file", "w", encoding="utf-16") as opened:
            with trio.CancelScope() as scope:
                scope.cancel()
                await opened.write("x" * (8 << 20))
            assert scope.cancelled_caught
            await opened.write("text")

    trio.run(main)
    assert (tmp_path / "file").read_text(encoding="utf-16") == "text"


INTERRUPTED = {
    "write_bytes": lambda path, data: linux_aio.write_bytes(path, data),
    "a large bytearray": lambda path, data: linux_aio.write_bytes(path, bytearray(data)),
    "atomic": lambda path, data: linux_aio.write_bytes(path, bytearray(data), atomic=True),
}


@contextlib.contextmanager
def interrupted_soon() -> Iterator[None]:
    def interrupt(_over: threading.Event) -> None:
        time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    with beside(interrupt):
        yield


@pytest.mark.parametrize("how", INTERRUPTED)
def test_an_interrupt_is_not_lost_though_the_write_is_made(how: str, tmp_path: Path) -> None:
    """Trio delivers a KeyboardInterrupt once; the write that it meets is carried out."""

    async def main() -> None:
        with interrupted_soon():
            await INTERRUPTED[how](tmp_path / "file", bytes(100 << 20))
        for _ in range(100):
            await trio.sleep(0.05)

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)


@waits_elsewhere
@pytest.mark.parametrize("how", ["close", "throw"])
def test_stepped_by_hand(pipe: tuple[int, int], how: str) -> None:
    """A task may look whether a read needs no wait; nothing has to wake that task."""

    async def main() -> None:
        async with AIOContext(4) as context:
            reading: Any = context.read(1, pipe[0])
            reading.send(None)
            if how == "close":
                reading.close()
            else:
                with pytest.raises(KeyError):
                    reading.throw(KeyError())
            await trio.sleep(0.01)
            os.write(pipe[1], b"x")
            assert await context.read(1, pipe[0]) == b"x"

    trio.run(main)


def test_an_interrupt_is_not_lost_though_the_write_fails(tmp_path: Path) -> None:
    def use() -> str:
        size = 100 << 20
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1000, size - 1000))

        async def main() -> None:
            with interrupted_soon(), contextlib.suppress(OSError):
                await linux_aio.write_bytes(tmp_path / "file", bytearray(size))
            for _ in range(100):
                await trio.sleep(0.05)

        try:
            trio.run(main)
        except BaseException as error:
            return type(error).__name__
        return "nothing"

    assert in_child(use) == "KeyboardInterrupt"
