# SPDX-License-Identifier: Apache-2.0
"""The list of what the source distribution holds is of this tree."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.paths import TOP


def test_the_list_and_the_checkout_agree() -> None:
    if not (TOP / ".git").exists():
        pytest.skip("this is no git checkout")
    options = ["--cached", "--others", "--exclude-standard"]
    command = ["git", "-c", "safe.directory=*", "ls-files", *options]
    listed = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=True)
    result = subprocess.run(
        [sys.executable, TOP / "tools" / "packaging" / "check-sdist"],
        input=listed.stdout + "PKG-INFO\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.endswith("files, as listed in sdist-files.txt\n"), result.stdout
