# SPDX-License-Identifier: Apache-2.0
"""What the documents say is so."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import linux_aio
from support.paths import TOP

pytestmark = pytest.mark.engine_independent

DOCUMENTS = sorted([*TOP.glob("*.rst"), *TOP.glob("docs/*.rst")])
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
CLASSES = [linux_aio.AIOContext, linux_aio.AIOOperation, linux_aio.EventFD]

README = (TOP / "README.rst").read_text(encoding="utf-8")
ARCHITECTURE = (TOP / "docs" / "architecture.rst").read_text(encoding="utf-8")


def code_blocks(language: str, text: str = README) -> list[str]:
    """The code blocks in that language, without their indentation."""
    pattern = rf"^\.\. code-block:: {language}\n\n((?:    .*\n|\n)+)"
    return [textwrap.dedent(block).rstrip() for block in re.findall(pattern, text, re.MULTILINE)]


def public_names(thing: object) -> list[str]:
    return [name for name in dir(thing) if not name.startswith("_")]


# README.rst


def example(name: str) -> str:
    return (TOP / "examples" / name).read_text(encoding="utf-8").rstrip()


def test_readme_shows_the_examples_as_they_are() -> None:
    shown = code_blocks("python")
    assert shown[:2] == [example("asyncio_reads.py"), example("eventfd_loop.py")]


def test_readme_sets_up_with_two_commands() -> None:
    assert [block.splitlines() for block in code_blocks("sh")] == [["./dev demo", "./dev test"]]


def outline() -> ast.Module:
    (block,) = [block for block in code_blocks("python") if block.startswith("class ")]
    return ast.parse(block)


def api_classes() -> Iterator[tuple[type, ast.ClassDef]]:
    """Each class, and its outline in the README."""
    for node in outline().body:
        if isinstance(node, ast.ClassDef) and node.body[0].lineno != node.lineno:
            yield getattr(linux_aio, node.name), node


def test_readme_names_everything_public() -> None:
    words = set(re.findall(r"\w+", README))
    names = {name for name in linux_aio.__all__ if not name.startswith("_")}
    assert names.union(*map(public_names, CLASSES)) <= words
    assert {cls for cls, _ in api_classes()} == set(CLASSES)


def test_readme_has_the_signatures_right() -> None:
    for cls, shown in api_classes():
        for node in shown.body:
            if isinstance(node, FUNCTIONS) and node.name != "__init__":
                documented = ast.unparse(node.args).replace("cls, ", "").replace("self, ", "")
                assert documented.removeprefix("self") == parameters(cls, node.name)
            elif isinstance(node, ast.AnnAssign):
                assert inspect.isgetsetdescriptor(getattr(cls, ast.unparse(node.target)))


def test_readme_has_the_functions_right() -> None:
    for node in outline().body:
        if isinstance(node, ast.FunctionDef):
            assert ast.unparse(node.args) == parameters(linux_aio, node.name)


def parameters(owner: object, function: str) -> str:
    """As written in a call's definition: names, defaults and stars."""
    signature = inspect.signature(getattr(owner, function))
    shown = [
        str(p.replace(annotation=p.empty))
        for p in signature.parameters.values()
        if p.name != "self"
    ]
    return ", ".join(shown)


# docs/usage.rst

USAGE = (TOP / "docs" / "usage.rst").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["exact.py", "aiofile_context.py"])
def test_usage_shows_the_examples_as_they_are(name: str) -> None:
    assert example(name) in code_blocks("python", USAGE)


def test_usage_tells_all_that_is_counted() -> None:
    with linux_aio.AIOContext(1) as context:
        assert set(context.statistics()) <= set(re.findall(r"\w+", USAGE))


def test_usage_speaks_of_every_operation() -> None:
    names = {name for name in dir(linux_aio.AIOOperation) if name in dir(linux_aio.AIOContext)}
    assert {name for name in names if not name.startswith("_")} <= set(re.findall(r"\w+", USAGE))


# docs/guarantees.rst


def test_guarantees_name_tests_that_there_are() -> None:
    text = (TOP / "docs" / "guarantees.rst").read_text(encoding="utf-8")
    named = re.findall(r"``(tests/\w+/\w+\.py)::(\w+)``", text)
    assert len(named) > 30
    assert [f"{file}::{name}" for file, name in named if name not in functions_in(file)] == []


@functools.cache
def functions_in(file: str) -> set[str]:
    tree = ast.parse((TOP / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, FUNCTIONS)}


def test_guarantees_and_security_name_commands_that_there_are() -> None:
    dev = (TOP / "dev").read_text(encoding="utf-8")
    for document in ("docs/guarantees.rst", "SECURITY.md"):
        text = (TOP / document).read_text(encoding="utf-8")
        named = set(re.findall(r"`\./dev (\w+)", text))
        assert named
        assert {name for name in named if f"command_{name}()" not in dev} == set()


# all documents


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(TOP)))
def test_named_files_are_there(path: Path) -> None:
    folders = "benchmarks|debian|docs|examples|linux_aio|src|tests|tools"
    named = re.findall(rf"``((?:{folders})/[\w./-]*)``", path.read_text(encoding="utf-8"))
    assert [name for name in named if not (TOP / name).exists()] == []


def cells(line: str, border: str) -> list[str]:
    columns = [match.span() for match in re.finditer("=+", border)]
    return [line[start : columns[n + 1][0] if n + 1 < len(columns) else None].strip()
            for n, (start, _) in enumerate(columns)]  # fmt: skip


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(TOP)))
def test_no_row_of_a_table_is_torn(path: Path) -> None:
    """In a simple table, each line with words in the first column begins a row of its own."""
    border = before = ""
    torn = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if re.fullmatch(r"=+(?: +=+)+", line):
            border, before = line, ""
        elif not line:
            border = ""
        elif border:
            first, *others = cells(line, border)
            if first and (before.endswith(",") or not any(others)):
                torn.append(line)
            before = first
    assert torn == []


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
    functions = ["aligned_buffer", "build_info", "direct_alignment", "ioprio"]
    assert [name for name in functions if not inspect.getdoc(getattr(linux_aio, name))] == []


# docs/reference*.rst

REFERENCE = "".join(path.read_text(encoding="utf-8") for path in TOP.glob("docs/reference*.rst"))
STREAMS = ["stdin", "stdout", "stderr", "stdin_bytes", "stdout_bytes", "stderr_bytes"]


def exported(module: str) -> list[str]:
    """The names in __all__, without importing what the module may need."""
    tree = ast.parse((TOP / "linux_aio" / f"{module}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    raise AssertionError(f"{module} has no __all__")


@pytest.mark.parametrize(
    "module", ["__init__", "fs", "bulk", "numpy", "safetensors", "fsspec", "zarr"]
)
def test_the_reference_has_each_public_name(module: str) -> None:
    prefix = "linux_aio" if module == "__init__" else f"linux_aio.{module}"
    names = [name for name in exported(module) if not name.startswith("_")]
    names += [*STREAMS, "open"] if module == "__init__" else []
    shown = set(re.findall(rf"\b{prefix}\.(?:(?:_\w+|files)\.)?_?(\w+)", REFERENCE))
    if module == "fs":
        shown |= {"DirEntry"} & set(re.findall(r"linux_aio\._core\._(\w+)", REFERENCE))
    assert [name for name in names if name not in shown] == []


FUNCTIONS_WITH_TEXT = ["fs", "bulk", "files", "_whole_files", "numpy", "safetensors"]


@pytest.mark.parametrize("module", FUNCTIONS_WITH_TEXT)
def test_docstrings_say_more_than_the_name(module: str) -> None:
    """Each public function's text has a second paragraph: arguments, units, errors."""
    tree = ast.parse((TOP / "linux_aio" / f"{module}.py").read_text(encoding="utf-8"))
    names = exported("__init__" if module == "_whole_files" else module)
    texts = {
        node.name: ast.get_docstring(node) or ""
        for node in tree.body
        if isinstance(node, FUNCTIONS) and node.name in names
    }
    assert texts
    assert [name for name, text in texts.items() if "\n\n" not in text] == []


# docs/linux-aio.1


def test_the_man_page_has_each_command_and_option() -> None:
    import argparse

    from linux_aio import _cli

    page = (TOP / "docs" / "linux-aio.1").read_text(encoding="utf-8").replace("\\", "")
    site = (TOP / "docs" / "reference-command-line.rst").read_text(encoding="utf-8")
    parser = _cli._parser()
    (commands,) = [
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    ]
    for name, command in commands.choices.items():
        assert f".B {name}\n" in page
        assert f"\n``{name} " in site
        for action in [*command._actions, *parser._actions]:
            for option in action.option_strings:
                for text in (page, site):
                    assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text), option
    for variable in ("LINUX_AIO_ENGINE",):
        assert variable in page


# Summaries

SUMMARY = "Asynchronous file I/O for Python on Linux"


def test_there_is_one_summary() -> None:
    import tomllib

    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["description"] == SUMMARY
    assert (linux_aio.__doc__ or "").startswith(SUMMARY)
    control = (TOP / "debian" / "control").read_text(encoding="utf-8")
    for description in re.findall(r"^Description: (.*)$", control, re.MULTILINE):
        assert description.startswith(SUMMARY[0].lower() + SUMMARY[1:])
    for page in (README, (TOP / "docs" / "index.rst").read_text(encoding="utf-8")):
        assert SUMMARY in page


def test_the_classifiers_name_the_versions_that_are_supported() -> None:
    import tomllib

    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))
    versions = re.findall(r"cp3(\d+)-", " ".join(project["tool"]["cibuildwheel"]["build"]))
    wanted = {f"Programming Language :: Python :: 3.{version}" for version in versions}
    named = {c for c in project["project"]["classifiers"] if re.search(r":: 3\.\d+$", c)}
    assert named == wanted


EXTRA = re.compile(r"linux-aio-python\[(\w+)\]")


def test_extras_that_are_named_exist() -> None:
    import tomllib

    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    sources = [*TOP.glob("linux_aio/*.py"), *DOCUMENTS]
    named = {name for path in sources for name in EXTRA.findall(path.read_text(encoding="utf-8"))}
    assert named <= set(project["optional-dependencies"])


# linux_aio/_core.pyi

STUB = ast.parse((TOP / "linux_aio" / "_core.pyi").read_text(encoding="utf-8"))
EXTENSION = ["AIOContext", "AIOOperation", "EventFD"]
EXTENSION += ["aligned_buffer", "build_info", "direct_alignment", "engines"]


def stub_docstrings(node: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[tuple[str, str]]:
    for inner in node.body:
        if isinstance(inner, (*FUNCTIONS, ast.ClassDef)):
            if (docstring := ast.get_docstring(inner)) is not None:
                yield prefix + inner.name, docstring
            if isinstance(inner, ast.ClassDef):
                yield from stub_docstrings(inner, f"{prefix}{inner.name}.")


def test_the_stub_has_the_docstrings_that_help_shows() -> None:
    """The reference is made from the stub, so both say the same."""
    shown = dict(stub_docstrings(STUB))
    for name in EXTENSION:
        thing = getattr(linux_aio, name)
        assert inspect.getdoc(thing) == shown[name]
        for member in public_names(thing) if isinstance(thing, type) else []:
            assert inspect.getdoc(getattr(thing, member)) == shown[f"{name}.{member}"]
    for kind, base, own in (
        (linux_aio.File, "_FileBase", ("close",)),
        (linux_aio.TextFile, "_TextBase", ()),
    ):
        for member in ("read", "readline", "write", *own):
            assert inspect.getdoc(getattr(kind, member)) == shown[f"{base}.{member}"]


def test_each_method_has_a_text_of_its_own() -> None:
    texts = [
        (inspect.getdoc(getattr(cls, name)) or "").splitlines()[0]
        for cls in [*CLASSES, linux_aio.File, linux_aio.TextFile]
        for name in public_names(cls)
    ]
    assert all(texts)
    for cls in CLASSES:
        methods = [getattr(cls, name) for name in public_names(cls)]
        documented = [inspect.getdoc(method) for method in methods if callable(method)]
        assert len(set(documented)) == len(documented)
