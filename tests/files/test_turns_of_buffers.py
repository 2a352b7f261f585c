# SPDX-License-Identifier: Apache-2.0
"""Calls that a file's buffers answer let the other tasks of the loop run now and then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import linux_aio
from support.any_loop import AnyLoop
from support.stalls import beats

pytest_plugins = ["support.fixtures"]
# kernel AIO writes in the loop's thread
pytestmark = pytest.mark.engine("auto", "uring", "threads")

PATIENCE = 5.0  # how long a task that never lets others run goes on, in seconds
Work = Callable[[Any], Awaitable[object]]


async def write(file: Any) -> None:
    await file.write("a row\n" if isinstance(file, linux_aio.TextFile) else b"a row\n")


async def write_lines(file: Any) -> None:
    row: Any = "a row\n" if isinstance(file, linux_aio.TextFile) else b"a row\n"
    await file.writelines([row] * 1000)


async def read_again(file: Any) -> None:
    if not await file.readline():
        await file.seek(0)


async def iterate(file: Any) -> None:
    async for _ in file:
        pass
    await file.seek(0)


async def tell(file: Any) -> None:
    await file.tell()


CALLS: list[tuple[str, Work, str]] = [
    ("write", write, "w"),
    ("write", write, "wb"),
    ("writelines", write_lines, "w"),
    ("writelines", write_lines, "wb"),
    ("readline", read_again, "r"),
    ("readline", read_again, "rb"),
    ("iterate", iterate, "r"),
    ("iterate", iterate, "rb"),
    ("tell", tell, "rb"),
]


@pytest.mark.parametrize(
    ("work", "mode"), [pytest.param(work, mode, id=f"{n}-{mode}") for n, work, mode in CALLS]
)
def test_a_task_that_only_uses_buffers_can_be_cancelled(
    work: Work, mode: str, any_loop: AnyLoop, tmp_path: Path
) -> None:
    path = tmp_path / "rows"
    path.write_text("a row\n" * 5000)
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await any_loop.sleep(0)
            beats += 1

    async def main() -> float:
        async with any_loop.group() as group, linux_aio.open(path, mode) as file:
            group.start(beat)
            begin = time.monotonic()
            while beats <= 20:  # a busy machine may leave us little of 0.2 s
                async with any_loop.scope(0.2) as scope:
                    while time.monotonic() - begin < PATIENCE:
                        await work(file)
                assert scope.was_cancelled
            group.cancel()
            return time.monotonic() - begin

    assert any_loop.run(main) < PATIENCE


def test_calls_that_let_others_run_keep_their_order(any_loop: AnyLoop, tmp_path: Path) -> None:
    """No later call gets ahead of one that waits until the others have run."""
    path = tmp_path / "numbers"

    async def main() -> None:
        async with linux_aio.open(path, "w") as file, any_loop.group() as group:
            for number in range(20_000):
                group.start(file.write, f"{number}\n")

    any_loop.run(main)
    numbers = [int(line) for line in path.read_text().splitlines()]
    # Trio starts tasks in an order of its own
    assert (sorted(numbers) if any_loop.name == "trio" else numbers) == list(range(20_000))


@pytest.mark.parametrize("mode", ["w", "wb"])
@pytest.mark.parametrize("buffering", [-1, 1000])
def test_writelines_is_one_call(
    mode: str, buffering: int, any_loop: AnyLoop, tmp_path: Path
) -> None:
    """What other tasks write comes before or after all its lines, though they have their turns."""
    path = tmp_path / "letters"
    letters = "abc"

    async def main() -> None:
        async with linux_aio.open(path, mode, buffering) as file:

            async def write_letter(letter: str) -> None:
                lines = [letter if mode == "w" else letter.encode()] * 50_000
                await file.writelines(lines)

            async with any_loop.group() as group:
                for letter in letters:
                    group.start(write_letter, letter)

    any_loop.run(main)
    text = path.read_text()
    assert sorted(text[::50_000]) == list(letters)
    assert text == "".join(letter * 50_000 for letter in text[::50_000])


def broken(lines: list[Any]) -> Iterator[Any]:
    yield from lines
    raise ZeroDivisionError


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16", None])
def test_writelines_that_fails_in_the_middle(
    encoding: str | None, newline: str, tmp_path: Path
) -> None:
    """What comes before is written, as by open()'s files."""
    lines: list[Any] = ["one\n", "tw\xf6\n", "three\n"]
    mode = "w"
    text: dict[str, Any] = {"encoding": encoding, "newline": newline}
    wrong: list[Any] = [5, b"bytes", "\ud800"]
    if encoding is None:
        lines, mode, text, wrong = [line.encode() for line in lines], "wb", {}, [5, "text", None]
    cases: list[Callable[[], Iterator[Any]]] = [partial(broken, lines)]
    cases += [partial(iter, [*lines, value, *lines]) for value in wrong]
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"

    async def main(case: Callable[[], Iterator[Any]], error: type[Exception]) -> None:
        async with linux_aio.open(ours, mode, **text) as file:
            with pytest.raises(error):
                await file.writelines(case())
            await file.writelines(lines)

    for case in cases:
        with theirs.open(mode, **text) as file:
            with pytest.raises((ZeroDivisionError, TypeError, UnicodeError)) as raised:
                file.writelines(case())
            file.writelines(lines)
        asyncio.run(main(case, raised.type))
        assert ours.read_bytes() == theirs.read_bytes()


def test_a_line_is_not_lost_when_a_call_that_lets_others_run_is_cancelled(
    any_loop: AnyLoop, tmp_path: Path
) -> None:
    path = tmp_path / "numbers"
    count = 50_000
    path.write_text("".join(f"{number}\n" for number in range(count)))
    seen: list[int] = []

    async def main() -> int:
        cancellations = 0
        async with linux_aio.open(path) as file:
            while len(seen) < count:
                async with any_loop.scope(0.002) as scope:
                    while line := await file.readline():
                        seen.append(int(line))
                cancellations += scope.was_cancelled
        return cancellations

    assert any_loop.run(main) > 0
    assert len(seen) == count
    assert all(number == place for place, number in enumerate(seen))


@pytest.mark.parametrize("size", [1, 100])
def test_readlines_of_a_text_lets_others_run(size: int, tmp_path: Path) -> None:
    """Also where one chunk has very many lines."""
    path = tmp_path / "lines"
    count = 1_000_000 // size
    path.write_text(("x" * size + "\n") * count)

    async def main() -> tuple[int, int]:
        turns = 0
        is_over = False

        async def beat() -> None:
            nonlocal turns
            while not is_over:
                turns += 1
                await asyncio.sleep(0)

        async with linux_aio.open(path) as file:
            beating = asyncio.create_task(beat())
            await asyncio.sleep(0)
            before = turns
            lines = await file.readlines()
            during = turns - before
            is_over = True
            await beating
            return len(lines), during

    found, during = asyncio.run(main())
    assert found == count
    assert during > (100 if size == 1 else 0)


@pytest.mark.parametrize("call", ["read all", "read many", "write"])
def test_much_text_lets_others_run(call: str, tmp_path: Path) -> None:
    path = tmp_path / "text"
    text = "text \u00e9\n" * 3_000_000
    path.write_text(text)

    async def main() -> int | str:
        async with linux_aio.open(path, "w" if call == "write" else "r") as file:
            if call == "write":
                return await beats(file.write(text), 0.5)
            return await beats(file.read(-1 if call == "read all" else len(text)), 0.5)

    assert asyncio.run(main()) == (len(text) if call == "write" else text)
    assert path.read_text() == text


def test_a_cancelled_read_of_much_text_loses_no_place(any_loop: AnyLoop, tmp_path: Path) -> None:
    """Also where chunks end within a character."""
    path = tmp_path / "text"
    text = "x" + "\u00e9\u20ac" * 500_000
    path.write_text(text)

    async def main() -> int:
        cancellations = 0
        async with linux_aio.open(path) as file:
            begin = await file.read(7)
            place = await file.tell()
            for seconds in (0.001, 0.003, 0.005, 0.01):
                for size in (900_000, -1):
                    async with any_loop.scope(seconds) as scope:
                        found = await file.read(size)
                        assert begin + found == text[: 900_007 if size > 0 else None]
                    cancellations += scope.was_cancelled
                    if scope.was_cancelled:
                        assert await file.tell() == place
                    await file.seek(place)
                    assert begin + await file.read(10) == text[:17]
                    await file.seek(place)
        return cancellations

    assert any_loop.run(main) > 0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-7", "gb18030", "punycode"])
def test_much_text_has_the_bytes_that_open_writes(encoding: str, tmp_path: Path) -> None:
    text = "text \u00e9\n" * (200 if encoding == "punycode" else 300_000)
    (tmp_path / "expected").write_text(text, encoding=encoding)
    path = tmp_path / "text"

    async def main() -> str:
        async with linux_aio.open(path, "w", encoding=encoding) as file:
            await file.write(text)
        async with linux_aio.open(path, encoding=encoding) as file:
            found: str = await file.read()
            return found

    assert asyncio.run(main()) == (tmp_path / "expected").read_text(encoding=encoding)
    assert path.read_bytes() == (tmp_path / "expected").read_bytes()


def test_much_text_that_is_cut_within_a_character(tmp_path: Path) -> None:
    path = tmp_path / "text"
    data = b"x" * (1 << 20) + b"1234567890\xe2\x82"
    path.write_bytes(data)

    async def main() -> tuple[int, str]:
        async with linux_aio.open(path, encoding="utf-8") as file:
            with pytest.raises(UnicodeDecodeError) as raised:
                await file.read()
            return raised.value.start, await file.read()

    assert asyncio.run(main()) == (len(data) - 2, "")


def test_utf_16_is_read_on_from_a_place(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("a line\nanother\n", encoding="utf-16")

    async def main() -> str:
        async with linux_aio.open(path, encoding="utf-16") as file:
            await file.readline()
            place = await file.tell()
        async with linux_aio.open(path, encoding="utf-16") as file:
            await file.seek(place)
            line: str = await file.readline()
            return line

    assert asyncio.run(main()) == "another\n"
