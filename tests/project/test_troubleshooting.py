# SPDX-License-Identifier: Apache-2.0
"""The page of error messages has the words that a program's errors really have."""

from __future__ import annotations

import asyncio
import os
import re
import select
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

import linux_aio
from linux_aio import AIOContext, AIOOperation, bulk
from support.paths import TOP

pytestmark = pytest.mark.engine_independent

PAGE = (TOP / "docs" / "troubleshooting.rst").read_text(encoding="utf-8")


def entries() -> list[str]:
    """The messages that are explained, with dots for what is left out."""
    found = re.findall(r"^``(.+?)``.*\n    ", PAGE, re.MULTILINE)
    assert len(found) > 25
    return found


def matches(entry: str, message: str) -> bool:
    return re.match(".*".join(map(re.escape, entry.split("…"))), message) is not None


def message_of(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


OPENED: list[int] = []  # to be closed at the end of the test


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "data"
    path.write_bytes(bytes(8192))
    yield path
    while OPENED:
        os.close(OPENED.pop())


def pipe() -> int:
    """The reading end of a pipe that stays empty."""
    ends = os.pipe()
    OPENED.extend(ends)
    return ends[0]


def opened(path: Path) -> int:
    OPENED.append(os.open(path, os.O_RDONLY))
    return OPENED[-1]


def not_awaited(path: Path) -> None:
    linux_aio.open(path).read()  # type: ignore[attr-defined]


def not_async_with(path: Path) -> None:
    with linux_aio.open(path):  # type: ignore[attr-defined]
        pass


def without_a_loop(path: Path) -> None:
    with AIOContext() as ctx:
        ctx.read(1, opened(path)).send(None)


def not_submitted(path: Path) -> None:
    AIOOperation.read(1, 0).get_result()


def submitted_twice(path: Path) -> None:
    reader = pipe()
    with AIOContext() as ctx:
        poll = AIOOperation.poll(reader, select.POLLIN)
        ctx.submit(poll)
        ctx.submit(poll)


def in_flight(path: Path) -> None:
    reader = pipe()
    with AIOContext() as ctx:
        poll = AIOOperation.poll(reader, select.POLLIN)
        ctx.submit(poll)
        poll.get_result()


def full(path: Path) -> None:
    reader = pipe()
    with AIOContext(1) as ctx:
        ctx.submit(AIOOperation.poll(reader, select.POLLIN))
        ctx.submit(AIOOperation.poll(reader, select.POLLIN))


def resized(path: Path) -> None:
    buffer = bytearray(10)
    operation = AIOOperation.readinto(buffer, 0)
    buffer.extend(b"more")
    del operation


def closed(path: Path) -> None:
    ctx = AIOContext()
    ctx.close()
    ctx.submit(AIOOperation.read(1, 0))


def short(path: Path) -> None:
    bulk.load_into(path, [(0, bytearray(9000))])


def read_only(path: Path) -> None:
    bulk.load_into(path, [(0, b"bytes")])


def awaited(make: Callable[[AIOContext, Path], Coroutine[Any, Any, Any]]) -> Callable[[Path], None]:
    async def main(path: Path) -> None:
        async with AIOContext() as ctx:
            coroutine = make(ctx, path)
            await coroutine
            await coroutine

    return lambda path: asyncio.run(main(path))


WAYS: dict[str, tuple[Callable[[Path], None], str]] = {
    "not awaited": (not_awaited, "AttributeError: '_Opening'"),
    "not async with": (not_async_with, "TypeError: '_Opening'"),
    "without a loop": (without_a_loop, "RuntimeError: no running"),
    "not submitted": (not_submitted, "RuntimeError: the operation"),
    "submitted twice": (submitted_twice, "ValueError: … is in flight"),
    "in flight": (in_flight, "BlockingIOError: [Errno 115]"),
    "full": (full, "BlockingIOError: [Errno 11] …"),
    "resized": (resized, "BufferError: Existing"),
    "closed": (closed, "ValueError: operation on closed"),
    "short": (short, "ShortFileError"),
    "read-only": (read_only, "BufferError: Object"),
    "awaited twice": (
        awaited(lambda ctx, path: ctx.read(1, opened(path))),
        "RuntimeError: cannot reuse",
    ),
    "buffered file": (
        awaited(lambda ctx, path: ctx.read(1, os.fdopen(opened(path), closefd=False))),
        "ValueError: fd is a file object",
    ),
    "bad descriptor": (awaited(lambda ctx, path: ctx.read(1, 9999)), "OSError: [Errno 9]"),
    "pipe with an offset": (
        awaited(lambda ctx, path: ctx.read(1, pipe(), 5)),
        "OSError: [Errno 29]",
    ),
    "pipe that is synced": (
        awaited(lambda ctx, path: ctx.fsync(pipe())),
        "OSError: [Errno 22] Invalid argument: fsync",
    ),
    "unknown flag": (
        awaited(lambda ctx, path: ctx.read(1, opened(path), 0, 0, 1 << 20)),
        "OSError: [Errno 95]",
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_page_has_the_message(way: str, path: Path) -> None:
    make, beginning = WAYS[way]
    with pytest.raises(Exception) as caught:  # noqa: PT011
        make(path)
    message = message_of(caught.value)
    explained = [entry for entry in entries() if matches(entry, message)]
    assert any(entry.startswith(beginning) for entry in explained), message
