# SPDX-License-Identifier: Apache-2.0
"""What the files of src/ include of each other: lower layers only, and never in a circle."""

from __future__ import annotations

import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.paths import TOP

pytestmark = pytest.mark.engine_independent

SOURCE = TOP / "src"
INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]', re.MULTILINE)

# What each folder may include of the others. Only module.cpp skips a layer: for build_info(), and
# for the table of libaio's calls that tests put faults into.
LAYERS = {
    "libaio": {"libaio"},
    "engine": {"engine", "libaio"},
    "bulk": {"bulk", "engine"},
    "python": {"python", "bulk", "engine"},
}
EXCEPTIONS = {("python/module", "libaio/calls")}

# A module is a header with its .cpp file, by their path without the ending.
Graph = dict[str, set[str]]


def includes(root: Path) -> Iterator[tuple[str, str]]:
    """Pairs of a module and the path that one of its files includes."""
    for path in sorted(root.rglob("*")):
        if path.suffix in {".c", ".cpp", ".h", ".hpp"}:
            module = str(path.relative_to(root).with_suffix(""))
            for included in INCLUDE.findall(path.read_text(encoding="utf-8")):
                yield module, included


def graph_of(root: Path) -> Graph:
    """The modules, each with those that it includes."""
    graph: Graph = {}
    for module, included in includes(root):
        uses = graph.setdefault(module, set())
        target = str(Path(included).with_suffix(""))
        if (root / included).is_file() and target != module:
            uses.add(target)
    return graph


def circle_in(graph: Graph) -> list[str]:
    """One circle, each module including the one before it; empty if there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        circle: list[str] = error.args[1]
        return circle
    return []


@pytest.mark.parametrize("closes", [False, True])
def test_a_circle_through_a_cpp_file_is_found(tmp_path: Path, closes: bool) -> None:
    (tmp_path / "a.hpp").write_text("#pragma once\n")
    (tmp_path / "a.cpp").write_text('#include "a.hpp"\n' + ('#include "b.hpp"\n' * closes))
    (tmp_path / "b.hpp").write_text('#include "a.hpp"\n')
    assert sorted(set(circle_in(graph_of(tmp_path)))) == (["a", "b"] if closes else [])


def test_no_files_include_each_other_in_a_circle() -> None:
    graph = graph_of(SOURCE)
    assert len(graph) > 100
    circle = circle_in(graph)
    assert not circle, "a circle of includes: " + " <- ".join(circle)


def test_files_include_lower_layers_only() -> None:
    wrong = {
        (module, target)
        for module, targets in graph_of(SOURCE).items()
        for target in targets
        if target.split("/")[0] not in LAYERS[module.split("/")[0]]
    }
    assert wrong == EXCEPTIONS


def test_nothing_below_src_python_includes_python() -> None:
    below = {module for module, included in includes(SOURCE) if included == "Python.h"}
    assert below
    assert all(module.startswith("python/") for module in below)
