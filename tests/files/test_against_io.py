# SPDX-License-Identifier: Apache-2.0
"""Random programs run on files of io.open() and of linux_aio.open(): the same comes out."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import linux_aio
from support.loops import run

Step = tuple[Any, ...]

MODES = ["r", "w", "a", "x", "r+", "w+", "a+", "x+"]


class Outcome(NamedTuple):
    """What a call came to: the result, or what is to be the same of an exception."""

    result: Any
    error: type[BaseException] | None = None
    errno: int | None = None


def failure(exception: BaseException, *, closed: bool = False) -> Outcome:
    if closed and isinstance(exception, ValueError):
        # for some methods io looks first whether the file is closed, for some whether it has them
        return Outcome(None, ValueError)
    kind = next(
        kind
        for kind in (
            io.UnsupportedOperation,
            FileExistsError,
            OSError,
            UnicodeError,
            ValueError,
            TypeError,
            Exception,
        )
        if isinstance(exception, kind)
    )
    return Outcome(None, kind, getattr(exception, "errno", None))


# --- how a step is carried out on each


def call_io(file: Any, step: Step) -> Any:
    name, *arguments = step
    if name == "readinto":
        buffer = bytearray(arguments[0])
        count = file.readinto(buffer)
        return count, bytes(buffer[:count])
    if name == "next":
        return next(file, None)
    if name == "come back":
        file.seek(file.tell())
        return None
    if name in {"readable", "writable", "seekable", "closed", "newlines"}:
        value = getattr(file, name)
        if name != "closed" and file.closed:
            return None  # io answers some of these for a closed file
        return value() if callable(value) else value
    result = getattr(file, name)(*arguments)
    return bytes(result) if isinstance(result, bytearray) else result


async def call_ours(file: Any, step: Step) -> Any:
    name, *arguments = step
    if name == "readinto":
        buffer = bytearray(arguments[0])
        count = await file.readinto(buffer)
        return count, bytes(buffer[:count])
    if name == "next":
        return await anext(file, None)
    if name == "come back":
        await file.seek(await file.tell())
        return None
    if name in {"readable", "writable", "seekable", "closed", "newlines"}:
        value = getattr(file, name)
        if name != "closed" and file.closed:
            return None  # io answers some of these for a closed file
        return value() if callable(value) else value
    return await getattr(file, name)(*arguments)


class Program(NamedTuple):
    """How the file is opened, what is in it, and what is then done."""

    mode: str
    content: bytes | None
    arguments: dict[str, Any]
    steps: list[Step]


def run_io(program: Program, path: Path) -> list[Outcome]:
    outcomes: list[Outcome] = []
    try:
        file = io.open(path, program.mode, **program.arguments)  # noqa: SIM115, UP020
    except (OSError, ValueError) as exception:
        return [failure(exception)]
    try:
        for step in program.steps:
            try:
                outcomes.append(Outcome(call_io(file, step)))
            except Exception as exception:
                outcomes.append(failure(exception, closed=file.closed))
    finally:
        file.close()
    return outcomes


async def run_ours(program: Program, path: Path) -> list[Outcome]:
    outcomes: list[Outcome] = []
    try:
        file: Any = await linux_aio.open(path, program.mode, **program.arguments)
    except (OSError, ValueError) as exception:
        return [failure(exception)]
    try:
        for step in program.steps:
            try:
                outcomes.append(Outcome(await call_ours(file, step)))
            except Exception as exception:
                outcomes.append(failure(exception, closed=file.closed))
    finally:
        await file.close()
    return outcomes


def compare(program: Program) -> None:
    with tempfile.TemporaryDirectory() as folder:
        theirs, ours = Path(folder, "theirs"), Path(folder, "ours")
        if program.content is not None:
            theirs.write_bytes(program.content)
            ours.write_bytes(program.content)
        expected = run_io(program, theirs)
        outcomes = run(run_ours(program, ours))
        for step, was, wanted in zip(["open", *program.steps], outcomes, expected, strict=False):
            assert was == wanted, step
        assert outcomes == expected
        assert theirs.exists() == ours.exists()
        if theirs.exists():
            assert ours.read_bytes() == theirs.read_bytes()


# --- programs

sizes = st.one_of(
    st.integers(-1, 12), st.sampled_from([8191, 8192, 8193, 65535, 65536, 65537, 200_000])
)
offsets = st.one_of(st.integers(-3, 40), st.integers(0, 150_000))

common_steps = [
    st.tuples(st.just("flush")),
    st.tuples(st.just("next")),
    st.tuples(st.just("close")),
    st.tuples(st.sampled_from(["readable", "writable", "seekable", "closed"])),
    st.tuples(st.just("read"), sizes),
    # io answers readline(0) of a file that is not open for reading
    st.tuples(st.just("readline"), sizes.filter(bool)),
    st.tuples(st.just("readlines"), st.integers(-1, 100)),
]

lines_of_bytes = st.lists(
    st.one_of(st.binary(max_size=20), st.sampled_from([b"x" * 100, b"y" * 9000, b"z" * 70_000])),
    max_size=12,
).map(b"\n".join)
payloads = st.one_of(
    st.binary(max_size=30),
    lines_of_bytes,
    st.sampled_from([b"p" * 8192, b"q" * 65536, b"r" * 600_000]),
)

binary_step = st.one_of(
    *common_steps,
    st.tuples(st.just("tell")),
    st.tuples(st.just("write"), payloads),
    st.tuples(st.just("write"), payloads.map(bytearray)),
    st.tuples(st.just("write"), st.just("no bytes")),
    st.tuples(st.just("writelines"), st.lists(payloads, max_size=3)),
    st.tuples(st.just("readinto"), st.integers(0, 100_000)),
    st.tuples(st.just("seek"), offsets, st.sampled_from([0, 0, 0, 1, 2])),
    st.tuples(st.just("seek"), offsets, st.just(7)),
    st.tuples(st.just("truncate"), st.one_of(st.none(), st.integers(-1, 100_000))),
)

binary_programs = st.builds(
    Program,
    st.sampled_from([mode + "b" for mode in MODES]),
    st.one_of(st.none(), lines_of_bytes),
    st.fixed_dictionaries({}, optional={"buffering": st.sampled_from([-1, 2, 100, 8192])}),
    st.lists(binary_step, max_size=12),
)

# The same programs each time, but where more are asked for.
quick = settings(
    deadline=None,
    derandomize="LINUX_AIO_EXAMPLES" not in os.environ,
    max_examples=int(os.environ.get("LINUX_AIO_EXAMPLES", "150")),
    suppress_health_check=list(HealthCheck),
)


@quick
@given(binary_programs)
def test_binary(program: Program) -> None:
    compare(program)


CHARACTERS = "ab \r\n\t\u00e9\u20ac\U0001f600"
texts = st.one_of(
    st.text(alphabet=CHARACTERS, max_size=40),
    st.text(alphabet=CHARACTERS, min_size=1, max_size=9).map(lambda text: text * 2000),
)

# A place in a text is whatever seek() takes back: io's numbers may be others than ours.
text_step = st.one_of(
    *common_steps,
    st.tuples(st.just("come back")),
    st.tuples(st.just("write"), texts),
    st.tuples(st.just("write"), st.just(b"no text")),
    st.tuples(st.just("writelines"), st.lists(texts, max_size=3)),
    st.tuples(st.just("seek"), st.just(0), st.sampled_from([0, 1, 2, 7])),
    st.tuples(st.just("seek"), st.just(-1)),
    st.tuples(st.just("truncate"), st.one_of(st.none(), st.integers(-1, 100))),
    st.tuples(st.just("newlines")),
)


ENCODINGS = ["utf-8", "utf-8", "latin-1", "ascii", "shift_jis"]
WITH_MARKS = ["utf-16", "utf-8-sig"]  # byte-order marks, which are written once


def then_sought(step: Step) -> list[Step]:
    return [step, ("come back",)] if step[0] in {"write", "writelines"} else [step]


def text_programs(modes: list[str], encodings: list[str]) -> st.SearchStrategy[Program]:
    def build(mode: str, content: str | None, arguments: dict[str, Any], steps: Any) -> Program:
        encoding = arguments["encoding"]
        data = None
        if content is not None:
            data = content.encode(encoding, "replace")
        if "+" in mode:
            # io may read again what was just written, unless a seek comes between
            steps = [part for step in steps for part in then_sought(step)]
        return Program(mode, data, arguments, steps)

    return st.builds(
        build,
        st.sampled_from(modes),
        st.one_of(st.none(), texts),
        st.fixed_dictionaries(
            {
                "encoding": st.sampled_from(encodings),
                "newline": st.sampled_from([None, "", "\n", "\r", "\r\n"]),
                "errors": st.sampled_from([None, "strict", "replace", "backslashreplace"]),
            },
            optional={"buffering": st.sampled_from([-1, 1, 100])},
        ),
        st.lists(text_step, max_size=10),
    )


@quick
@given(text_programs(["r", "w", "a", "x"], ENCODINGS + WITH_MARKS))
def test_text(program: Program) -> None:
    compare(program)


@quick
@given(text_programs(["r+", "w+", "a+", "x+"], ENCODINGS))
def test_text_both_ways(program: Program) -> None:
    compare(program)


@pytest.mark.parametrize("newline", [None, "", "\n", "\r", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "shift_jis"])
def test_every_boundary(newline: str | None, encoding: str, tmp_path: Path) -> None:
    """Characters of several bytes, and line ends, over the end of each chunk."""
    path = tmp_path / "file"
    line = "\u3042\u3044\r\n\r\n\u3046\ra\n"
    for padding in range(8):
        path.write_bytes(("x" * (65536 - 10 + padding) + line * 20_000).encode(encoding))
        with io.open(path, encoding=encoding, newline=newline) as file:  # noqa: UP020
            expected = file.readlines()

        async def lines() -> list[str]:
            async with linux_aio.open(path, encoding=encoding, newline=newline) as file:
                found = [line async for line in file]
                await file.seek(0)
                assert await file.readlines() == found
                return found

        assert run(lines()) == expected


@pytest.mark.parametrize("newline", [None, "", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "shift_jis", "iso2022_jp"])
def test_cookies_come_back(newline: str | None, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    text = "\u3042\r\nab\u3044\n\r\u3046" * 30
    path.write_bytes(text.encode(encoding))

    async def main() -> None:
        async with linux_aio.open(path, encoding=encoding, newline=newline) as file:
            whole = await file.read()
            for step in (1, 2, 3, 7):
                await file.seek(0)
                places = []
                done = 0
                while True:
                    places.append((await file.tell(), done))
                    part = await file.read(step)
                    if not part:
                        break
                    done += len(part)
                for cookie, position in reversed(places):
                    await file.seek(cookie)
                    assert await file.tell() == cookie
                    assert await file.read() == whole[position:]

    run(main())


FAR = [1 << 40, (1 << 63) - 1, 1 << 63, 1 << 64, 1 << 200, -1, -(1 << 63), -(1 << 200)]


@pytest.mark.parametrize("mode", ["rb", "r+b", "r", "r+"])
@pytest.mark.parametrize("whence", [os.SEEK_SET, os.SEEK_CUR, os.SEEK_END])
@pytest.mark.parametrize("offset", FAR)
def test_seeking_too_far(tmp_path: Path, mode: str, whence: int, offset: int) -> None:
    """The same error, and the file stands where it stood."""
    path = tmp_path / "file"
    path.write_bytes(b"one\ntwo\n")
    if "b" not in mode and offset == 1 << 64:
        return  # a place in a text is whatever tell() says: this may be one

    def theirs() -> Any:
        with path.open(mode) as file:
            file.read(2)
            try:
                return file.seek(offset, whence)
            except (OSError, ValueError, OverflowError) as error:
                return type(error), getattr(error, "errno", None), file.tell(), file.read(1)

    async def ours() -> Any:
        async with linux_aio.open(path, mode) as file:
            await file.read(2)
            try:
                return await file.seek(offset, whence)
            except (OSError, ValueError, OverflowError) as error:
                place = await file.tell()
                return type(error), getattr(error, "errno", None), place, await file.read(1)

    assert run(ours()) == theirs()


@pytest.mark.parametrize("cookie", [1 << 63, 1 << 192, 1 << 200, (1 << 257) | 5])
def test_seeking_to_where_no_text_is(tmp_path: Path, cookie: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one\ntwo\n")

    async def main() -> None:
        async with linux_aio.open(path) as file:
            await file.read(2)
            with pytest.raises((OverflowError, OSError)):
                await file.seek(cookie)
            assert await file.tell() == 2
            assert await file.read() == "e\ntwo\n"

    run(main())
