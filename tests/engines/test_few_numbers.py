# SPDX-License-Identifier: Apache-2.0
"""File descriptors are used up: an OSError with EMFILE, and nothing is lost by it, or left over."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import resource
import select
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

import linux_aio
from linux_aio import AIOContext, AIOOperation, EventFD, _worker, aligned_buffer, engines, fs
from linux_aio._loop_context import loop_context
from linux_aio.bulk import achecksum, acopy, aload_into, read_many
from support.any_loop import AnyLoop
from support.engines import available_engines
from support.files import Gate, few_numbers, file_in_memory
from support.forked import in_child
from support.fusefs import HoldingFS
from support.loops import run, turns, until
from support.measure import open_fds, soon
from support.operations import perform
from support.programs import run_program
from support.underway import beside_others

pytest_plugins = ["support.fixtures"]

DATA = b"Hello world"
EMFILE = os.strerror(errno.EMFILE)


@pytest.mark.engine_independent
@pytest.mark.parametrize("engine", available_engines())
def test_contexts(engine: str) -> None:
    gc.collect()
    before = open_fds()
    failures = 0
    for free in range(50):
        error = 0
        with few_numbers(free):
            try:
                context = AIOContext(4, engine=engine)
                break
            except OSError as refusal:
                error = refusal.errno or 0
        assert error == errno.EMFILE
        assert soon(lambda: open_fds() <= before)
        failures += 1
    assert failures >= 1
    with context, file_in_memory(DATA) as fd:
        assert perform(context, AIOOperation.read(5, fd)) == DATA[:5]
    gc.collect()
    assert soon(lambda: open_fds() <= before)


@pytest.mark.engine_independent
def test_what_there_is_is_told_all_the_same() -> None:
    found = engines()
    with few_numbers(0):
        limited = engines()
    assert list(limited) == list(found)
    assert engines() == found


@pytest.mark.engine_independent
def test_eventfds() -> None:
    with few_numbers(0), pytest.raises(OSError, match=EMFILE):
        EventFD()
    with EventFD() as eventfd:
        # to wait takes a number, for another thread may close its own meanwhile
        with few_numbers(0), pytest.raises(OSError, match=EMFILE):
            eventfd.read()
        eventfd.write(3)
        with few_numbers(0):
            assert eventfd.read() == 3


def test_the_first_await_of_a_context(ctx: AIOContext, gate: Gate) -> None:
    async def main() -> None:
        coroutine = ctx.poll(gate, select.POLLIN)
        with few_numbers(0), pytest.raises(OSError, match=EMFILE):
            coroutine.send(None)
        assert ctx.statistics()["submitted"] == 0
        gate.open()
        assert await ctx.poll(gate, select.POLLIN) == select.POLLIN

    run(main())


def test_an_await_of_what_was_submitted_before(ctx: AIOContext, gate: Gate) -> None:
    """It can be awaited again, and until then is the program's, in getevents."""

    async def main() -> None:
        with file_in_memory(DATA) as fd:
            await ctx.read(1, fd)
        operation = AIOOperation.poll(gate, select.POLLIN)
        operation.submit(ctx)
        coroutine: Any = operation.__await__()
        with few_numbers(0), pytest.raises(OSError, match=EMFILE):
            coroutine.send(None)
        asyncio.get_running_loop().call_soon(gate.open)
        assert await operation == select.POLLIN
        await until(lambda: ctx.in_flight == 0)

    run(main())


def test_a_queue_that_finds_no_number_for_its_timer(gate: Gate) -> None:
    """Then it looks for room in each turn of the loop, and the loop hears nothing of it."""

    async def main() -> None:
        with AIOContext(1) as context, EventFD() as eventfd, file_in_memory(DATA) as fd:
            assert await context.read(5, fd) == DATA[:5]
            AIOOperation.poll(gate, select.POLLIN).submit(context, eventfd)
            with few_numbers(0):
                queued = asyncio.ensure_future(context.poll(gate, select.POLLIN))
                await turns(20)
            assert not queued.done()
            gate.open()
            assert await queued == select.POLLIN
            assert eventfd.read() == 1

    run(main())


USE_UP_WHAT_MAY_BE_UNDERWAY = """
import os, resource, socket, sys
from linux_aio import AIOContext, AIOOperation
from support.operations import wait_done
from support.programs import run_program

reader, writer = os.pipe()
os.setgid(65534)
os.setuid(65534)  # whom the limit holds for
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
near, far = socket.socketpair()
try:
    while True:
        socket.send_fds(near, [b"x"], [reader] * 50)
except OSError:
    pass
with AIOContext(8) as context:
    try:
        AIOOperation.read(4, reader).submit(context)
    except OSError as refusal:
        print(refusal)
    near.close()
    far.close()
    read = AIOOperation.read(4, reader)
    read.submit(context)
    os.write(writer, b"data")
    wait_done(read)
    print(read.get_result().decode())
sys.stdout.flush()
os._exit(0)  # what else there is to do at the end is no longer this user's
"""


@pytest.mark.needs_root
@pytest.mark.engine("threads", "uring", "auto")  # whose threads get files through a socket
def test_descriptors_of_the_user_s_that_are_underway() -> None:
    """Nobody waits for others to receive what is theirs."""
    refusal, result = run_program(USE_UP_WHAT_MAY_BE_UNDERWAY).splitlines()
    assert os.strerror(errno.ETOOMANYREFS) in refusal
    assert "ulimit -n" in refusal
    assert result == "data"


@contextlib.contextmanager
def no_numbers() -> Iterator[None]:
    """Inside the block this process has as many descriptors as it may have."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(open_fds()) + 40, most[1]))
    taken: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        yield
    finally:
        for number in taken:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, most)


@pytest.mark.parametrize("flags", [os.O_TRUNC, os.O_CREAT, os.O_CREAT | os.O_EXCL])
def test_an_open_without_a_number_changes_nothing(flags: int, gate: Gate, tmp_path: Path) -> None:
    """Neither is a file emptied, nor is one made."""
    path = tmp_path / "file"

    def prepare() -> None:
        if flags == os.O_TRUNC:
            path.write_bytes(DATA)
        else:
            path.unlink(missing_ok=True)

    async def is_refused(context: Any) -> bool:
        with contextlib.suppress(OSError), few_numbers(0):
            os.close(await context._open(path, os.O_WRONLY | flags))
            return False
        return True

    async def use() -> None:
        prepare()
        async with AIOContext(8) as context:
            # what the loop needs is there; our threads don't end, which would free numbers
            waiting = asyncio.ensure_future(
                beside_others(partial(context.poll, gate, select.POLLIN))
            )
            os.close(await context._open(tmp_path / "other", os.O_WRONLY | os.O_CREAT))
            for _ in range(20):  # a number of ours may still become free
                if await is_refused(context):
                    break
                prepare()
            else:
                pytest.fail("there was always a number")
            if flags == os.O_TRUNC:
                assert path.read_bytes() == DATA
            else:
                assert not path.exists()
            with few_numbers(1):
                os.close(await beside_others(partial(context._open, path, os.O_WRONLY | flags)))
            assert path.read_bytes() == b""
            gate.open()
            await waiting

    run(use())


@pytest.mark.needs_root  # so that nothing counts for the user that other tests run as
def test_many_files_are_made_with_few_numbers(tmp_path: Path) -> None:
    """Only what is open at a time needs a number: an open that waits for its turn needs none.

    A thread closes the files. On a busy machine it may get the processor so late that too many are
    open at a time. So one round of several has to end well.
    """

    async def touch(number: int) -> None:
        await (await linux_aio.open(tmp_path / str(number), "wb")).close()

    async def touch_all() -> None:
        await asyncio.gather(*[touch(number) for number in range(300)])

    def make() -> None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))
        for _ in range(20):
            try:
                run(touch_all())
            except OSError as refusal:
                if refusal.errno != errno.EMFILE:
                    raise
            else:
                return
        pytest.fail("files were refused each time")

    in_child(make)
    assert len(list(tmp_path.iterdir())) == 300


@pytest.mark.needs_root  # so that nothing counts for the user that other tests run as
@pytest.mark.engine_independent
@pytest.mark.parametrize("is_privileged", [True, False])
def test_files_that_a_busy_loop_has_not_taken_yet(is_privileged: bool, tmp_path: Path) -> None:
    """They use up neither our threads' numbers nor what the user may have in sockets.

    A thread closes the files. If it is late, the program has too many itself, and an open is
    refused. So it is enough if half of the rounds end well. In the first one, no thread runs yet.
    """
    tmp_path.chmod(0o777)

    async def touch(number: int) -> None:
        await (await linux_aio.open(str(number), "wb")).close()

    async def touch_all() -> list[int | None]:
        await touch(0)
        tasks = [asyncio.ensure_future(touch(number)) for number in range(1500)]
        await asyncio.sleep(0)
        time.sleep(0.1)  # noqa: ASYNC251 - the program computes
        results = await asyncio.gather(*tasks, return_exceptions=True)
        return [result.errno for result in results if isinstance(result, OSError)]

    def make() -> list[list[int | None]]:
        os.chdir(tmp_path)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        if not is_privileged:  # a user with no other process
            os.setgid(65533)
            os.setuid(65533)
        return [run(touch_all()) for _ in range(4)]

    errors = in_child(make)
    assert errors.count([]) >= 2
    if not is_privileged:
        assert errno.ETOOMANYREFS not in chain.from_iterable(errors)


@pytest.mark.parametrize("begin", ["write", "fsync", "rename", "close"])
def test_an_await_that_finds_no_number_ends(begin: str, tmp_path: Path) -> None:
    """Our threads have ended, and when they begin there is no room for what they are sent."""

    async def use() -> None:
        fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
        async with AIOContext(8) as context:
            calls: dict[str, Callable[[], Any]] = {
                "write": lambda: context.write(b"hello", fd),
                "fsync": lambda: context.fsync(fd),
                "rename": lambda: fs.rename(tmp_path / "no", tmp_path / "nor", context=context),
                "close": lambda: context._close(fd),
            }
            os.close(await context._open(tmp_path / "other", os.O_RDWR | os.O_CREAT, 0o666))
            assert await context.write(b"x", fd) == 1
            await asyncio.sleep(0.4)  # our threads end
            with no_numbers():
                task = asyncio.ensure_future(calls[begin]())
                done, _ = await asyncio.wait([task], timeout=20)
                assert done
                error = task.exception()
            assert isinstance(error, (OSError, type(None)))
            if begin == "close":
                assert error is None
                await until(lambda: not os.path.lexists(f"/proc/self/fd/{fd}"))

    in_child(lambda: run(use()))


@pytest.mark.engine_independent
@pytest.mark.parametrize("left", range(6))
def test_ranges_while_few_numbers_are_left(left: int, tmp_path: Path) -> None:
    """They come, or an error says why not; nobody waits for ever."""
    path = tmp_path / "data"
    data = os.urandom(1 << 20)
    path.write_bytes(data)
    ranges = [(start, 1 << 14) for start in range(0, len(data), 1 << 14)]

    async def read() -> bool:
        found = {}
        async for index, part in read_many(path, ranges, memory=1 << 16, direct=False, max_merge=0):
            found[index] = bytes(part)
        return b"".join(found[index] for index in range(len(ranges))) == data

    async def main() -> str:
        assert await read()  # what is made once is there
        with few_numbers(left):
            try:
                return str(await asyncio.wait_for(read(), 20))
            except OSError as error:
                return errno.errorcode[error.errno or 0]

    # the last may be due to the user's other processes
    assert in_child(lambda: asyncio.run(main())) in {"True", "EMFILE", "ETOOMANYREFS"}


def bulk_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "linux_aio bulk"]


async def load(path: Path) -> None:
    buffer = bytearray(len(DATA))
    try:
        await aload_into(path, [(0, buffer)])
        assert buffer == DATA
    finally:
        buffer.append(0)  # a BufferError while the thread uses it


async def copy_and_remove(path: Path) -> None:
    target = path.with_name("copy")
    await acopy(path, target)
    target.unlink()


async def read_ranges(path: Path) -> None:
    assert [bytes(data) async for _, data in read_many(path, [(0, 4)])] == [DATA[:4]]


BULK_CALLS: dict[str, Callable[[Path], Coroutine[Any, Any, object]]] = {
    "aload_into": load,
    "acopy": copy_and_remove,
    "achecksum": achecksum,
    "read_many": read_ranges,
}


@pytest.mark.parametrize("name", BULK_CALLS)
def test_bulk_calls_leave_nothing_while_few_numbers_are_left(
    name: str, any_loop: AnyLoop, tmp_path: Path
) -> None:
    path = tmp_path / "data"
    path.write_bytes(DATA)

    def call_in_new_loop(free: int) -> bool:
        async def main() -> bool:
            with few_numbers(free):
                try:
                    await BULK_CALLS[name](path)
                except OSError as error:
                    # the second may be due to the user's other processes
                    if error.errno not in (errno.EMFILE, errno.ETOOMANYREFS):
                        raise
                    return False
                return True

        return any_loop.run(main)

    def call_with_few_numbers() -> list[bool]:
        assert soon(lambda: call_in_new_loop(50))  # what is made once is there
        gc.collect()
        before = open_fds()
        found = [call_in_new_loop(free) for free in range(1, 7)]
        gc.collect()
        assert soon(lambda: open_fds() <= before and not bulk_threads())
        return found

    assert not all(in_child(call_with_few_numbers))


@pytest.mark.needs_root
def test_a_bulk_call_that_can_not_be_notified_waits_for_its_thread(
    any_loop: AnyLoop, mounted_fs: HoldingFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends when nothing writes to the buffer any more."""
    path = mounted_fs.create("data", DATA)
    buffer = bytearray(len(DATA))
    ended: list[object] = []

    async def load_held() -> None:
        with pytest.raises(OSError, match=EMFILE):
            await aload_into(path, [(0, buffer)], direct=True)
        buffer.append(0)  # a BufferError while the thread uses it
        ended.append(None)

    def refuse() -> AIOContext:
        if not bulk_threads():
            return loop_context()
        raise OSError(errno.EMFILE, EMFILE)

    async def main() -> None:
        mounted_fs.hold()
        monkeypatch.setattr(_worker, "loop_context", refuse)
        async with any_loop.group() as group:
            group.start(load_held)
            await any_loop.in_thread(mounted_fs.wait_held, 1)
            await any_loop.sleep(0.05)
            has_waited = not ended
            mounted_fs.unhold()
        assert ended
        assert has_waited

    any_loop.run(main)


@pytest.mark.engine("auto", "uring", "threads")
@pytest.mark.parametrize("how", ["files", "folders"])
def test_files_that_are_opened_while_the_loop_is_busy(how: str, tmp_path: Path) -> None:
    """More than the way from our threads to the program has room for, and for seconds."""
    count = 400
    target = tmp_path / "folder"
    target.mkdir()
    for number in range(1100):
        (target / str(number)).touch()

    def use() -> int:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4096), most))

        async def main() -> int:
            async with AIOContext(1024) as context:
                made: Any = context
                if how == "files":
                    calls = [
                        made._open(
                            str(tmp_path / str(number)), os.O_WRONLY | os.O_CREAT | os.O_EXCL
                        )
                        for number in range(count)
                    ]
                else:
                    calls = [
                        made._scandir(str(target), str(target), 1000, False) for _ in range(count)
                    ]
                tasks = [asyncio.ensure_future(call) for call in calls]
                await asyncio.sleep(0)
                time.sleep(2.5)  # noqa: ASYNC251 - the program computes
                results = await asyncio.gather(*tasks)
                fds = [result if how == "files" else result[1] for result in results]
                for fd in fds:
                    os.close(fd)
                return len(set(fds))

        return asyncio.run(main())

    assert in_child(use) == count


@pytest.mark.engine("auto", "aio")  # to begin with, the others need numbers for themselves
def test_an_eventfd_named_by_number_after_a_moment_without_numbers() -> None:
    """Whether a number is an eventfd's is asked again, even if the first question failed."""

    def use() -> list[bytes]:
        read = []
        with file_in_memory() as fd, AIOContext(8) as context:
            os.pwrite(fd, b"data", 0)
            eventfd = os.eventfd(0)
            operation = AIOOperation.read(4, fd)
            with no_numbers():
                operation.submit(context, eventfd)
                assert os.eventfd_read(eventfd) == 1
                read.append(operation.get_result())
            operation = AIOOperation.read(4, fd)
            operation.submit(context, eventfd)
            assert os.eventfd_read(eventfd) == 1
            read.append(operation.get_result())
            with pytest.raises(OSError, match="Invalid argument"):
                AIOOperation.read(4, fd).submit(context, fd)
        return read

    assert in_child(use) == [b"data", b"data"]


@pytest.mark.engine("auto")
@pytest.mark.skipif("uring" not in available_engines(), reason="no io_uring")
def test_io_uring_is_used_after_a_moment_without_numbers(tmp_path: Path) -> None:
    def use() -> int:
        with AIOContext(8) as context, aligned_buffer(4096) as block:
            fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
            with no_numbers(), contextlib.suppress(OSError):
                AIOOperation.write(block, fd).submit(context)
            context.getevents(0)
            perform(context, AIOOperation.write(block, fd))
            return context.statistics()["uring"]

    assert in_child(use) > 0
