# SPDX-License-Identifier: Apache-2.0
"""Writes the figures of a run to docs/benchmarks.rst, and its charts next to that file."""

from __future__ import annotations

import textwrap
from pathlib import Path

from .charts import chart
from .marks import Verdict
from .report import HEADER, VERDICT_HEADER, cells, verdict_cells
from .summary import Table

BEGIN = ".. The figures: written by ./dev bench --docs, not by hand."
END = ".. The end of the figures."


def list_table(header: tuple[str, ...], lines: list[tuple[str, ...]]) -> list[str]:
    result = [".. list-table::", "   :header-rows: 1", ""]
    for line in (header, *lines):
        for column, cell in enumerate(line):
            result.append(f"   {'*' if column == 0 else ' '} - {cell}".rstrip())
    return [*result, ""]


def heading(text: str, mark: str) -> list[str]:
    return [text, mark * len(text), ""]


def shell_lines(command: str) -> str:
    """Return the command, wrapped into lines that a shell reads as one."""
    parts = textwrap.wrap(command, 88, break_long_words=False, break_on_hyphens=False)
    return "   " + " \\\n       ".join(parts)


def figures(
    about: dict[str, str], machine: dict[str, str], tables: list[Table], verdicts: list[Verdict]
) -> str:
    lines = [BEGIN, ""]
    lines += [f"``{about['command']}`` on {about['date']}, rounds: {about['rounds']}", ""]
    lines += list_table(("what", "which"), list(machine.items()))
    if verdicts:
        lines += heading("What is aimed at", "~")
        lines += list_table(VERDICT_HEADER, [verdict_cells(verdict) for verdict in verdicts])
    for table in tables:
        lines += heading(f"{table.case.name}: {table.case.title}", "~")
        lines += [f".. image:: benchmarks/{table.case.name}.svg", f"   :alt: {table.case.title}"]
        lines += ["", *list_table(HEADER, [cells(table, row) for row in table.rows])]
        commands = [row.command for row in table.rows if row.command]
        if commands:
            lines += [".. code-block:: sh", "", *map(shell_lines, commands), ""]
    return "\n".join([*lines, END])


def write(
    page: Path,
    about: dict[str, str],
    machine: dict[str, str],
    tables: list[Table],
    verdicts: list[Verdict],
) -> None:
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(before + figures(about, machine, tables, verdicts) + after)
    folder = page.with_suffix("")
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    for table in tables:
        folder.joinpath(f"{table.case.name}.svg").write_text(chart(table))
