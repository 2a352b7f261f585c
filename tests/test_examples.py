# SPDX-License-Identifier: Apache-2.0
"""The examples run as they stand, and the demo keeps its word."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run_example(name: str, directory: Path) -> str:
    """Run it by itself, with warnings as errors; return what it printed."""
    result = subprocess.run(
        [sys.executable, "-P", "-W", "error", EXAMPLES / name],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_example_runs_and_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    assert run_example(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_eventfd_loop_reads_what_it_wrote(tmp_path: Path) -> None:
    printed = run_example("eventfd_loop.py", tmp_path).splitlines()
    assert printed == ["b'Hello world'", "b'Hello from async world'"]


# demo.py, with a file that is small enough to make many


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo", EXAMPLES / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "demo", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "FILE_SIZE", 100 * module.BLOCK_SIZE)
    monkeypatch.chdir(tmp_path)
    return module


def run_demo(demo: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["demo.py", *arguments])
    demo.main()


def test_demo_tells_what_it_did(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_demo(demo, monkeypatch)
    printed = capsys.readouterr().out
    assert "100 reads of 4096 bytes" in printed
    rows = [line.split() for line in printed.splitlines()]
    assert [row[-3] for row in rows if row[:1] in (["linux_aio,"], ["os.pread"])] == ["32", "1"]


def test_demo_leaves_the_named_file_and_uses_it_again(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run_demo(demo, monkeypatch, "--file", "here")
    before = Path("here").stat()
    run_demo(demo, monkeypatch, "--file", "here")
    after = Path("here").stat()
    assert before.st_size == demo.FILE_SIZE
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert os.listdir(tmp_path) == ["here"]


@pytest.mark.parametrize("size", [0, 5, 100 * 4096])
def test_demo_leaves_files_of_others_alone(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    Path("precious").write_bytes(b"\1" * size)
    with pytest.raises(SystemExit, match="precious exists"):
        run_demo(demo, monkeypatch, "--file", "precious")
    assert Path("precious").read_bytes() == b"\1" * size


def test_demo_says_why_it_has_no_file(demo: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="No such file or directory"):
        run_demo(demo, monkeypatch, "--file", "nowhere/here")


@pytest.mark.parametrize("position", [0, 4095, 4096, 100 * 4096 - 1])
def test_demo_notices_a_wrong_byte(demo: ModuleType, tmp_path: Path, position: int) -> None:
    content = bytearray(demo.FILE_SIZE)
    (tmp_path / "file").write_bytes(content)
    content[position] = 1
    offsets = list(range(0, demo.FILE_SIZE, demo.BLOCK_SIZE))
    with (tmp_path / "file").open("rb") as file:
        with pytest.raises(SystemExit, match="wrong"):
            asyncio.run(demo.read_many_at_a_time(file.fileno(), offsets, bytes(content)))
        with pytest.raises(SystemExit, match="wrong"):
            demo.read_one_by_one(file.fileno(), offsets, bytes(content))
