# SPDX-License-Identifier: Apache-2.0
"""linux_aio.stdin, stdout and stderr, in programs of their own: pipes, files, terminals."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def buffered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


by_more_than_aio = pytest.mark.engine("auto", "uring", "threads")

START = """
import asyncio, os, select, sys, time
import linux_aio
"""


def arguments(source: str, *options: str) -> list[str]:
    return [sys.executable, *options, "-P", "-c", START + textwrap.dedent(source)]


def run_program(source: str, given: bytes = b"", *options: str) -> bytes:
    """What the program writes to a pipe, given this on a pipe."""
    result = subprocess.run(
        arguments(source, *options), input=given, capture_output=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr.decode()
    assert not result.stderr, result.stderr.decode()
    return result.stdout


COPY = """
async def main():
    async for line in linux_aio.stdin:
        await linux_aio.stdout.write(line.upper())
asyncio.run(main())
"""


@pytest.mark.parametrize("options", [[], ["-u"]])
def test_a_filter(options: list[str]) -> None:
    lines = "".join(f"line {number} ä\n" for number in range(2000)).encode()
    output = run_program(COPY, lines, "-X", "utf8", *options)
    assert output == lines.decode().upper().encode()


def test_bytes() -> None:
    source = """
    async def main():
        first = await linux_aio.stdin_bytes.read(3)
        rest = await linux_aio.stdin_bytes.read()
        await linux_aio.stdout_bytes.write(rest + first)
        await linux_aio.stdout_bytes.flush()
        assert linux_aio.stdin.buffer is linux_aio.stdin_bytes
        assert await linux_aio.stdin_bytes.read() == b""
    asyncio.run(main())
    """
    data = os.urandom(300_000)
    assert run_program(source, data) == data[3:] + data[:3]


def test_the_first_calls_of_several_tasks_are_done_in_order() -> None:
    source = """
    async def main():
        stdin = linux_aio.stdin_bytes
        calls = [stdin.read(2), stdin.readline(), stdin.read(2), stdin.readinto(bytearray(1))]
        first, line, second, count = await asyncio.gather(*calls)
        assert count == 1
        rest = await stdin.read()
        await linux_aio.stdout_bytes.write(b",".join([first, line, second, rest]))
        await linux_aio.stdout_bytes.flush()
    asyncio.run(main())
    """
    assert run_program(source, b"aabb\nccdee") == b"aa,bb\n,cc,ee"


def test_what_one_loop_left_the_next_one_reads() -> None:
    source = """
    async def main():
        return await linux_aio.stdin.readline()
    for _ in range(5):
        line = asyncio.run(main())
        asyncio.run(linux_aio.stdout.write(line))
    """
    assert run_program(source, b"1\n2\n3\n4\n5\n6\n") == b"1\n2\n3\n4\n5\n"


def test_files(tmp_path: Path) -> None:
    """Both outputs write at the position that they share with other programs."""
    source = """
    async def main():
        async for line in linux_aio.stdin:
            await linux_aio.stdout.write(line)
            await linux_aio.stdout.flush()
            await linux_aio.stderr.write("and " + line)
            os.write(1, b"others\\n")
    asyncio.run(main())
    """
    (tmp_path / "in").write_bytes(b"1\n2\n")
    with (tmp_path / "in").open() as given, (tmp_path / "out").open("w") as out:
        out.write("before\n")
        out.flush()
        subprocess.run(
            arguments(source), stdin=given, stdout=out, stderr=out, timeout=60, check=True
        )
    expected = "before\n1\nand 1\nothers\n2\nand 2\nothers\n"
    assert (tmp_path / "out").read_text() == expected


def test_nothing_is_opened_or_asked_at_import() -> None:
    source = """
    assert "linux_aio._standard_streams" not in sys.modules
    before = os.listdir("/proc/self/fd")
    streams = [linux_aio.stdin, linux_aio.stdout_bytes, linux_aio.stderr]
    assert [stream.fileno() for stream in streams] == [0, 1, 2]
    assert os.listdir("/proc/self/fd") == before
    """
    assert run_program(source) == b""


@pytest.mark.parametrize("kind", ["pipe", "terminal"])
@by_more_than_aio
def test_the_interpreter_ends_with_a_pending_read(kind: str) -> None:
    source = """
    async def main():
        task = asyncio.create_task(linux_aio.stdin.readline())
        ticks = 0
        start = time.monotonic()
        while time.monotonic() < start + 0.3:
            await asyncio.sleep(0.01)
            ticks += 1
        assert ticks > 5
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        again = asyncio.create_task(linux_aio.stdin.readline())
        await asyncio.sleep(0.1)
    asyncio.run(main())
    """
    ours, theirs = os.pipe() if kind == "pipe" else pty.openpty()[::-1]
    try:
        subprocess.run(arguments(source), stdin=ours, timeout=30, check=True)
    finally:
        os.close(ours)
        os.close(theirs)


@by_more_than_aio
def test_bytes_that_come_after_a_cancelled_read_are_not_lost() -> None:
    source = """
    async def main():
        for _ in range(3):
            try:
                async with asyncio.timeout(0.05):
                    await linux_aio.stdin.readline()
            except TimeoutError:
                pass
        await linux_aio.stderr.write("now")
        await linux_aio.stdout.write(await linux_aio.stdin.readline())
    asyncio.run(main())
    """
    with subprocess.Popen(
        arguments(source),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        assert process.stderr.read(3) == b"now"
        process.stdin.write(b"a line\n")
        assert process.stdout.read() == b"a line\n"


@by_more_than_aio
def test_a_terminal() -> None:
    """Each line is written at once, and read when it is entered."""
    source = """
    async def main():
        assert linux_aio.stdin.isatty() and linux_aio.stdout.isatty()
        await linux_aio.stdout.write("ready\\n")
        async for line in linux_aio.stdin:
            await linux_aio.stdout.write("got " + line)
            if line == "end\\n":
                break
        time.sleep(0.2)
        os.write(1, b"left\\n")
    asyncio.run(main())
    """
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(arguments(source), stdin=theirs, stdout=theirs)
        try:
            seen = read_until(ours, b"ready")
            os.write(ours, b"one\n")
            seen += read_until(ours, b"got one")
            os.write(ours, b"end\n")
            seen += read_until(ours, b"left")
            assert seen.index(b"got end") < seen.index(b"left")
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()
    finally:
        os.close(ours)
        os.close(theirs)


def read_until(fd: int, text: bytes) -> bytes:
    seen = b""
    deadline = time.monotonic() + 30
    while text not in seen:
        ready, _, _ = select.select([fd], [], [], max(0, deadline - time.monotonic()))
        assert ready, seen
        seen += os.read(fd, 4096)
    return seen


@by_more_than_aio
def test_a_full_pipe_does_not_block_the_loop() -> None:
    """A cancelled write stays to be written, in another loop too, and once."""
    source = """
    async def fill():
        task = asyncio.create_task(linux_aio.stdout.write("x" * 200_000))
        ticks = 0
        for _ in range(10):
            await asyncio.sleep(0.01)
            ticks += 1
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    asyncio.run(fill())
    os.write(2, b"r")
    async def end():
        await linux_aio.stdout.write("end")
        await linux_aio.stdout.flush()
    asyncio.run(end())
    """
    with subprocess.Popen(
        arguments(source), stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stderr.read(1) == b"r", process.stderr.read()
        seen = process.stdout.read()
        assert process.wait(30) == 0, process.stderr.read()
    assert seen == b"x" * 200_000 + b"end"


LOOPS_IN_THREADS = """
import threading

async def main(number):
    for turn in range(200):
        await linux_aio.stdout.write(f"{number} {turn}\\n")
        await linux_aio.stdout.flush()

def loop(number):
    if number == 0 and IS_TRIO:
        import trio
        trio.run(main, number)
    else:
        asyncio.run(main(number))

threads = [threading.Thread(target=loop, args=[number]) for number in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.parametrize("kind", ["asyncio", "trio"])
def test_loops_in_several_threads(kind: str) -> None:
    if kind == "trio":
        pytest.importorskip("trio")
    output = run_program(LOOPS_IN_THREADS.replace("IS_TRIO", str(kind == "trio")))
    lines = output.decode().splitlines()
    for number in range(3):
        own = [line for line in lines if line.startswith(f"{number} ")]
        assert own == [f"{number} {turn}" for turn in range(200)]
    assert len(lines) == 600


CLOSED_LOOP = """
import threading

other = asyncio.new_event_loop()
threading.Thread(target=other.run_forever, daemon=True).start()
closed = asyncio.new_event_loop()
tasks = []

async def lines():
    while line := await linux_aio.STREAM.readline():
        yield line

async def call():
    if IN_GENERATOR:
        async for line in lines():
            return line
    return await linux_aio.STREAM.readline()

async def begin():
    tasks.append(asyncio.create_task(call()))
    tasks[0]._log_destroy_pending = False
    for _ in range(3):
        await asyncio.sleep(0)

def read_elsewhere():
    return asyncio.run_coroutine_threadsafe(linux_aio.STREAM.readline(), other)

def wait_until(condition):
    while not condition():
        time.sleep(0.001)

def are_waiting(count):
    return lambda: len(linux_aio.stdin_bytes._queue) == count

reader, writer = os.pipe()
os.dup2(reader, 0)
"""

GIVEN_TO_A_CLOSED_LOOP = """
first = read_elsewhere()
wait_until(lambda: linux_aio.stdin_bytes._is_locked)
closed.run_until_complete(begin())
wait_until(are_waiting(1))
os.write(writer, b"one\\n")
assert len(first.result(20)) == 4  # now the stopped loop has the lock
second = read_elsewhere()
wait_until(are_waiting(1))
closed.close()
os.write(writer, b"two\\n")
assert second.result(20) in ("two\\n", b"two\\n")
"""

HELD_BY_A_CLOSED_LOOP = """
os.write(writer, b"a part, ")
closed.run_until_complete(begin())
while select.select([0], [], [], 0)[0]:
    closed.run_until_complete(asyncio.sleep(0.001))
second = read_elsewhere()
wait_until(are_waiting(1))
closed.close()
os.write(writer, b"the rest\\n")
assert second.result(20) in ("a part, the rest\\n", b"a part, the rest\\n")
"""


@pytest.mark.parametrize("stream", ["stdin", "stdin_bytes"])
@pytest.mark.parametrize("in_generator", [False, True])
@pytest.mark.parametrize("source", [GIVEN_TO_A_CLOSED_LOOP, HELD_BY_A_CLOSED_LOOP])
@by_more_than_aio
def test_a_closed_loop_has_no_lock(source: str, in_generator: bool, stream: str) -> None:
    """Even if its tasks are referenced, so that they are not collected."""
    given = (CLOSED_LOOP + source).replace("STREAM", stream)
    run_program(given.replace("IN_GENERATOR", str(in_generator)))


def test_a_child_process_writes_nothing_of_its_parents() -> None:
    source = """
    async def main():
        await linux_aio.stdout.write("once")
    asyncio.run(main())
    child = os.fork()
    if child == 0:
        async def write():
            await linux_aio.stdout.write("child,")
        asyncio.run(write())
        sys.exit()
    os.waitpid(child, 0)
    """
    assert run_program(source, b"", "-W", "ignore::DeprecationWarning") == b"child,once"


def test_under_trio() -> None:
    pytest.importorskip("trio")
    source = """
    import trio
    async def main():
        async for line in linux_aio.stdin:
            await linux_aio.stdout.write(line)
    trio.run(main)
    """
    assert run_program(source, b"1\n2\n") == b"1\n2\n"


def test_unknown_names() -> None:
    source = """
    try:
        linux_aio.stdwhat
    except AttributeError as error:
        assert "stdwhat" in str(error)
        os.write(1, b"right")
    """
    assert run_program(source) == b"right"


@by_more_than_aio
def test_a_stream_that_the_process_began_without_is_closed(tmp_path: Path) -> None:
    """Its number is another file's then, and no byte of the stream reaches that."""
    source = f"""
        path = {str(tmp_path / "data")!r}
        numbers = [os.open(path, os.O_RDWR | os.O_CREAT) for _ in range(2)]
        assert numbers == [0, 1]
        os.write(1, b"the program's")
        async def main():
            for stream in (linux_aio.stdin, linux_aio.stdin_bytes, linux_aio.stdout,
                           linux_aio.stdout_bytes):
                assert stream.closed
                word = b"w" if stream is linux_aio.stdout_bytes else "w"
                try:
                    await (stream.read(1) if stream.readable() else stream.write(word))
                except ValueError:
                    continue
                raise AssertionError(stream)
        asyncio.run(main())
    """
    script = 'exec "$0" "$@" <&- >&-'
    command = ["sh", "-c", script, *arguments(source)]
    result = subprocess.run(command, stderr=subprocess.PIPE, timeout=60, check=False)
    assert result.returncode == 0, result.stderr.decode()
    assert (tmp_path / "data").read_bytes() == b"the program's"
