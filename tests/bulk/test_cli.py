# SPDX-License-Identifier: Apache-2.0
"""The command line: what it prints, and its exit statuses."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from linux_aio import AIOContext, AIOOperation, __version__, _bench, _cli, _info
from linux_aio._cli import human
from support.fusefs import fs_available, mounted
from support.measure import soon

pytestmark = pytest.mark.engine_independent

DATA = b"some data" * 1000


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "linux_aio", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments: object) -> tuple[int, str, str]:
    process = start(*arguments)
    output, errors = process.communicate(timeout=100)
    assert "Traceback" not in errors
    return process.returncode, output, errors


@pytest.fixture(name="path")
def file_with_data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    return path


def test_help_and_version() -> None:
    status, output, _ = run()
    assert status == 2
    for command in ("copy", "checksum", "bench", "info", "demo"):
        assert command in output
    assert run("--help")[0] == 0
    assert run("--version")[:2] == (0, f"linux-aio {__version__}\n")
    assert run("nonsense")[0] == 2
    assert run("copy")[0] == 2


def test_info_of_what_is_not_there(tmp_path: Path) -> None:
    status, _, errors = run("info", tmp_path / "missing")
    assert status == 1
    assert "No such file" in errors
    assert run("info")[0] == 0
    assert run("info", tmp_path)[0] == 0
    status, output, errors = run("info", "/proc")
    assert status == 1
    assert "file system: proc" in output
    assert errors.startswith("linux-aio: /proc: no file can be made in it: ")


def test_info_of_an_engine_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINUX_AIO_ENGINE", "nope")
    status, output, errors = run("info")
    assert status == 1
    assert "default engine: nope: LINUX_AIO_ENGINE names no engine\n" in output
    assert errors == "linux-aio: nope: LINUX_AIO_ENGINE names no engine\n"


def test_checksum(path: Path) -> None:
    expected = hashlib.sha256(DATA).hexdigest()
    assert run("checksum", path) == (0, f"{expected}  {path}\n", "")
    missing = path.parent / "missing"
    status, output, errors = run("checksum", "-a", "md5", missing, path)
    assert status == 1
    assert output == f"{hashlib.md5(DATA).hexdigest()}  {path}\n"
    assert "No such file" in errors


@pytest.mark.parametrize("position", [None, 0, 5, len(DATA), len(DATA) + 5])
def test_checksum_of_the_standard_input(path: Path, position: int | None) -> None:
    """From where others have left it to its end, as sha256sum; None is a pipe."""
    command = [sys.executable, "-P", "-m", "linux_aio", "checksum", "-", "-"]
    if position is not None:
        with path.open("rb", buffering=0) as file:
            file.seek(position)
            output = subprocess.run(command, stdin=file, capture_output=True, check=True).stdout
            assert file.tell() == max(position, len(DATA))
    else:
        output = subprocess.run(command, input=DATA, capture_output=True, check=True).stdout
    lines = [f"{hashlib.sha256(data).hexdigest()}  -\n" for data in (DATA[position or 0 :], b"")]
    assert output.decode() == "".join(lines)


@pytest.mark.parametrize(
    "name", [b"two\nlines", b"back\\slash", b"\\n", b"a\rreturn", b"no \xff text", b"plain"]
)
def test_checksum_lines_are_sha256sums(
    tmp_path: Path, name: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8:strict")
    path = os.fsencode(tmp_path) + b"/" + name
    Path(os.fsdecode(path)).write_bytes(DATA)
    arguments: list[str | bytes] = [sys.executable, "-P", "-m", "linux_aio", "checksum", path]
    output = subprocess.run(arguments, capture_output=True, check=True, timeout=100).stdout
    escaped = path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    line = hashlib.sha256(DATA).hexdigest().encode() + b"  " + escaped + b"\n"
    assert output == (b"\\" + line if escaped != path else line)
    if shutil.which("sha256sum") is not None:
        subprocess.run(["sha256sum", "-c"], input=output, check=True, capture_output=True)


def test_without_standard_streams(path: Path) -> None:
    """What is closed when the program starts is None in sys."""
    command = f"{sys.executable} -P -m linux_aio"

    def closing(arguments: str) -> tuple[int, str, str]:
        result = subprocess.run(
            ["sh", "-c", f"{command} {arguments}"], capture_output=True, text=True, check=False
        )
        return result.returncode, result.stdout, result.stderr

    status, _, errors = closing(f"checksum {path} >&-")
    assert (status, errors) == (
        1,
        "linux-aio: [Errno 9] Bad file descriptor: the standard output\n",
    )
    assert closing(f"copy -q {path} {path}.copy >&-") == (0, "", "")
    assert closing(f"checksum {path}.missing 2>&-") == (1, "", "")


@pytest.mark.parametrize("seconds", ["nan", "inf", "0", "-1", "soon"])
@pytest.mark.parametrize("command", ["bench", "demo"])
def test_impossible_times(tmp_path: Path, command: str, seconds: str) -> None:
    status, _, errors = run(command, tmp_path, "--seconds", seconds)
    assert status == 2
    assert "positive" in errors


def test_wrong_arguments(path: Path) -> None:
    target = path.parent / "target"
    for arguments in [
        ("checksum", "-a", "nonsense", path),
        ("copy", path, target, "--verify=nonsense"),
    ]:
        status, output, errors = run(*arguments)
        assert (status, output) == (2, "")
        assert "hashlib has no algorithm 'nonsense'" in errors
    assert run("copy", path, target, "--verify", "nonsense")[:2] == (2, "")
    assert not target.exists()
    for size in ["0", "-1", "large"]:
        status, _, errors = run("bench", path.parent, "--size", size)
        assert status == 2
        assert "--size: must be a positive number of MiB" in errors


def test_copy(path: Path) -> None:
    target = path.parent / "target"
    status, output, _ = run("copy", path, target, "--verify")
    assert status == 0
    assert target.read_bytes() == DATA
    assert output.startswith("8.8 KiB in ")
    assert run("copy", "-q", path, target, "--no-sync") == (0, "", "")
    assert run("copy", "-q", "--verify", path, target) == (0, "", "")
    status, _, errors = run("copy", path, path)
    assert status == 1
    assert "same file" in errors
    assert run("copy", path, "/dev/null")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "algorithm"),
    [
        ("--verify SOURCE TARGET", "sha256"),
        ("--verify md5 SOURCE TARGET", "md5"),
        ("--verify=md5 SOURCE TARGET", "md5"),
        ("SOURCE --verify TARGET", "sha256"),
        ("SOURCE --verify md5 TARGET", "md5"),
        ("--verify -q SOURCE TARGET", "sha256"),
        ("--verify -- SOURCE TARGET", "sha256"),
        ("SOURCE TARGET --verify", "sha256"),
        ("SOURCE TARGET --verify md5", "md5"),
        ("SOURCE TARGET --verify --no-sync", "sha256"),
        ("SOURCE -- --verify", None),
        ("SOURCE TARGET", None),
    ],
)
def test_verify_is_followed_by_an_algorithm_or_none(arguments: str, algorithm: str | None) -> None:
    options = _cli._parsed(["copy", *arguments.split()])
    target = "TARGET" if "TARGET" in arguments else "--verify"
    assert (options.source, options.target, options.verify) == ("SOURCE", target, algorithm)


def test_bench(tmp_path: Path) -> None:
    status, output, _ = run("bench", tmp_path, "--seconds", "0.01", "--size", "1", "--json")
    assert status == 0
    report = json.loads(output)
    assert report["choice"] in report["rows"]
    assert {row["in_flight"] for row in report["rows"]} == {1, 4, 16, 64, 256}
    assert all(row["reads_per_second"] > 0 for row in report["rows"])
    assert os.listdir(tmp_path) == []
    status, output, _ = run("bench", tmp_path, "--seconds", "0.01", "--size", "1")
    assert status == 0
    assert "Choose" in output
    assert ("Beside one use auto" in output) == ("Choose auto " not in output)
    assert run("bench", tmp_path / "missing")[0] == 1


def test_bench_chooses_the_fastest_of_the_fewest_in_flight(tmp_path: Path) -> None:
    status, output, _ = run("bench", tmp_path, "--seconds", "0.01", "--size", "1", "--json")
    assert status == 0
    report = json.loads(output)
    choice, most = report["choice"], report["most_reads_per_second"]
    assert most == max(row["reads_per_second"] for row in report["rows"])
    assert choice["reads_per_second"] >= 0.9 * most
    good = [row for row in report["rows"] if row["reads_per_second"] >= 0.9 * most]
    assert choice["in_flight"] == min(row["in_flight"] for row in good)
    rivals = [row for row in good if row["in_flight"] == choice["in_flight"]]
    assert choice["reads_per_second"] == max(row["reads_per_second"] for row in rivals)


@pytest.mark.skipif(fs_available() is not None, reason=fs_available() or "there is FUSE")
def test_bench_reads_nothing_from_the_page_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Buffered reads, of which each comes to the file system."""
    blocks = 40
    reads = 0
    read = os.preadv

    def counting(*arguments: Any) -> int:
        nonlocal reads
        reads += 1
        return read(*arguments)

    class CountingContext:
        def __init__(self, depth: int, engine: str) -> None:
            self.context = AIOContext(depth, engine=engine)

        def __enter__(self) -> CountingContext:
            return self

        def __exit__(self, *_: object) -> None:
            self.context.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.context, name)

        def submit(self, *operations: AIOOperation) -> int:
            nonlocal reads
            count = self.context.submit(*operations)
            reads += count
            return count

    monkeypatch.setattr(os, "preadv", counting)
    monkeypatch.setattr(_bench, "AIOContext", CountingContext)
    with mounted(tmp_path) as fs:
        fd = os.open(fs.create("data", bytes(blocks * 4096)), os.O_RDONLY)
        try:
            ways: list[Callable[..., float]] = [_bench._blocking]
            ways += [partial(_bench._in_flight, engine="auto", depth=depth) for depth in (1, 9, 64)]
            for way in ways:
                for seconds in (0.001, 0.1):
                    reads, before = 0, len(fs.log())
                    assert way(fd, blocks * 4096, seconds=seconds) > 0
                    offsets = [entry.offset for entry in fs.log()[before:] if entry.kind == "read"]
                    assert len(offsets) == reads
                assert reads > blocks
                # after one round comes another one
                for start in range(0, reads - blocks, blocks):
                    assert len(set(offsets[start : start + blocks])) == blocks
        finally:
            os.close(fd)


def test_bench_without_room_or_disk(tmp_path: Path) -> None:
    status, _, errors = run("bench", tmp_path, "--size", 1 << 40)
    assert status == 1
    assert "there is no room for the file that is to be read" in errors
    assert os.listdir(tmp_path) == []
    status, _, errors = run("bench", "/proc")
    assert status == 1
    assert "no file can be made in it" in errors
    status, output, _ = run("bench", "/dev/shm", "--seconds", "0.01", "--size", "1")
    assert status == 0
    if _info.file_system_of("/dev/shm").startswith("tmpfs"):
        assert "No disk was read." in output
        assert "not cached" not in output


def is_open_in(pid: int, path: Path) -> bool:
    """Whether the process is at work on the file."""
    with contextlib.suppress(OSError):  # closed meanwhile
        return any(os.path.samefile(fd, path) for fd in Path(f"/proc/{pid}/fd").iterdir())
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted(number: signal.Signals, path: Path) -> None:
    os.truncate(path, 50 << 30)
    process = start("checksum", path)
    try:
        assert soon(lambda: is_open_in(process.pid, path), 60)
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 128 + number
    assert "Traceback" not in errors


def test_a_bar_on_a_terminal(path: Path) -> None:
    pytest.importorskip("rich")
    os.truncate(path, 3 << 30)
    terminal, other_end = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "linux_aio", "checksum", path],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=other_end,
    )
    os.close(other_end)
    shown = b""
    with contextlib.suppress(OSError):  # EIO: nobody writes any more
        while data := os.read(terminal, 65536):
            shown += data
    os.close(terminal)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 0
    assert output.endswith(b"data\n")
    text = shown.decode()
    assert "/3.2 GB" in text or "/3.0 GiB" in text
    assert "/s" in text
    assert text.rstrip().endswith("\x1b[2K") or "\x1b[?25h" in text, "the cursor is back"


def test_lines_without_a_terminal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cli, "_LINE_SECONDS", 0.0)
    report = _cli._lines("name")
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        report(1 << 20, 4 << 20)
        report(5, 0)
    assert errors.getvalue() == "name: 1.0 MiB of 4.0 MiB (25 %)\nname: 5 B of 0 B\n"


def test_a_reader_that_goes_away() -> None:
    process = start("info")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 1
    assert not errors


def test_sizes_for_people() -> None:
    assert [human(n) for n in (0, 1023, 1024, 3 << 29, 5 << 40)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 GiB",
        "5.0 TiB",
    ]


def test_a_standard_error_that_takes_nothing(path: Path) -> None:
    """What is told there is lost; the work is done."""
    source = (
        "import sys; from linux_aio import _cli; _cli._LINE_SECONDS = 0;"
        "sys.exit(_cli.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-P", "-c", source, "checksum", f"{path}.missing", str(path)]
    reading, writing = os.pipe()
    os.close(reading)
    with open("/dev/full", "wb") as full, os.fdopen(writing, "wb") as broken:
        for errors in (full, broken):
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, timeout=100, check=False
            )
            assert done.returncode == 1
            assert done.stdout.split() == [hashlib.sha256(DATA).hexdigest(), str(path)]
