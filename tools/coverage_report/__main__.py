# SPDX-License-Identifier: Apache-2.0
"""`python -m coverage_report GCOVR.json COVERAGE.json`: a table, and what nobody explains."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from coverage_report.measured import File, from_coverage, from_gcovr
from coverage_report.reasons import idle, reasons_in, unexplained

TOP = Path(__file__).resolve().parent.parent.parent


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:5.1f} %" if whole else "      –"


def table(title: str, files: list[File]) -> Iterable[str]:
    """A line for each file, and one for all."""
    yield f"{title:36}{'lines':>8}{'run':>9}{'branches':>10}{'taken':>9}"
    whole = File("all")
    for file in sorted(files, key=lambda file: file.path):
        yield row(file.path, len(file.executed), len(file.missed), file)
        whole.branches += file.branches
        whole.branches_taken += file.branches_taken
    yield row("all", sum(len(f.executed) for f in files), sum(len(f.missed) for f in files), whole)


def row(name: str, executed: int, missed: int, file: File) -> str:
    lines = executed + missed
    return (
        f"{name:36}{lines:8}{percent(executed, lines):>9}"
        f"{file.branches:10}{percent(file.branches_taken, file.branches):>9}"
    )


def ranges(lines: list[int]) -> str:
    """Numbers, those that follow each other as a range."""
    runs = [
        [line for _, line in run]
        for _, run in groupby(enumerate(lines), lambda entry: entry[1] - entry[0])
    ]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def main() -> int:
    """Exit status 1 if a line is neither run nor explained."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gcovr", type=Path)
    parser.add_argument("coverage", type=Path)
    options = parser.parse_args()
    cpp = from_gcovr(options.gcovr)
    python = from_coverage(options.coverage, "linux_aio")
    print(*table("C++", cpp), "", *table("Python", python), sep="\n")
    gaps = []
    print("\nnot run, with the reason:")
    for file in [*cpp, *python]:
        source = (TOP / file.path).read_text(encoding="utf-8")
        reasons = reasons_in(source)
        for reason in reasons:
            missed = sorted(reason.lines & file.missed)
            if missed:
                print(f"  {file.path}:{ranges(missed)}: {reason.text}")
        for reason in idle(file.executed, file.missed, reasons):
            print(f"  {file.path}:{reason.line}: some test does run this: {reason.text}")
        if lines := unexplained(file.missed, reasons):
            gaps.append(f"  {file.path}:{ranges(lines)}")
    if gaps:
        print("\nnot run, and nobody says why:", *gaps, sep="\n")
        return 1
    print("\nevery line is run by a test, or says why not")
    return 0


if __name__ == "__main__":
    sys.exit(main())
