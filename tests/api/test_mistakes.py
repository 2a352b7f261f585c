# SPDX-License-Identifier: Apache-2.0
"""Mistakes in arguments: each is told in words that name the argument and say what helps."""

from __future__ import annotations

import asyncio
import codecs
import os
import re
import select
import tempfile
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from linux_aio import AIOContext, AIOOperation, EventFD, IOPriorityClass, direct_alignment, ioprio
from support.files import Numbered, file_in_memory
from support.fusefs import HoldingFS
from support.operations import perform
from support.stalls import another_thread_runs, beats

pytest_plugins = ["support.fixtures"]

BINARY_MODES = ["rb+", "wb+", "ab+"]


@pytest.fixture
def ctx() -> Iterator[AIOContext]:
    with AIOContext(8) as context:
        yield context


@pytest.fixture
def fd() -> Iterator[int]:
    with file_in_memory(b"0123456789") as number:
        yield number


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    return path


# --- the order of arguments, and their types

WRONG: list[tuple[str, Callable[[Any, Any], object], str]] = [
    ("read swapped", lambda of, fd: of.read(Numbered(fd), 10), r"nbytes first and then fd"),
    ("write swapped", lambda of, fd: of.write(fd, b"data"), r"payload first and then fd"),
    ("write swapped, a file", lambda of, fd: of.write(Numbered(fd), b"d"), r"payload first and"),
    ("readinto swapped", lambda of, fd: of.readinto(fd, bytearray(1)), r"buffer first and then"),
    ("poll swapped", lambda of, fd: of.poll(1, Numbered(fd)), r"fd first and then events"),
    ("a float for nbytes", lambda of, fd: of.read(1.5, fd), r"^nbytes must be an int, not float"),
    ("None for nbytes", lambda of, fd: of.read(None, fd), r"^nbytes must be an int, not NoneType"),
    ("a float for offset", lambda of, fd: of.read(1, fd, 1.5), r"^offset must be an int, not fl"),
    ("a str for priority", lambda of, fd: of.read(1, fd, 0, "1"), r"^priority must be an int"),
    ("a str for flags", lambda of, fd: of.write(b"", fd, flags="1"), r"^flags must be an int"),
    ("a str for events", lambda of, fd: of.poll(fd, "in"), r"^events must be an int, not str"),
    ("True for fd", lambda of, fd: of.read(1, True), r"^fd must be .* not bool"),
    ("False for fd", lambda of, fd: of.fsync(False), r"^fd must be .* not bool"),
    ("a path for fd", lambda of, fd: of.read(1, "/etc/passwd"), r"^fd must be .* \(open the file"),
    ("a Path for fd", lambda of, fd: of.fdsync(Path("/")), r"^fd must be .* \(open the file first"),
    ("a list for fd", lambda of, fd: of.fsync([]), r"^fd must be .* not list$"),
    ("a str to write", lambda of, fd: of.write("x", fd), r"^payload must be a bytes-like .*encode"),
    ("a list to write", lambda of, fd: of.write([], fd), r"^payload must be a bytes-like .*not li"),
    ("an int to read into", lambda of, fd: of.readinto(5, fd), r"^buffer must be a bytes-like"),
    ("an int in a vector", lambda of, fd: of.writev([b"", 5], fd), r"^buffers\[1\] must be .*int"),
    ("a str in a vector", lambda of, fd: of.readv(["x"], fd), r"^buffers\[0\] must be .*not str"),
    ("a buffer for vectors", lambda of, fd: of.writev(b"xyz", fd), r"^buffers must be a sequence"),
    ("an int for vectors", lambda of, fd: of.writev(5, fd), r"^buffers must be a sequence of"),
]


@pytest.mark.parametrize(("wrong", "text"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_a_wrong_argument_is_named(
    wrong: Callable[[Any, Any], object], text: str, ctx: AIOContext, fd: int
) -> None:
    for made_by in (AIOOperation, ctx):
        with pytest.raises(TypeError, match=text):
            wrong(made_by, fd)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (lambda of, fd: of.readinto(b"bytes", fd), "^buffer: .*not writable"),
        (lambda of, fd: of.readv([bytearray(1), b""], fd), r"^buffers\[1\]: .*not writable"),
        (lambda of, fd: of.write(memoryview(b"abcd")[::2], fd), "^payload: .*contiguous"),
    ],
)
def test_a_buffer_that_will_not_do_is_named(
    wrong: Callable[[Any, Any], object], text: str, ctx: AIOContext, fd: int
) -> None:
    for made_by in (AIOOperation, ctx):
        with pytest.raises(BufferError, match=text):
            wrong(made_by, fd)


def test_what_a_fileno_method_may_give(ctx: AIOContext, fd: int) -> None:
    for wrong in (True, "1", 1.0):
        with pytest.raises(TypeError, match=r"^fileno\(\) must be "):
            AIOOperation.read(1, Numbered(wrong))
    assert perform(ctx, AIOOperation.read(1, Numbered(fd))) == b"0"


def test_true_is_no_eventfd(ctx: AIOContext, fd: int) -> None:
    op = AIOOperation.read(1, fd)
    for name_it in (op.prepare, lambda eventfd: op.submit(ctx, eventfd)):
        with pytest.raises(TypeError, match="eventfd must be an EventFD or an int, not bool"):
            name_it(True)


# --- flags and priorities


def failure(ctx: AIOContext, op: AIOOperation[Any]) -> str:
    with pytest.raises(OSError, match="of fd") as caught:
        perform(ctx, op)
    return str(caught.value)


@pytest.mark.parametrize("name", ["O_DIRECT", "O_SYNC", "O_NONBLOCK", "O_APPEND", "O_CLOEXEC"])
def test_flags_of_open(name: str, ctx: AIOContext, path: Path) -> None:
    with path.open("rb+", buffering=0) as file:
        for op in (
            AIOOperation.read(4, file, flags=getattr(os, name)),
            AIOOperation.write(b"0", file, flags=getattr(os, name)),
        ):
            text = failure(ctx, op)
            assert "flags are RWF_* flags" in text
            assert f"os.{name} is given to os.open()" in text


@pytest.mark.parametrize("wrong", [IOPriorityClass.IDLE, IOPriorityClass.BEST_EFFORT, 7, 5 << 13])
def test_a_class_is_no_priority(wrong: int, ctx: AIOContext, path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        text = failure(ctx, AIOOperation.read(4, file, priority=wrong))
        assert f"priority {int(wrong)} is none: make one with ioprio()" in text
        assert perform(ctx, AIOOperation.read(4, file, 0, ioprio(IOPriorityClass.IDLE))) == b"0123"


# --- file objects with buffers of their own


def both(
    ctx: AIOContext, make: Callable[[Any], AIOOperation[Any] | typing.Coroutine[Any, Any, Any]]
) -> list[str]:
    """What becomes of an operation of the class's, and of one that is awaited."""

    async def awaited() -> object:
        return await typing.cast("typing.Coroutine[Any, Any, Any]", make(ctx))

    texts = []
    attempts: list[Callable[[], object]] = [
        lambda: make(AIOOperation),
        lambda: asyncio.run(awaited()),
    ]
    for attempt in attempts:
        with pytest.raises(ValueError, match="buffering=0") as caught:
            attempt()
        texts.append(str(caught.value))
    return texts


@pytest.mark.parametrize(
    "make",
    [
        lambda of, file: of.read(8, file),
        lambda of, file: of.readinto(bytearray(8), file),
        lambda of, file: of.write(b"8", file),
        lambda of, file: of.fsync(file),
    ],
)
def test_data_that_was_not_written_yet(make: Any, ctx: AIOContext) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"buffered")
        for text in both(ctx, lambda of: make(of, file)):
            assert "8 bytes which it has not written yet" in text
        file.flush()
        assert perform(ctx, AIOOperation.read(8, file)) == b"buffered"


@pytest.mark.parametrize("mode", BINARY_MODES)
def test_data_of_any_buffered_file(mode: str, ctx: AIOContext, path: Path) -> None:
    with path.open(mode) as file:
        assert perform(ctx, AIOOperation.fsync(file)) is None
        file.write(b"x")
        assert "1 bytes which it has not" in both(ctx, lambda of: of.read(1, file))[0]
        file.flush()
        assert perform(ctx, AIOOperation.write(b"y", file)) == 1


def test_data_that_was_read_ahead(ctx: AIOContext, path: Path) -> None:
    with path.open("rb") as file:
        op = AIOOperation.read(4, file)
        assert perform(ctx, op) == b"0123"
        assert file.read(1) == b"0"
        assert "9 bytes which it has read ahead" in both(ctx, lambda of: of.read(1, file))[0]
        with pytest.raises(ValueError, match="buffering=0"):
            op.submit(ctx)
        assert op.get_result() == b"0123"
        assert file.read() == b"123456789"
        assert perform(ctx, op) == b"0123"


def test_temporary_files_that_have_a_name(ctx: AIOContext) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"data")
        assert "4 bytes which" in both(ctx, lambda of: of.read(4, file))[0]
    with tempfile.NamedTemporaryFile("w+") as text:
        assert "text mode" in both(ctx, lambda of: of.read(4, text))[0]
    with tempfile.NamedTemporaryFile(buffering=0) as plain:
        plain.write(b"data")
        assert perform(ctx, AIOOperation.read(4, plain)) == b"data"


def test_text_mode(ctx: AIOContext, path: Path) -> None:
    binary = path.open("rb")
    decoded = codecs.StreamReaderWriter(
        binary, codecs.getreader("utf-8"), codecs.getwriter("utf-8")
    )

    def read(of: Any) -> Any:
        return of.read(4, file)

    def sync(of: Any) -> Any:
        return of.fdsync(file)

    for text in (path.open(), path.open("r+"), decoded):
        with text as file:
            assert "text mode" in both(ctx, read)[0]
            assert "text mode" in both(ctx, sync)[0]
            assert perform(ctx, AIOOperation.read(4, file.fileno())) == b"0123"
            # what moves no data is none of it
            assert perform(ctx, AIOOperation.poll(file, select.POLLIN)) & select.POLLIN
            assert len(direct_alignment(file)) == 2


def test_file_objects_that_hold_nothing(ctx: AIOContext, path: Path) -> None:
    with path.open("rb", buffering=0) as raw, path.open("rb") as buffered:
        assert perform(ctx, AIOOperation.read(4, raw)) == b"0123"
        assert raw.read(3) == b"012"
        assert perform(ctx, AIOOperation.read(4, raw)) == b"0123"
        assert perform(ctx, AIOOperation.read(4, buffered)) == b"0123"
        buffered.seek(5)
        assert perform(ctx, AIOOperation.read(4, buffered)) == b"0123"
    closed = path.open("rb")
    closed.close()
    with pytest.raises(ValueError, match="closed"):
        AIOOperation.read(4, closed)


def test_buffered_pipes_are_left_to_the_program(ctx: AIOContext) -> None:
    read_end, write_end = os.pipe()
    with open(read_end, "rb") as reader, open(write_end, "wb", buffering=0) as writer:
        writer.write(b"1234")
        assert perform(ctx, AIOOperation.read(4, reader)) == b"1234"


# --- at run time as in the stubs


def test_operations_are_generic_at_run_time() -> None:
    alias = AIOOperation[bytes]
    assert typing.get_origin(alias) is AIOOperation
    assert typing.get_args(alias) == (bytes,)

    def annotated(op: AIOOperation[int]) -> None: ...

    hints = typing.get_type_hints(annotated, globals(), {"AIOOperation": AIOOperation})
    assert hints["op"] == AIOOperation[int]


def test_the_docstring_of_submit_says_when_operations_complete() -> None:
    text = re.sub(r"\s+", " ", AIOContext.submit.__doc__ or "")
    assert "complete before submit returns or later" in text
    with (
        AIOContext(1) as ctx,
        EventFD() as eventfd,
        pytest.raises(TypeError, match="operations must be AIOOperation"),
    ):
        ctx.submit(eventfd)  # type: ignore[arg-type]


# --- file objects within others


def test_file_objects_of_other_libraries(path: Path) -> None:
    anyio, trio = pytest.importorskip("anyio"), pytest.importorskip("trio")
    aiofiles = pytest.importorskip("aiofiles")

    async def refused(file: Any, data: bytes | str) -> None:
        await file.write(data)
        async with AIOContext() as context:
            with pytest.raises(ValueError, match=r"text mode|has not written yet"):
                await context.read(4, file)
            await file.flush()
            if isinstance(data, bytes):
                assert await context.read(4, file) == data

    async def main(open_one: Any) -> None:
        for mode, data in (("w+b", b"data"), ("w+", "data")):
            file = await open_one(path, mode)
            try:
                await refused(file, data)
            finally:
                await (file.close if open_one is aiofiles.open else file.aclose)()

    asyncio.run(main(anyio.open_file))
    asyncio.run(main(aiofiles.open))
    trio.run(main, trio.open_file)


def test_file_objects_with_a_file_object_within(ctx: AIOContext, path: Path) -> None:
    with tempfile.SpooledTemporaryFile(max_size=1) as file:
        file.write(b"12")
        file.write(b"34")
        assert "2 bytes which" in both(ctx, lambda of: of.read(4, file))[0]
        file.flush()
        assert perform(ctx, AIOOperation.read(4, file)) == b"1234"
    with tempfile.SpooledTemporaryFile(mode="w+") as text:
        text.write("1234")
        assert "text mode" in both(ctx, lambda of: of.read(4, text))[0]
    with path.open("w+b") as file_below, codecs.EncodedFile(file_below, "utf-8") as recoder:
        recoder.write(b"1234")
        assert "4 bytes which" in both(ctx, lambda of: of.read(4, recoder))[0]


def test_a_wrapper_that_has_itself_within(ctx: AIOContext) -> None:
    with file_in_memory(b"data") as fd:

        class AsyncFile:
            def __init__(self) -> None:
                self.wrapped = self

            def fileno(self) -> int:
                return fd

        assert perform(ctx, AIOOperation.read(4, AsyncFile())) == b"data"


# --- file objects whose position moves


@pytest.mark.engine("auto", "uring", "threads")
def test_appending_to_a_buffered_file_at_its_position(path: Path) -> None:
    """What one request moves between two looks at the position is not what the file holds back."""

    async def main() -> int:
        async with AIOContext(64) as context:
            with path.open("wb") as file:
                for _ in range(20):
                    writes = [context.write(b"x" * 4096, file, None) for _ in range(32)]
                    await asyncio.gather(*writes)
                return os.fstat(file.fileno()).st_size

    assert asyncio.run(main()) == 20 * 32 * 4096


@pytest.mark.engine("auto", "uring", "threads")
def test_a_buffered_file_whose_position_another_read_moves(fuse: HoldingFS) -> None:
    fuse.create("data", b"x" * 65536)
    delay = 1.0

    async def main(file: Any) -> None:
        async with AIOContext(8) as context:
            moving = asyncio.ensure_future(context.read(4096, file, None))
            await asyncio.sleep(0.1)
            with another_thread_runs(delay / 2):
                other = asyncio.ensure_future(context.read(16, file, 0))
                await beats(asyncio.sleep(0.1), delay / 2)
            fuse.delay(0)
            assert len(await moving) == 4096
            assert await other == b"x" * 16

    with open(fuse.path("data"), "rb") as file:
        fuse.delay(delay)
        asyncio.run(main(file))
