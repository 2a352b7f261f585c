# SPDX-License-Identifier: Apache-2.0
"""Objects that lie about themselves, or run code at a bad moment: an error, and never a crash.

Each runs in a child process, because a fault would be a crash.
"""

from __future__ import annotations

import asyncio
import io
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from linux_aio import AIOContext, AIOOperation, EventFD, direct_alignment, fs
from support import any_loop as loops
from support.forked import in_child

pytest_plugins = ["support.fixtures"]


def kind_and_text(call: Callable[[], Any]) -> tuple[str, str]:
    try:
        return "result", repr(call())
    except Exception as error:
        return type(error).__name__, str(error)


@pytest.mark.engine_independent
@pytest.mark.parametrize("key", [1, None, 1e300, (1, 2, 3), b"x"], ids=repr)
@pytest.mark.parametrize("make", [AIOContext, EventFD])
def test_a_keyword_that_is_no_string(make: Any, key: Any) -> None:
    found = in_child(lambda: kind_and_text(lambda: make(**{key: 2})))
    assert found == ("TypeError", "keywords must be strings")


class LongStr(str):
    __slots__ = ()

    def __len__(self) -> int:
        return 10**10


class EmptyStr(str):
    __slots__ = ()

    def __len__(self) -> int:
        return 0


class BadStr(str):
    __slots__ = ()

    def __len__(self) -> int:
        raise KeyError("the length")


class LongBytes(bytes):
    def __len__(self) -> int:
        return 10**10


class Spelt:
    def __init__(self, value: Any) -> None:
        self.value = value

    def __fspath__(self) -> Any:
        return self.value


@pytest.mark.parametrize("kind", [LongStr, EmptyStr, BadStr, LongBytes])
@pytest.mark.parametrize("is_spelt", [False, True])
def test_a_path_whose_length_is_a_lie(kind: Any, is_spelt: bool, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = kind(os.fsencode(tmp_path)) if issubclass(kind, bytes) else kind(tmp_path)

    async def scan() -> list[Any]:
        async with fs.scandir(Spelt(path) if is_spelt else path) as entries:
            return [os.fsdecode(entry.path) async for entry in entries]

    assert in_child(lambda: asyncio.run(scan())) == [str(tmp_path / "file")]


class Odd(Exception):  # noqa: N818
    def __new__(cls, *_: object) -> Any:
        return 5


def test_an_exception_class_that_makes_something_else() -> None:
    def use() -> tuple[str, str]:
        with AIOContext() as context:
            reading: Any = context.read(10, 0)
            found = kind_and_text(lambda: reading.throw(Odd))
            reading.close()
            return found

    kind, text = in_child(use)
    assert kind == "TypeError"
    assert "should have returned an instance of BaseException" in text


class _TemporaryFileWrapper:
    def __init__(self, fd: int) -> None:
        self.fd = fd

    def fileno(self) -> int:
        return self.fd

    @property
    def file(self) -> io.BytesIO:
        return io.BytesIO(b"x" * 10_000)


def test_a_wrapper_that_makes_its_file_anew() -> None:
    """The object that was found is kept: nothing else has it."""

    def use() -> set[str]:
        with tempfile.TemporaryFile() as file, AIOContext() as context:
            kinds = set()
            for _ in range(50):
                read = AIOOperation.read(10, _TemporaryFileWrapper(file.fileno()))
                kinds.add(kind_and_text(partial(read.submit, context))[0])
            return kinds

    assert in_child(use) <= {"ValueError", "result"}


@pytest.mark.engine_independent
@pytest.mark.parametrize("number", [-1, -100, -(2**31)])
def test_the_alignment_of_no_file(number: int) -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        direct_alignment(number)


class Stops:
    def fileno(self) -> int:
        raise StopIteration(b"no result")


def test_an_object_that_stops_an_iteration() -> None:
    """PEP 479: a coroutine can't raise StopIteration, which would be its result."""

    async def main() -> None:
        async with AIOContext() as context:
            for awaitable in (context.read(3, Stops()), asyncio.create_task(_read(context))):
                with pytest.raises(RuntimeError, match="raised StopIteration") as caught:
                    await asyncio.wait_for(awaitable, 20)
                assert isinstance(caught.value.__cause__, StopIteration)

    asyncio.run(main())


async def _read(context: AIOContext) -> bytes:
    return await context.read(3, Stops())


MEDDLERS: dict[str, Callable[[Any], object]] = {
    "close": lambda awaitable: awaitable.close(),
    "throw": lambda awaitable: kind_and_text(lambda: awaitable.throw(KeyError("k"))),
    "send": lambda awaitable: kind_and_text(lambda: awaitable.send(None)),
}


@pytest.mark.parametrize("how", MEDDLERS)
def test_a_task_whose_awaitable_others_end(how: str) -> None:
    """The task is told, and does not wait for ever."""

    async def main() -> None:
        reader, writer = os.pipe()
        async with AIOContext() as context:
            polling: Any = context.poll(reader, 1)
            task = asyncio.create_task(polling)
            await asyncio.sleep(0.02)
            MEDDLERS[how](polling)
            with pytest.raises(RuntimeError, match="cannot reuse already awaited"):
                await asyncio.wait_for(task, 20)
        os.close(reader)
        os.close(writer)

    asyncio.run(main())


def test_a_view_that_is_released_while_its_write_is_queued() -> None:
    """Under Trio, a cancellation asks whether the program can change the memory."""
    loops.make("trio")  # skips without Trio
    trio: Any = pytest.importorskip("trio")

    def use() -> list[str]:
        reader, writer = os.pipe()
        view = memoryview(b"x" * (8 << 20))
        scope = trio.CancelScope()
        seen: list[str] = []

        class Fails:
            def fileno(self) -> int:
                raise KeyError("first")

        with tempfile.TemporaryFile() as file:

            class Releases:
                def fileno(self) -> int:
                    view.release()
                    scope.cancel()
                    return file.fileno()

            async def first(context: AIOContext) -> None:
                with scope:
                    try:
                        await context.write(view, Fails())
                    except KeyError:
                        seen.append("KeyError")

            async def main() -> None:
                async with AIOContext(1) as context, trio.open_nursery() as nursery:
                    nursery.start_soon(context.poll, reader, 1)
                    await trio.sleep(0.02)
                    nursery.start_soon(first, context)
                    await trio.sleep(0.02)
                    nursery.start_soon(context.write, b"y", Releases())
                    await trio.sleep(0.02)
                    os.write(writer, b"1")

            trio.run(main)
        return seen

    assert in_child(use) in ([], ["KeyError"])
