# SPDX-License-Identifier: Apache-2.0
"""`python -m linux_aio info`: for people, and with --json for programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from linux_aio import __version__, _info, build_info, direct_alignment, engines

pytestmark = pytest.mark.engine_independent


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "linux_aio", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def report(*arguments: object) -> dict[str, Any]:
    ended = run("info", *arguments, "--json")
    assert ended.returncode == 0, ended.stderr
    result: dict[str, Any] = json.loads(ended.stdout)
    return result


def test_the_report_for_programs() -> None:
    found = report()
    assert found["linux_aio"] == __version__
    assert found["engines"] == engines()
    info = build_info()
    assert found["built in"].items() <= info.items()
    assert set(found["kernel AIO"]) == {"aio-nr", "aio-max-nr"}
    assert found["Python"] == sys.version.split()[0]


def test_the_report_for_people_has_the_same_in_it() -> None:
    ended = run("info")
    assert ended.returncode == 0
    lines = ended.stdout.splitlines()
    for name, state in engines().items():
        assert any(line.split() == [f"{name}:", *state.split()] for line in lines)
    assert any(line.strip().startswith("aio-max-nr:") for line in lines)
    assert __version__ in ended.stdout


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_of_a_path(kind: str, tmp_path: Path) -> None:
    path = tmp_path
    if kind == "file":
        path = tmp_path / "data"
        path.write_bytes(b"data")
    found = report(path)[str(path)]
    assert "mounted at" in found["file system"]
    assert found["RWF_NOWAIT"]
    assert found["O_DIRECT"]
    if kind == "file" and found["O_DIRECT"] != "not supported":
        with path.open("rb") as file:
            assert str(direct_alignment(file)[1]) in found["O_DIRECT"]


def test_of_a_file_system_in_memory() -> None:
    shm = Path("/dev/shm")
    if not shm.is_dir():
        pytest.skip("no /dev/shm")
    found = report(shm)[str(shm)]
    assert found["file system"].startswith("tmpfs")
    assert "does not work" in found["RWF_NOWAIT"]


def test_of_a_file_that_takes_no_direct_io() -> None:
    found = report("/proc/version")["/proc/version"]
    assert found["file system"].startswith("proc")
    assert found["O_DIRECT"] == "not supported"


def test_of_a_file_that_is_not_cached(tmp_path: Path) -> None:
    """What a read that is told not to wait says then is no sign that it can't be told."""
    path = tmp_path / "data"
    path.write_bytes(b"data" * 5000)
    with path.open("rb") as file:
        os.fsync(file)
        before = _info.takes_nowait(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert _info.takes_nowait(file.fileno()) == before


def test_settings_that_there_are_not(tmp_path: Path) -> None:
    path = tmp_path / "setting"
    assert _info.setting(str(path)) == "unknown"
    path.write_text("many\n")
    assert _info.setting(str(path)) == "unknown"
    path.write_text("12\n")
    assert _info.setting(str(path)) == 12


def test_without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **_options: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", refuse)
    found = _info.system_report(str(tmp_path))
    assert found["kernel AIO"] == {"aio-nr": "unknown", "aio-max-nr": "unknown"}
    about_path = found[str(tmp_path)]
    assert isinstance(about_path, dict)
    assert about_path["file system"] == "unknown"


@pytest.mark.parametrize("name", ["engines", "default engine", "kernel"])
def test_a_path_that_is_spelt_as_a_key(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    found = report(name)
    assert "file system" in found[f"./{name}"]
    assert {key for key in found if key != f"./{name}"} == set(report())
    assert run("info", name).returncode == 0


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    for ended in (run("info", missing), run("info", missing, "--json")):
        text = ended.stdout + ended.stderr
        assert "No such file" in text
        assert "Traceback" not in text


def test_a_command_that_there_is_not() -> None:
    ended = run("nonsense")
    assert ended.returncode == 2
    assert "info" in ended.stderr
