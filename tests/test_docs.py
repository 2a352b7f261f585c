# SPDX-License-Identifier: Apache-2.0
"""What the documents say is so."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import linux_aio

TOP = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*TOP.glob("*.rst"), *TOP.glob("docs/*.rst")])
CLASSES = [linux_aio.AIOContext, linux_aio.AIOOperation, linux_aio.EventFD]

README = (TOP / "README.rst").read_text(encoding="utf-8")
ARCHITECTURE = (TOP / "docs" / "architecture.rst").read_text(encoding="utf-8")


def code_blocks(language: str) -> list[str]:
    """The README's code blocks in that language, without their indentation."""
    pattern = rf"^\.\. code-block:: {language}\n\n((?:    .*\n|\n)+)"
    return [textwrap.dedent(block).rstrip() for block in re.findall(pattern, README, re.MULTILINE)]


def public_names(thing: object) -> list[str]:
    return [name for name in dir(thing) if not name.startswith("_")]


# README.rst


def test_readme_shows_the_example_as_it_is() -> None:
    example = (TOP / "examples" / "eventfd_loop.py").read_text(encoding="utf-8").rstrip()
    assert example in code_blocks("python")


def test_readme_sets_up_with_two_commands() -> None:
    assert [block.splitlines() for block in code_blocks("sh")] == [["./dev demo", "./dev test"]]


def api_classes() -> Iterator[tuple[type, ast.ClassDef]]:
    """Each class, and its outline in the README."""
    (outline,) = [block for block in code_blocks("python") if block.startswith("class ")]
    for node in ast.parse(outline).body:
        if isinstance(node, ast.ClassDef):
            yield getattr(linux_aio, node.name), node


def test_readme_names_everything_public() -> None:
    words = set(re.findall(r"\w+", README))
    names = {name for name in linux_aio.__all__ if not name.startswith("_")}
    assert names.union(*map(public_names, CLASSES)) <= words
    assert {cls for cls, _ in api_classes()} == set(CLASSES)


def test_readme_has_the_signatures_right() -> None:
    for cls, outline in api_classes():
        for node in outline.body:
            if isinstance(node, ast.FunctionDef) and node.name != "__init__":
                documented = ast.unparse(node.args).replace("cls, ", "").replace("self, ", "")
                assert documented.removeprefix("self") == parameters(cls, node.name)
            elif isinstance(node, ast.AnnAssign):
                assert inspect.isgetsetdescriptor(getattr(cls, ast.unparse(node.target)))


def parameters(cls: type, method: str) -> str:
    """As written in a call's definition: names, defaults and stars."""
    signature = inspect.signature(getattr(cls, method))
    shown = [str(p) for p in signature.parameters.values() if p.name != "self"]
    return ", ".join(shown)


# all documents


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(TOP)))
def test_named_files_are_there(path: Path) -> None:
    folders = "benchmarks|docs|examples|linux_aio|src|tests"
    named = re.findall(rf"``((?:{folders})/[\w./-]*)``", path.read_text(encoding="utf-8"))
    assert [name for name in named if not (TOP / name).exists()] == []


def test_map_names_what_is_in_the_source() -> None:
    sources = [path for path in TOP.glob("src/**/*") if path.suffix in (".cpp", ".hpp")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    files = set(re.findall(r"``(?:\w+/)*(\w+\.[ch]pp)``", ARCHITECTURE))
    assert files <= {path.name for path in sources}
    names = set(re.findall(r"``(?:\w+::)*(\w+)\(\)``", ARCHITECTURE))
    assert {name for name in names if not re.search(rf"\b{name}\b", text)} == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(TOP)))
def test_nobody_is_told_to_install_another_project(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"install\s+linux[-_]aio(?!-python)", text)


def test_changelog_has_this_version() -> None:
    changelog = (TOP / "CHANGELOG.rst").read_text(encoding="utf-8")
    assert re.search(rf"^.*\b{re.escape(linux_aio.__version__)}\b.*\n-+$", changelog, re.MULTILINE)


# docstrings


@pytest.mark.parametrize("cls", CLASSES)
def test_everything_public_has_a_docstring(cls: type) -> None:
    assert inspect.getdoc(cls)
    assert [name for name in public_names(cls) if not inspect.getdoc(getattr(cls, name))] == []


def test_functions_have_docstrings() -> None:
    assert linux_aio.__doc__
    assert inspect.getdoc(linux_aio.build_info)
