# SPDX-License-Identifier: Apache-2.0
"""Standard streams of files and pipes that other programs use too, in each kind of event loop."""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from linux_aio._standard_streams import _StandardFile, _StandardText
from support import any_loop as loops
from support.forked import in_child

pytest_plugins = ["support.fixtures"]

pytestmark = pytest.mark.usefixtures("any_loop")

by_more_than_aio = pytest.mark.engine("auto", "uring", "threads")

# More than is read in one piece, so that a File would read ahead.
LARGE = 50_000


def run(use: Callable[[], Any]) -> Any:
    return loops.current.run(use)


def stream(fd: int, mode: str) -> _StandardFile:
    """A stream in bytes, as stdin_bytes and stdout_bytes are, of another descriptor."""
    file = _StandardFile("<stream>", fd, mode, flushes=False)
    _StandardText(file, None)
    return file


def text_of(file: _StandardFile) -> _StandardText:
    assert file._text is not None
    return file._text


async def close(file: _StandardFile) -> None:
    await file.close()


async def close_text(file: _StandardFile) -> None:
    await text_of(file).close()


async def close_by_with(file: _StandardFile) -> None:
    async with file:
        pass


async def detach(file: _StandardFile) -> None:
    file.detach()


async def detach_text(file: _StandardFile) -> None:
    text_of(file).detach()
    file.detach()


ENDS = [close, close_text, close_by_with, detach, detach_text]
End = Callable[[_StandardFile], Awaitable[None]]


@pytest.mark.parametrize("end", ENDS)
def test_an_output_that_was_not_used_leaves_the_position(tmp_path: Path, end: End) -> None:
    """Else the next bytes of other programs would overwrite the file from its start."""
    with (tmp_path / "file").open("wb", buffering=0) as other:
        other.write(b"before\n")

        async def use() -> None:
            await end(stream(other.fileno(), "wb"))

        run(use)
        other.write(b"after\n")
    assert (tmp_path / "file").read_bytes() == b"before\nafter\n"


@pytest.mark.parametrize("end", ENDS)
def test_an_input_that_was_not_used_leaves_the_position(tmp_path: Path, end: End) -> None:
    (tmp_path / "file").write_bytes(b"one\ntwo\n")
    with (tmp_path / "file").open("rb", buffering=0) as other:
        other.read(4)

        async def use() -> None:
            await end(stream(other.fileno(), "rb"))

        run(use)
        assert other.read() == b"two\n"


@pytest.mark.parametrize("mode", ["rb", "wb"])
@pytest.mark.parametrize("end", ENDS)
def test_a_pipe_that_was_not_used_can_be_closed(end: End, mode: str) -> None:
    reader, writer = os.pipe()

    async def use() -> None:
        await end(stream(reader if mode == "rb" else writer, mode))

    run(use)
    os.write(writer, b"still open")
    assert os.read(reader, 100) == b"still open"
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("is_text", [False, True])
def test_the_first_write_goes_where_the_file_stands(tmp_path: Path, is_text: bool) -> None:
    """Also if nothing but close() follows."""
    with (tmp_path / "file").open("wb", buffering=0) as other:
        other.write(b"before\n")

        async def use() -> None:
            file = stream(other.fileno(), "wb")
            if is_text:
                await text_of(file).write("written\n")
                await text_of(file).close()
            else:
                await file.write(b"written\n")
                await file.close()

        run(use)
        other.write(b"after\n")
    assert (tmp_path / "file").read_bytes() == b"before\nwritten\nafter\n"


@pytest.mark.parametrize("is_text", [False, True])
def test_later_writes_are_gathered_in_cpp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_text: bool
) -> None:
    """Only the first write has to find out what kind of file it is."""

    def refuse(*_: object) -> None:
        raise AssertionError

    with (tmp_path / "file").open("wb") as other:

        async def use() -> None:
            file = stream(other.fileno(), "wb")
            write: Any = text_of(file).write if is_text else file.write
            data: Any = "line\n" if is_text else b"line\n"
            await write(data)
            monkeypatch.setattr(_StandardFile, "_write_slow", refuse)
            monkeypatch.setattr(_StandardText, "_write_slow", refuse)
            for _ in range(9):
                await write(data)
            await file.close()

        run(use)
    assert (tmp_path / "file").read_bytes() == b"line\n" * 10


def test_calls_beside_the_position_come_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")

    async def use() -> None:
        fd = os.open(tmp_path / "file", os.O_RDWR)
        assert await stream(fd, "rb").pread(3, 2) == b"234"
        memory = bytearray(3)
        assert await stream(fd, "rb").preadinto(memory, 5) == 3
        assert memory == b"567"
        with pytest.raises(OSError, match="Illegal seek"):
            await stream(fd, "wb").pwrite(b"no", 0)
        os.close(fd)

    run(use)
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_calls_beside_the_position_of_a_pipe_come_first() -> None:
    async def use() -> None:
        reader, writer = os.pipe()
        os.write(writer, b"precious")
        with pytest.raises(OSError, match="Illegal seek"):
            await stream(reader, "rb").pread(4, 0)
        with pytest.raises(OSError, match="Illegal seek"):
            await stream(reader, "rb").preadinto(bytearray(4), 0)
        with pytest.raises(OSError, match="Illegal seek"):
            await stream(writer, "wb").pwrite(b"more", 0)
        assert os.read(reader, 100) == b"precious"
        os.close(reader)
        os.close(writer)

    run(use)


def test_a_seek_comes_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")

    async def use() -> None:
        fd = os.open(tmp_path / "file", os.O_RDONLY)
        for file in (stream(fd, "rb"), text_of(stream(fd, "rb"))):
            assert file.seekable()
            assert await file.seek(7) == 7
            assert await file.read() in (b"789", "789")
        os.close(fd)
        reader, writer = os.pipe()
        for mode, number in (("rb", reader), ("wb", writer)):
            file = stream(number, mode)
            assert not file.seekable()
            with pytest.raises(OSError, match="not seekable"):
                await file.seek(0)
            os.close(number)

    run(use)


@pytest.mark.parametrize("call", ["read", "tell", "flush", "readline"])
def test_a_call_of_a_closed_stream_does_not_open_it(tmp_path: Path, call: str) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")

    async def use() -> None:
        with (tmp_path / "file").open("rb") as other:
            file = stream(other.fileno(), "rb")
            file._is_open = False  # as of a process that began without it
            for _ in range(2):
                with pytest.raises(ValueError, match="closed"):
                    await getattr(file, call)()
            assert file.closed

    run(use)


def test_a_cancelled_close_writes_where_the_file_stands(tmp_path: Path) -> None:
    """The bytes that a call behind it gathered, too."""
    most = b"x" * (8 << 20)
    results: list[bytes] = []

    async def write(file: _StandardFile, data: bytes) -> None:
        try:
            await file.write(data)
        except ValueError:
            return  # the close was first
        results.append(data)

    async def use() -> None:
        loop = loops.current
        file = stream(fd, "wb")
        await file.flush()
        async with loop.group() as group:
            group.start(write, file, most)
            await loop.turns(3)
            async with loop.group() as closing:
                closing.start(file.close)
                await loop.turns(3)
                group.start(write, file, b"more\n")
                await loop.turns(3)
                closing.cancel()
        assert file.closed
        await loop.until(lambda: os.fstat(fd).st_size >= 7 + sum(map(len, results)))

    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"before\n")
    run(use)
    os.write(fd, b"after\n")
    os.close(fd)
    assert (tmp_path / "file").read_bytes() == b"".join([b"before\n", *results, b"after\n"])


def test_a_loops_end_writes_where_the_file_stands(tmp_path: Path) -> None:
    """What a cancelled close left to do is done at the end of the loop."""

    async def use() -> None:
        file = stream(fd, "wb")
        await file.flush()
        await file.write(b"gathered\n")
        file._let_go(file._detach_leftover())

    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"before\n")
    run(use)
    os.write(fd, b"after\n")
    os.close(fd)
    assert (tmp_path / "file").read_bytes() == b"before\ngathered\nafter\n"


@by_more_than_aio
def test_close_waits_for_the_write_of_an_earlier_loop() -> None:
    """It was cancelled, and its loop is closed: not all bytes are in the pipe."""
    size = 200_000
    reader, writer = os.pipe()
    file = stream(writer, "wb")
    received: list[bytes] = []

    async def fill() -> None:
        async with loops.current.scope(0.05):
            await file.write(b"x" * size)

    def receive() -> None:
        while sum(map(len, received)) < size:
            received.append(os.read(reader, 1 << 16))

    thread = threading.Thread(target=receive, daemon=True)

    async def end() -> None:
        thread.start()
        await file.close()

    run(fill)
    run(end)
    thread.join(60)
    assert b"".join(received) == b"x" * size
    os.close(reader)
    os.close(writer)


def lines_of(path: Path) -> list[bytes]:
    lines = [b"%07d\n" % number for number in range(LARGE)]
    path.write_bytes(b"".join(lines))
    return lines


@pytest.mark.parametrize("is_text", [False, True])
def test_a_large_file_is_read_in_several_loops(tmp_path: Path, is_text: bool) -> None:
    lines = lines_of(tmp_path / "file")
    with (tmp_path / "file").open("rb") as other:
        file = stream(other.fileno(), "rb")
        reader: Any = text_of(file) if is_text else file

        async def read_some() -> list[Any]:
            return [await reader.readline() for _ in range(LARGE // 4)]

        seen = [line for _ in range(4) for line in run(read_some)]
        assert seen == ([line.decode() for line in lines] if is_text else lines)


def test_a_large_file_is_read_in_a_child_too(tmp_path: Path) -> None:
    lines = lines_of(tmp_path / "file")
    with (tmp_path / "file").open("rb") as other:
        file = stream(other.fileno(), "rb")

        async def read_line() -> bytes:
            return await file.readline()

        async def read_lines() -> list[bytes]:
            return [line async for line in file]

        assert run(read_line) == lines[0]
        assert in_child(lambda: bool(run(read_lines) == lines[1:]))
        assert run(read_lines) == lines[1:]


def test_a_large_file_is_read_by_several_threads(tmp_path: Path) -> None:
    lines = lines_of(tmp_path / "file")
    seen: list[bytes] = []
    together = threading.Barrier(3)
    with (tmp_path / "file").open("rb") as other:
        file = stream(other.fileno(), "rb")

        async def read_lines() -> None:
            together.wait(60)
            while data := await file.read(100 * len(lines[0])):
                seen.extend(data.splitlines(keepends=True))
                await loops.current.sleep(0)

        threads = [threading.Thread(target=run, args=[read_lines]) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert sorted(seen) == lines
