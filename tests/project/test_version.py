# SPDX-License-Identifier: Apache-2.0
"""meson.build holds the version; whatever else names it says the same."""

from __future__ import annotations

import re
import tomllib

import linux_aio
from support.paths import TOP


def first(pattern: str, name: str) -> str:
    """What the pattern's group finds first in the file."""
    found = re.search(pattern, (TOP / name).read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None, f"{name} has no {pattern}"
    return found[1]


VERSION = first(r"^  version: '(.*)',$", "meson.build")


def test_python_has_the_version_of_meson() -> None:
    assert linux_aio.__version__ == VERSION
    assert linux_aio.build_info()["version"] == VERSION


def test_the_distribution_takes_it_from_meson() -> None:
    with (TOP / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    assert project["dynamic"] == ["version"]
    assert "version" not in project


def test_debian_packages_that_version() -> None:
    assert first(r"^linux-aio-python \((.*)-[^-]+\)", "debian/changelog") == VERSION


def test_the_changelog_begins_with_it() -> None:
    assert first(r"^(?:Unreleased: )?([0-9][0-9.]*\w*)(?: .*)?\n---", "CHANGELOG.rst") == VERSION


def test_the_readme_names_it() -> None:
    assert first(r"^Version ([0-9.]*[0-9])\b", "README.rst") == VERSION
