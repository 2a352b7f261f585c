# SPDX-License-Identifier: Apache-2.0
"""What gcovr and coverage.py measured, in one form."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class File:
    """A source file: which lines ran and which did not, and how many branches of how many."""

    path: str  # from the top of the project
    executed: set[int] = field(default_factory=set)
    missed: set[int] = field(default_factory=set)
    branches: int = 0
    branches_taken: int = 0


def from_gcovr(report: Path) -> list[File]:
    """From the output of `gcovr --json`."""
    files = []
    for entry in json.loads(report.read_text(encoding="utf-8"))["files"]:
        file = File(entry["file"])
        for line in entry["lines"]:
            if line.get("gcovr/excluded") or line.get("gcovr/noncode"):
                continue
            (file.executed if line["count"] else file.missed).add(line["line_number"])
            taken = [branch["count"] > 0 for branch in line.get("branches", [])]
            file.branches += len(taken)
            file.branches_taken += sum(taken)
        # A line of a template has an entry for each instance.
        file.missed -= file.executed
        files.append(file)
    return files


def from_coverage(report: Path, source: str) -> list[File]:
    """From the output of `coverage json`, by file name: what was measured are copies."""
    files = []
    measured: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))["files"]
    for path, entry in measured.items():
        summary = entry["summary"]
        files.append(
            File(
                f"{source}/{Path(path).name}",
                set(entry["executed_lines"]),
                set(entry["missing_lines"]),
                summary["num_branches"],
                summary["covered_branches"],
            )
        )
    return files
