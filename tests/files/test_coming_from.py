# SPDX-License-Identifier: Apache-2.0
"""The page for those who come from other libraries has every name of theirs, and ours exist."""

from __future__ import annotations

import importlib
import re
from typing import Any

import pytest

import linux_aio
import linux_aio.fs
from support.paths import TOP

pytestmark = pytest.mark.engine_independent

PAGE = TOP / "docs" / "coming-from.rst"


def section(title: str) -> str:
    """The names in double backquotes of a section."""
    text = PAGE.read_text()
    start = re.search(rf"^{title}\n-+$", text, re.MULTILINE)
    assert start is not None
    end = re.search(r"^.+\n-{3,}$", text[start.end() :], re.MULTILINE)
    return text[start.end() : start.end() + end.start() if end else None]


def words(title: str) -> set[str]:
    quoted = re.findall(r"``(.+?)``", section(title))
    return set(re.findall(r"\w+", " ".join(quoted)))


def public(thing: Any) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def names_of_aiofiles() -> set[str]:
    aiofiles = pytest.importorskip("aiofiles")
    binary = importlib.import_module("aiofiles.threadpool.binary")
    text = importlib.import_module("aiofiles.threadpool.text")
    names = set(aiofiles.__all__) - {"tempfile"}
    for kind in (binary.AsyncBufferedReader, binary.AsyncFileIO, text.AsyncTextIOWrapper):
        names |= public(kind)
    names |= set(importlib.import_module("aiofiles.os").__all__) - {"path"}
    names |= set(importlib.import_module("aiofiles.ospath").__all__)
    return names | set(importlib.import_module("aiofiles.tempfile").__all__)


def names_of_aiofile() -> set[str]:
    aiofile = pytest.importorskip("aiofile")
    about_itself = {"author_info", "project_home", "team_email", "version_info"}
    names = {
        name
        for name in aiofile.__all__
        if not name.startswith(("_", "package")) and name not in about_itself
    }
    for kind in ("AIOFile", "BinaryFileWrapper", "TextFileWrapper", "Reader", "LineReader"):
        names |= public(getattr(aiofile, kind))
    return names - {"file"}


def names_of_anyio() -> set[str]:
    anyio = pytest.importorskip("anyio")
    pathlib = importlib.import_module("pathlib")
    return {"open_file", "wrap_file"} | public(anyio.AsyncFile) | pathless(anyio.Path, pathlib)


def pathless(path: Any, pathlib: Any) -> set[str]:
    """What of a path asks the system."""
    return public(path) - public(pathlib.PurePath) - {"cwd", "home", "absolute", "with_segments"}


def names_of_trio() -> set[str]:
    pytest.importorskip("trio")
    files = importlib.import_module("trio._file_io")
    return {"open_file", "wrap_file", *files._FILE_SYNC_ATTRS, *files._FILE_ASYNC_METHODS}


@pytest.mark.parametrize(
    ("title", "names"),
    [
        ("aiofiles", names_of_aiofiles),
        ("aiofile", names_of_aiofile),
        ("anyio", names_of_anyio),
        ("Trio", names_of_trio),
    ],
)
def test_every_name_is_there(title: str, names: Any) -> None:
    later = {"copy", "copy_into", "move", "move_into", "walk", "full_match", "from_uri", "info"}
    missing = names() - words(title) - later  # of newer versions of Python
    assert not missing


def test_the_same_exists() -> None:
    """What the page says to be the same is there."""
    for method in (
        "read",
        "readline",
        "readlines",
        "write",
        "writelines",
        "seek",
        "tell",
        "stat",
        "truncate",
        "close",
        "aclose",
        "fsync",
        "fdatasync",
        "detach",
        "fileno",
        "readable",
        "seekable",
        "writable",
        "isatty",
        "name",
        "mode",
        "closed",
    ):
        assert hasattr(linux_aio.File, method)
        assert hasattr(linux_aio.TextFile, method)
    for method in (
        "pread",
        "preadinto",
        "pwrite",
        "peek",
        "read1",
        "readinto",
        "readinto1",
        "readall",
    ):
        assert hasattr(linux_aio.File, method)
    for name in ("buffer", "encoding", "errors", "newlines", "line_buffering"):
        assert hasattr(linux_aio.TextFile, name)
    for name in re.findall(r"fs\.(\w+)", PAGE.read_text()):
        assert hasattr(linux_aio.fs, name), name
