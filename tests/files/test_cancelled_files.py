# SPDX-License-Identifier: Apache-2.0
"""Cancelled calls of files raise the cancellation, and keep the bytes of streams."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import linux_aio
from linux_aio import File, fs
from support import any_loop as loops

pytest_plugins = ["support.fixtures"]

pytestmark = [
    pytest.mark.usefixtures("any_loop"),
    # kernel AIO waits for a pipe inside io_submit(2)
    pytest.mark.engine("auto", "uring", "threads"),
]


def run(use: Callable[[], Any]) -> Any:
    return loops.current.run(use)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_cancelled_pwrite(tmp_path: Path, kind: Callable[[bytes], Any]) -> None:
    """It raises the cancellation, or has ended."""
    size = 32 << 20

    async def use() -> None:
        data = kind(b"x" * size)
        async with linux_aio.open(tmp_path / "file", "w+b") as file:
            for seconds in (0.0, 0.001, 0.004):
                written = 0
                async with loops.current.scope(seconds) as scope:
                    written = await file.pwrite(data, 0)
                assert written == size or scope.was_cancelled

    run(use)


@pytest.mark.parametrize("mode", ["rb", "r"])
def test_cancelled_readlines_of_a_pipe(mode: str) -> None:
    async def use() -> None:
        reader, writer = os.pipe()
        async with linux_aio.open(reader, mode) as file:
            os.write(writer, b"one\ntwo\nth")
            async with loops.current.scope(0.05) as scope:
                await file.readlines()
            assert scope.was_cancelled
            os.write(writer, b"ree\nfour\n")
            assert await file.readlines(6) in (["one\n", "two\n"], [b"one\n", b"two\n"])
            async with loops.current.scope(0.05) as scope:
                await file.readlines()
            assert scope.was_cancelled
            os.close(writer)
            assert await file.read() in ("three\nfour\n", b"three\nfour\n")

    run(use)


@pytest.mark.parametrize("is_cancelled", [False, True])
@pytest.mark.parametrize("mode", ["rb", "r"])
def test_a_call_beside_readlines_of_a_pipe(mode: str, is_cancelled: bool) -> None:
    """It gets what readlines() leaves. If that is cancelled, this is all that it had read."""
    scopes: list[loops.Scope] = []
    results: dict[str, Any] = {}

    async def use() -> None:
        reader, writer = os.pipe()
        async with linux_aio.open(reader, mode) as file:

            async def read_lines() -> None:
                async with loops.current.scope() as scope:
                    scopes.append(scope)
                    results["lines"] = await file.readlines()

            async def read_line() -> None:
                results["line"] = await file.readline()

            async with loops.current.group() as group:
                group.start(read_lines)
                os.write(writer, b"one\ntwo\n")
                await loops.current.sleep(0.05)  # it has read the two lines
                group.start(read_line)
                await loops.current.turns(3)
                if is_cancelled:
                    scopes[0].cancel()
                    await loops.current.turns(3)
                os.write(writer, b"three\n")
                await loops.current.sleep(0.05)
                os.close(writer)
            results["rest"] = await file.read()

    run(use)
    lines = ["one\n", "two\n", "three\n"]
    expected: dict[str, Any] = {"lines": lines, "line": "", "rest": ""}
    if is_cancelled:
        expected = {"line": "one\n", "rest": "two\nthree\n"}
    if mode == "rb":
        results = {
            name: [line.decode() for line in value] if name == "lines" else value.decode()
            for name, value in results.items()
        }
    assert results == expected


@pytest.mark.parametrize("call", ["readline", "read"])
def test_cancelled_reads_of_a_text_in_equal_pieces(call: str) -> None:
    """Each piece is one character, and so the same object as the piece before."""

    async def use() -> None:
        reader, writer = os.pipe()
        async with linux_aio.open(reader, "r", encoding="utf-8") as file:
            for piece in (b"a", b"a", b"a", b"a", b"\xc3", b"\xa9", b"b"):
                os.write(writer, piece)
                async with loops.current.scope(0.05) as scope:
                    await (file.readline() if call == "readline" else file.read(8))
                assert scope.was_cancelled
            os.write(writer, b"c\n")
            assert await (file.readline() if call == "readline" else file.read(8)) == "aaaa\xe9bc\n"
            os.close(writer)

    run(use)


TEXT = "".join(f"line {number} \u3042\r\n" for number in range(30_000))


class Hung:
    """Has a read of a file hang, after so many that don't."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
        read: Any = File._read_some
        self._is_reached = False

        async def hang(file: File, size: int) -> Any:
            nonlocal count
            count -= 1
            if count < 0:
                self._is_reached = True
                await loops.current.sleep(3600)
            return await read(file, size)

        monkeypatch.setattr(File, "_read_some", hang)

    def is_reached(self) -> bool:
        return self._is_reached


@pytest.mark.parametrize("newline", [None, "", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso2022_jp"])
def test_cancelled_readlines_of_a_text(
    tmp_path: Path, encoding: str, newline: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines that it had read are read by the next call."""
    (tmp_path / "file").write_bytes(TEXT.encode(encoding))
    expected = TEXT if newline is not None else TEXT.replace("\r\n", "\n")

    async def use() -> None:
        async with linux_aio.open(tmp_path / "file", encoding=encoding, newline=newline) as file:
            for begun in ("", expected[:3]):
                assert await file.read(len(begun)) == begun
                place = await file.tell()
                with monkeypatch.context() as patch:
                    hung = Hung(patch, 3)
                    async with loops.current.group() as group:
                        group.start(file.readlines)
                        await loops.current.until(hung.is_reached)
                        group.cancel()
                await file.flush()  # as after `async for`, else tell() is off
                assert await file.tell() == place
                lines = await file.readlines()
                assert "".join(lines) == expected[len(begun) :]
                assert await file.read() == ""
                await file.seek(0)

    run(use)


async def cancel_at_read(count: int, call: Callable[[], Any]) -> None:
    """Cancel the call when it has read so many chunks of its file."""
    with pytest.MonkeyPatch.context() as patch:
        hung = Hung(patch, count)
        async with loops.current.group() as group:
            group.start(call)
            await loops.current.until(hung.is_reached)
            group.cancel()


def test_a_cancelled_readline_leaves_the_position(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("start" + 300_000 * "x" + "\n")

    async def use() -> None:
        async with linux_aio.open(tmp_path / "file") as file:
            for begun in ("", "start"):
                assert await file.read(len(begun)) == begun
                place = await file.tell()
                await cancel_at_read(3, file.readline)
                assert await file.tell() == place
                assert len(await file.readline()) == 300_006 - len(begun)
                await file.seek(0)

    run(use)


def test_a_cancelled_read_that_has_read_half_a_character(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a")

    async def use() -> None:
        async with linux_aio.open(path, encoding="utf-8") as file:
            assert await file.read(1) == "a"
            with path.open("ab") as other:
                other.write(b"\xe3")
            await cancel_at_read(1, file.readline)
            with path.open("ab") as other:
                other.write(b"\x81\x82b\n")
            await file.seek(await file.tell())
            assert await file.readline() == "\u3042b\n"

    run(use)


def test_readlines_of_what_is_no_text_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"line\n" * 40_000 + b"\xff\n")

    async def use() -> None:
        async with linux_aio.open(tmp_path / "file", encoding="utf-8") as file:
            await file.readline()
            place = await file.tell()
            with pytest.raises(UnicodeDecodeError):
                await file.readlines()
            await file.flush()  # as after `async for`, else tell() is off
            assert await file.tell() == place
            assert await file.readlines(8) == ["line\n"] * 2

    run(use)


@pytest.mark.parametrize("hint", [-1, 7])
@pytest.mark.parametrize("mode", ["rb", "r"])
def test_calls_beside_readlines_have_their_turn(tmp_path: Path, mode: str, hint: int) -> None:
    (tmp_path / "file").write_text("line\n" * 30_000)
    lengths: list[int] = []

    async def use() -> None:
        async with linux_aio.open(tmp_path / "file", mode) as file:

            async def read_lines() -> None:
                lengths.append(len(await file.readlines(hint)))

            async with loops.current.group() as group:
                for _ in range(3):
                    group.start(read_lines)

    run(use)
    assert sorted(lengths) == ([0, 0, 30_000] if hint < 0 else [2, 2, 2])


@pytest.mark.parametrize("mode", ["rb", "r"])
def test_a_hint_that_is_no_number_reads_nothing(tmp_path: Path, mode: str) -> None:
    (tmp_path / "file").write_text("one\ntwo\n")

    async def use() -> None:
        async with linux_aio.open(tmp_path / "file", mode) as file:
            hint: Any = "x"
            with pytest.raises(TypeError):
                await file.readlines(hint)
            assert len(await file.readlines()) == 2

    run(use)


def test_a_stream_has_no_offsets() -> None:
    """pread and the like leave its bytes alone, as os.pread does."""

    async def use() -> None:
        reader, writer = os.pipe()
        os.write(writer, b"precious")
        async with linux_aio.open(reader, "rb") as file:
            for offset in (0, 5):
                with pytest.raises(OSError, match="Illegal seek"):
                    await file.pread(4, offset)
                with pytest.raises(OSError, match="Illegal seek"):
                    await file.preadinto(bytearray(4), offset)
            async with linux_aio.open(writer, "wb") as end:
                with pytest.raises(OSError, match="Illegal seek"):
                    await end.pwrite(b"more", 0)
            assert await file.read() == b"precious"

    run(use)


def test_a_text_file_in_use_is_not_detached() -> None:
    async def use() -> None:
        reader, writer = os.pipe()
        text = await linux_aio.open(reader, "r")
        lines = []

        async def read() -> None:
            lines.append(await text.readline())

        async with loops.current.group() as group:
            group.start(read)
            await loops.current.turns(3)
            with pytest.raises(ValueError, match="in use"):
                text.detach()
            os.write(writer, b"a line\nmore\n")
        assert lines == ["a line\n"]
        os.close(writer)
        binary = text.detach()
        assert repr(text) == f"<linux_aio.TextFile mode='r' encoding={text.encoding!r}>"
        await binary.close()

    run(use)


def test_a_cancelled_sendfile_to_a_peer_that_does_not_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(32 << 20))

    async def use() -> None:
        fd = os.open(tmp_path / "file", os.O_RDONLY)
        ours, theirs = socket.socketpair()
        # Where a cancellation waits for the peer, it ends with the peer, and too late.
        late = threading.Timer(10, theirs.close)
        late.start()
        with ours:
            async with loops.current.scope(0.1) as scope:
                while True:
                    await fs.sendfile(ours.fileno(), fd, 0, 32 << 20)
        assert scope.was_cancelled
        assert late.is_alive()
        late.cancel()
        theirs.close()
        os.close(fd)

    run(use)
