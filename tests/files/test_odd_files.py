# SPDX-License-Identifier: Apache-2.0
"""Files that are unlike most: sparse, growing, full, failing; and loops, forks, threads."""

from __future__ import annotations

import asyncio
import errno
import operator
import os
import random
import resource
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import linux_aio
from support import mounts
from support.fusefs import HoldingFS
from support.interpreters import AVAILABLE, interpreter
from support.loops import run
from support.open_files import open_below, settle_below

pytest_plugins = ["support.fixtures"]

by_more_than_aio = pytest.mark.engine("auto", "uring", "threads")

# The longest that a loop may stand still, in seconds: see test_stuck_streams.py.
STALL = 0.5


# --- sizes


def test_a_file_that_grows(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"1\n" * 1000)

    async def main() -> None:
        async with linux_aio.open(path, "rb") as file:
            assert await file.read(10) == b"1\n" * 5
            with path.open("ab") as other:
                other.write(b"2\n" * 100_000)
            assert await file.read() == b"1\n" * 995 + b"2\n" * 100_000
            assert await file.read() == b""
            with path.open("ab") as other:
                other.write(b"3\n")
            assert await file.readline() == b"3\n"

    run(main())


def test_a_file_that_shrinks(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1_000_000)

    async def main() -> None:
        async with linux_aio.open(path, "rb") as file:
            assert len(await file.read(10)) == 10
            os.truncate(path, 500_000)
            assert 499_990 <= len(await file.read()) <= 999_990
            assert await file.read() == b""
        async with linux_aio.open(path, "rb") as file:
            os.truncate(path, 0)
            assert await file.read() == b""

    run(main())


def test_beyond_4_gib(tmp_path: Path) -> None:
    """Of a sparse file: places, lines and texts there."""
    path = tmp_path / "sparse"
    place = (5 << 30) + 3
    try:
        with path.open("wb") as file:
            file.seek(place)
            file.write(b"line\nlast")
    except OSError as error:
        pytest.skip(f"no sparse files here: {error}")

    async def main() -> None:
        async with linux_aio.open(path, "r+b") as file:
            assert await file.seek(-9, os.SEEK_END) == place
            assert await file.readline() == b"line\n"
            assert await file.tell() == place + 5
            assert await file.pread(4, place) == b"line"
            assert await file.pwrite(b"LINE", place) == 4
            assert await file.write(b"more") == 4
            assert await file.tell() == place + 9
            assert (await file.stat()).st_size == place + 9
            assert await file.seek(0, os.SEEK_DATA) > 0
        async with linux_aio.open(path, newline="") as text:
            await text.seek(place)
            assert await text.readline() == "LINE\n"
            cookie = await text.tell()
            assert await text.read() == "more"
            await text.seek(cookie)
            assert await text.read(2) == "mo"

    run(main())
    assert os.stat(path).st_blocks * 512 < 1 << 20


@by_more_than_aio
def test_files_of_the_kernels() -> None:
    async def main() -> None:
        for path in (
            "/proc/self/maps",
            "/proc/meminfo",
            "/sys/kernel/mm/transparent_hugepage/enabled",
        ):
            if not os.path.exists(path):  # noqa: ASYNC240
                continue
            async with linux_aio.open(path, "rb") as file:
                data = await file.read()
                assert data
                await file.seek(0)
                assert (await file.readline())[:5] == data[:5]
            async with linux_aio.open(path) as text:
                lines = [line async for line in text]
                assert lines
                assert "".join(lines)[:5].encode() == data[:5]

    run(main())


# --- no room, and errors


@by_more_than_aio
def test_dev_full() -> None:
    async def main() -> None:
        file = await linux_aio.open("/dev/full", "wb")
        assert await file.write(b"x") == 1
        with pytest.raises(OSError) as caught:  # noqa: PT011
            await file.flush()
        assert caught.value.errno == errno.ENOSPC
        with pytest.raises(OSError):  # noqa: PT011
            await file.close()
        assert file.closed

    run(main())


def test_a_full_disk(tmp_path: Path) -> None:
    """What fits is there, in order, and each error is told."""
    reason = mounts.tmpfs_mount_reason()
    if reason is not None:
        pytest.skip(reason)
    with mounts.tmpfs_mount(tmp_path / "small", 256) as folder:

        async def main() -> None:
            data = random.Random(1).randbytes(1 << 20)
            file = await linux_aio.open(folder / "file", "wb", 100_000)
            caught = None
            try:
                for start in range(0, len(data), 10_000):
                    await file.write(data[start : start + 10_000])
                await file.flush()
            except OSError as error:
                caught = error
            assert caught is not None
            assert caught.errno == errno.ENOSPC
            with pytest.raises(OSError):  # noqa: PT011
                await file.close()
            written = (folder / "file").read_bytes()
            assert written
            assert data.startswith(written)

        run(main())


def test_what_a_pwrite_that_fails_has_written_is_read(tmp_path: Path) -> None:
    largest = 100_000
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    async def main() -> None:
        async with linux_aio.open(tmp_path / "file", "w+b") as file:
            await file.write(b"old-" * 20_000)
            await file.seek(0)
            assert await file.read(4) == b"old-"
            with pytest.raises(OSError, match="File too large"):
                await file.pwrite(b"NEW!" * 30_000, 0)
            assert await file.read() == (b"NEW!" * 30_000)[4:largest]

    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
    try:
        run(main())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_eio_behind_a_write_that_was_put_off(fuse: HoldingFS) -> None:
    fuse.create("file", b"")

    async def main() -> None:
        file = await linux_aio.open(fuse.path("file"), "wb")
        fuse.fail(errno.EIO, kinds=["write"])
        assert await file.write(b"gathered") == 8
        with pytest.raises(OSError) as caught:  # noqa: PT011
            await file.flush()
        assert caught.value.errno == errno.EIO
        fuse.reset()
        await file.flush()  # it is tried again
        await file.close()
        assert fuse.contents("file") == b"gathered"

    run(main())


@pytest.mark.parametrize("kind", ["read", "write", "fsync"])
def test_a_server_that_fails(kind: Any, fuse: HoldingFS) -> None:
    fuse.create("file", b"x" * 10_000)

    async def use(file: linux_aio.File) -> None:
        if kind == "read":
            await file.read()
        else:
            await file.write(b"y")
            await file.fsync()

    async def main() -> None:
        file = await linux_aio.open(fuse.path("file"), "r+b")
        fuse.fail(errno.EIO, kinds=[kind])
        with pytest.raises(OSError) as caught:  # noqa: PT011
            await use(file)
        assert caught.value.errno == errno.EIO
        fuse.reset()
        assert await file.pread(1, 5000) == b"x"
        await file.close()

    run(main())


@pytest.mark.parametrize("kind", ["read", "write", "fsync"])
@by_more_than_aio
def test_a_server_that_hangs(kind: str, fuse: HoldingFS) -> None:
    """The loop goes on, a task that waits can be cancelled, and other files are not held up."""
    fuse.create("file", b"x" * 10_000)
    local = Path(__file__)

    async def main() -> None:
        file = await linux_aio.open(fuse.path("file"), "r+b")
        fuse.hold(reads=kind == "read", writes=kind == "write", fsyncs=kind == "fsync")

        async def use() -> None:
            if kind == "read":
                await file.read()
            else:
                await file.write(b"y")
                await file.fsync()

        task = asyncio.create_task(use())
        longest = 0.0
        last = time.monotonic()
        for _ in range(30):
            await asyncio.sleep(0.005)
            async with linux_aio.open(local, "rb") as other:
                assert await other.read(10)
            now = time.monotonic()
            longest, last = max(longest, now - last), now
        assert not task.done()
        assert longest < STALL
        task.cancel()
        await asyncio.wait([task], timeout=5)
        assert task.cancelled()
        fuse.unhold()
        await file.close()

    run(main())


def test_no_number_is_left(tmp_path: Path) -> None:
    """At the limit of open files open() raises, and works again below it."""
    path = tmp_path / "file"
    path.write_bytes(b"x")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def main() -> None:
        async with linux_aio.open(path, "r+b") as file:
            assert await file.read() == b"x"
        highest = max(map(int, os.listdir("/proc/self/fd")))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 30, limits[1]))
        files: list[Any] = []
        try:
            for mode in ("rb", "r+b"):
                with pytest.raises(OSError) as caught:  # noqa: PT011, PT012
                    while True:
                        files.append(await linux_aio.open(path, mode))
                assert caught.value.errno == errno.EMFILE
                assert len(files) > 5
                for file in files:
                    await file.close()
                files.clear()
                await settle_below(tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        async with linux_aio.open(path, "rb") as file:
            assert await file.read() == b"x"

    run(main())


# --- FIFOs and terminals


@by_more_than_aio
def test_a_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    async def main() -> None:
        reading = asyncio.ensure_future(_opened(tmp_path / "fifo", "r"))
        await asyncio.sleep(0.02)
        assert not reading.done()
        async with linux_aio.open(tmp_path / "fifo", "w") as writer:
            reader = await reading
            assert not reader.seekable()
            await writer.write("one\ntwo\n")
            await writer.flush()
            assert await reader.readline() == "one\n"
            task = asyncio.create_task(reader.read())
            await asyncio.sleep(0.02)
            assert not task.done()
        assert await task == "two\n"
        await reader.close()

    run(main())


async def _opened(path: Path, mode: str) -> Any:
    return await linux_aio.open(path, mode)


@by_more_than_aio
def test_a_terminal() -> None:
    master, slave = os.openpty()
    name = os.ttyname(slave)

    async def main() -> None:
        async with linux_aio.open(name, "w") as writer, linux_aio.open(name) as reader:
            assert reader.isatty()
            assert writer.line_buffering
            await writer.write("asked\n")
            assert b"asked" in os.read(master, 100)
            task = asyncio.create_task(reader.readline())
            await asyncio.sleep(0.02)
            assert not task.done()
            os.write(master, b"answer\n")
            assert await task == "answer\n"

    try:
        run(main())
    finally:
        os.close(master)
        os.close(slave)


@by_more_than_aio
@pytest.mark.parametrize("mode", ["rb", "r"])
@pytest.mark.parametrize("arguments", [("tell",), ("seek", 0)])
def test_a_stream_has_no_position(mode: str, arguments: tuple[Any, ...]) -> None:
    """The errors are those of open()'s files."""
    call = operator.methodcaller(*arguments)
    read_end, write_end = os.pipe()
    with open(read_end, mode) as file, pytest.raises(OSError) as expected:  # noqa: PT011
        call(file)
    os.close(write_end)

    async def main() -> None:
        read_end, write_end = os.pipe()
        async with linux_aio.open(read_end, mode) as file:
            with pytest.raises(OSError) as caught:  # noqa: PT011
                await call(file)
        os.close(write_end)
        assert (caught.type, str(caught.value)) == (expected.type, str(expected.value))

    run(main())


@by_more_than_aio
def test_a_stream_that_is_opened_twice_is_read_and_written_at_once() -> None:
    ours, theirs = socket.socketpair()

    async def main() -> None:
        async with (
            linux_aio.open(theirs.fileno(), "rb", closefd=False) as reader,
            linux_aio.open(theirs.fileno(), "wb", closefd=False) as writer,
        ):
            reading = asyncio.ensure_future(reader.read(6))
            await asyncio.sleep(0)
            await writer.write(b"asked")
            await writer.flush()
            assert ours.recv(100) == b"asked"
            ours.sendall(b"answer")
            assert await reading == b"answer"

    with ours, theirs:
        run(main())


@by_more_than_aio
@pytest.mark.parametrize("call", ["write", "writelines"])
@pytest.mark.parametrize("mode", ["r+", "r+b"])
def test_a_write_to_a_stream_keeps_what_was_read(mode: str, call: str) -> None:
    """It has no position to go back to: what was read ahead is nowhere else."""
    ours, theirs = socket.socketpair()

    def given(text: str) -> Any:
        return text.encode() if "b" in mode else text

    async def write(file: Any, line: str) -> None:
        lines = given(line)
        await (file.write(lines) if call == "write" else file.writelines([lines]))
        await file.flush()
        assert ours.recv(100) == line.encode()

    async def main() -> None:
        encoding = None if "b" in mode else "utf-8"
        async with linux_aio.open(theirs.fileno(), mode, encoding=encoding, closefd=False) as file:
            ours.sendall("first\nsecond\nhalf an é".encode()[:-1])
            assert await file.readline() == given("first\n")
            await write(file, "one\n")
            assert await file.readline() == given("second\n")
            await write(file, "two\n")
            ours.sendall("é\nlast".encode()[1:])
            assert await file.readline() == given("half an é\n")
            await write(file, "three\n")
            ours.close()
            assert await file.read() == given("last")

    with ours, theirs:
        run(main())


# --- texts


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "shift_jis", "utf-7"])
def test_characters_over_the_ends_of_chunks(encoding: str, tmp_path: Path) -> None:
    """Each place that tell() returned leads back to what followed it."""
    path = tmp_path / "text"
    chance = random.Random(encoding)
    letters = "aé€日本\n" if encoding in {"utf-8", "utf-16"} else "a日本語\n"
    text = "".join(chance.choice(letters) for _ in range(60_000))
    path.write_text(text, encoding=encoding, newline="\n")

    async def main() -> None:
        async with linux_aio.open(path, encoding=encoding) as file:
            places = []
            done = 0
            while piece := await file.read(chance.randrange(1, 5000)):
                assert piece == text[done : done + len(piece)]
                done += len(piece)
                places.append((await file.tell(), done))
            assert done == len(text)
            chance.shuffle(places)
            for cookie, start in places:
                await file.seek(cookie)
                assert await file.read(50) == text[start : start + 50]

    run(main())


# --- loops, threads, forks, interpreters


async def _use(path: Path) -> None:
    async with linux_aio.open(path, "r+b") as file:
        assert await file.read(1) == b"x"
        await file.write(b"x")


def test_a_thousand_loops_in_a_row(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"xx")
    for _ in range(10):
        asyncio.run(_use(path))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(1000):
        asyncio.run(_use(path))
    deadline = time.monotonic() + 20
    while len(os.listdir("/proc/self/fd")) > before + 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(os.listdir("/proc/self/fd")) <= before + 5
    assert open_below(tmp_path) == []


def test_loops_that_are_closed_by_force(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"xx" * 100_000)
    os.mkfifo(tmp_path / "fifo")

    async def wait() -> None:
        await linux_aio.open(tmp_path / "fifo")

    for _ in range(30):
        loop = asyncio.new_event_loop()
        waits = loop.create_task(wait())
        loop.run_until_complete(_use(path))
        waits._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.close()
        del waits, loop
    run(settle_below(tmp_path))


def test_loops_in_threads(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            path = tmp_path / str(number)
            path.write_bytes(b"xx")
            for _ in range(20):
                asyncio.run(_use(path))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_uses_files_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"xx")

    async def main() -> None:
        async with linux_aio.open(path, "r+b") as file:
            await file.write(b"gathered by the parent")
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    asyncio._set_running_loop(None)
                    (tmp_path / "childs").write_bytes(b"xx")
                    asyncio.run(_use(tmp_path / "childs"))
                    status = 0
                finally:
                    os._exit(status)
            assert os.waitpid(child, 0)[1] == 0  # noqa: ASYNC222
            assert path.read_bytes() == b"xx"
        assert path.read_bytes() == b"gathered by the parent"

    run(main())


@pytest.mark.skipif(not AVAILABLE, reason="sub-interpreters came with Python 3.12")
def test_in_a_sub_interpreter(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"line\n")
    with interpreter() as inner:
        inner.run(f"""
        import asyncio
        import linux_aio
        async def main():
            async with linux_aio.open({str(tmp_path / "file")!r}) as file:
                return [line async for line in file]
        assert asyncio.run(main()) == ["line\\n"]
        """)


def test_thousands_of_opens_cancelled_at_random(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)
    os.mkfifo(tmp_path / "fifo")
    chance = random.Random(2)

    async def use(name: Path, mode: str, turns: int) -> None:
        async with linux_aio.open(name, mode) as file:
            for _ in range(turns):
                await (file.read(10) if file.readable() else file.write(b"y"))

    async def one() -> None:
        for _ in range(40):
            kind = chance.choice(["rb", "rb", "r+b", "ab", "fifo"])
            name = tmp_path / "fifo" if kind == "fifo" else path
            mode = "rb" if kind == "fifo" else kind
            task = asyncio.create_task(use(name, mode, chance.randrange(3)))
            for _ in range(chance.randrange(8)):
                await asyncio.sleep(0)
            if chance.random() < 0.3:
                await asyncio.sleep(chance.random() * 0.002)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def main() -> None:
        await asyncio.gather(*(one() for _ in range(50)))
        await settle_below(tmp_path)

    run(main())
