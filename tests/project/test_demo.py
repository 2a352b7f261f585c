# SPDX-License-Identifier: Apache-2.0
"""`linux-aio demo`: what it says, what it reads, and that nothing of it stays."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from linux_aio import _demo

pytestmark = pytest.mark.engine_independent

ROW = re.compile(r"^(blocking calls|threads|linux_aio) +([\d,]+)  ([█#]+) +([\d.]+) ms$", re.M)


def start(*arguments: object, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "linux_aio", "demo", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


@pytest.fixture
def in_memory() -> Iterator[Path]:
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("no /dev/shm")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


def test_a_folder(tmp_path: Path) -> None:
    text = _demo.demo(str(tmp_path), seconds=0.1, size=8 << 20)
    rows = ROW.findall(text)
    assert [row[0] for row in rows] == ["blocking calls", "threads", "linux_aio"]
    rates = [int(row[1].replace(",", "")) for row in rows]
    assert all(rate > 0 for rate in rates)
    # the longest bar is that of the most reads
    longest = max(rows, key=lambda row: len(row[2]))
    assert int(longest[1].replace(",", "")) == max(rates)
    assert "8 MiB" in text
    assert str(tmp_path) in text
    assert "heartbeat" in text
    assert os.listdir(tmp_path) == []


def test_a_file_is_only_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(5 << 20))
    before = path.read_bytes(), path.stat().st_mtime_ns
    path.chmod(0o400)
    text = _demo.demo(str(path), seconds=0.1)
    assert str(path) in text
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_files_in_memory_are_said_to_be(in_memory: Path) -> None:
    assert "tmpfs, is in memory" in _demo.demo(str(in_memory), seconds=0.05, size=4 << 20)
    assert os.listdir(in_memory) == []


@pytest.mark.parametrize("name", ["missing", "missing/inner", "missing/"])
@pytest.mark.parametrize("option", [[], ["--file"]])
def test_nothing_is_created_at_a_path_that_is_wrong(
    name: str, option: list[str], tmp_path: Path
) -> None:
    process = start(*option, f"{tmp_path}/{name}", folder=tmp_path)
    output, errors = process.communicate(timeout=100)
    assert (process.returncode, output) == (1, "")
    assert "No such file or directory" in errors
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("path", ["/dev/null", "/proc/self/status", "small"])
def test_what_is_no_file_to_read(path: str, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"x")
    process = start(tmp_path / path, folder=tmp_path)
    output, errors = process.communicate(timeout=100)
    assert (process.returncode, output) == (1, "")
    assert "name a larger one" in errors
    assert "Traceback" not in errors


def test_wrong_bytes_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pread", lambda *_: bytes(4096))
    with pytest.raises(ValueError, match="wrongly"):
        _demo.demo(str(tmp_path), seconds=1, size=4 << 20)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_stays_when_it_is_stopped(number: int, tmp_path: Path) -> None:
    process = start(tmp_path, "--seconds", "30", folder=tmp_path)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("Writing a file")
    process.stderr.readline()
    time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=100)
    assert "Traceback" not in errors
    assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    assert os.listdir(tmp_path) == []
