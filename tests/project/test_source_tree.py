# SPDX-License-Identifier: Apache-2.0
"""The source tree as a newcomer meets it: what is installed is found, errors say what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import linux_aio
from support.paths import TOP

pytestmark = pytest.mark.engine_independent

INSTALLED = Path(linux_aio.__file__).parent


def start_python(folder: Path, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    """Python as a user starts it in the folder, with no more than `path` to find modules in."""
    environment = {**os.environ, "PYTHONPATH": path}
    environment.pop("PYTHONSAFEPATH", None)
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source tree: the package without its extension module."""
    shutil.copytree(
        INSTALLED, tmp_path / "linux_aio", ignore=shutil.ignore_patterns("*.so*", "__pycache__")
    )
    (tmp_path / "meson.build").touch()
    return tmp_path


USE = "import linux_aio, linux_aio._info as info; print(linux_aio.__file__, info.__file__)"


@pytest.mark.parametrize("subfolder", [".", "linux_aio"])
def test_the_installed_one_is_found_from_the_source_tree(tree: Path, subfolder: str) -> None:
    done = start_python(tree / subfolder, "-c", USE, path=f"{tree}:{INSTALLED.parent}")
    assert done.stderr == ""
    assert done.stdout.split() == [str(INSTALLED / "__init__.py"), str(INSTALLED / "_info.py")]


def test_its_command_line_is_found_too(tree: Path) -> None:
    done = start_python(tree, "-m", "linux_aio", "info", path=str(INSTALLED.parent))
    assert done.returncode == 0, done.stderr
    assert linux_aio.__version__ in done.stdout


def test_nothing_of_the_source_tree_stays_imported(tree: Path) -> None:
    names = f"[name for name, module in sys.modules.items() if {str(tree)!r} in str(module)]"
    done = start_python(
        tree, "-c", f"{USE}; import sys; print({names})", path=str(INSTALLED.parent)
    )
    assert done.stdout.endswith("\n[]\n"), done.stdout + done.stderr


def test_without_an_installed_one_it_says_what_to_do(tree: Path) -> None:
    done = start_python(tree, "-c", "import linux_aio")
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: {tree / 'linux_aio'} is the source of linux_aio")
    assert f"pip install {tree}" in last


def test_one_that_is_installed_for_another_python_says_so(tree: Path) -> None:
    (tree / "meson.build").unlink()
    done = start_python(tree, "-c", "import linux_aio")
    last = done.stderr.splitlines()[-1]
    assert "no extension module for Python" in last
    assert "linux-aio-python" in last


@pytest.mark.skipif(shutil.which("meson") is None, reason="there is no meson")
def test_without_a_compiler_the_build_says_what_to_install(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "no-compiler")
    done = subprocess.run(
        ["meson", "setup", str(tmp_path / "build"), str(TOP)],
        env={**os.environ, "CC": nowhere, "CXX": nowhere},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    (error,) = [line for line in done.stdout.splitlines() if "ERROR" in line]
    assert "there is no C++ compiler, or none that works" in error
    assert error.endswith("On Debian: apt install g++ python3-dev")
