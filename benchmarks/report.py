# SPDX-License-Identifier: Apache-2.0
"""Writes the results as tables, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from .marks import Verdict
from .runner import Results
from .summary import Row, Table, ratio

HEADER = (
    "contender",
    "per second",
    "× fio",
    "× best peer",
    "CPU µs",
    "× fio",
    "× best peer",
    "median µs",
    "99.9 % µs",
    "beat late µs",
)
VALUES = {
    "rate": "operations per second, ×",
    "cpu": "processor time per operation, ×",
    "p99": "µs for 99 of 100 operations, beside",
    "more": "µs of processor time per operation, more than",
    "beat": "µs that a beat is late, beside",
    "later": "µs that a beat is late, more than",
    "each": "µs in which one operation is done, beside",
    "waits": "waits of the loop's thread in 1,000 operations, beside",
    "longest": "µs of the longest step that waited, beside",
}


def number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def short(error: str) -> str:
    return error if len(error) <= 60 else error[:59] + "…"


def cells(table: Table, row: Row) -> tuple[str, ...]:
    if row.error:
        return (row.label, f"fails: {short(row.error)}", *[""] * (len(HEADER) - 2))
    fio, peer, thrifty = table.fio(), table.best_peer(), table.thriftiest_peer()
    return (
        row.label,
        number(row.rate),
        number(ratio(row.rate, fio.rate if fio else None), 2),
        number(ratio(row.rate, peer.rate if peer else None), 2),
        number(row.cpu, 2),
        number(ratio(row.cpu, fio.cpu if fio else None), 2),
        number(ratio(row.cpu, thrifty.cpu if thrifty else None), 2),
        number(row.latency_median, 1),
        number(row.latency_999, 1),
        number(row.heartbeat_999),
    )


def grid(header: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> list[str]:
    """Format columns for a terminal. An error message takes the rest of its line."""
    rows = [header, *lines]
    widths = [
        max(len(row[i]) for row in rows if not row[1].startswith("fails"))
        for i in range(len(header))
    ]
    widths[0] = max(len(row[0]) for row in rows)
    text = []
    for row in rows:
        if row[1].startswith("fails"):
            text.append(f"{row[0]:<{widths[0]}}  {row[1]}")
        else:
            rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
            text.append("  ".join((f"{row[0]:<{widths[0]}}", *rest)))
    return text


def verdict_cells(verdict: Verdict) -> tuple[str, ...]:
    mark = verdict.mark
    bound = "at least" if mark.value == "rate" else "at most"
    return (
        f"{mark.case}: {verdict.own.label}",
        f"{VALUES[mark.value]} {verdict.other.label}",
        f"{verdict.measured:.2f}",
        f"{bound} {mark.wanted:.2f}",
        "yes" if verdict.reached else "no",
    )


VERDICT_HEADER = ("what", "measured by", "measured", "wanted", "reached")


def text(tables: list[Table], verdicts: list[Verdict]) -> str:
    lines: list[str] = []
    for table in tables:
        lines += [f"{table.case.name}: {table.case.title}", ""]
        lines += grid(HEADER, (cells(table, row) for row in table.rows))
        lines += [""]
        lines += [f"  {row.command}" for row in table.rows if row.command]
        lines += [""]
    if verdicts:
        lines += ["What is aimed at", ""]
        lines += grid(VERDICT_HEADER, map(verdict_cells, verdicts))
    return "\n".join(lines)


def as_json(
    about: dict[str, str], machine: dict[str, str], tables: list[Table], results: Results
) -> dict[str, Any]:
    return {
        "run": about,
        "machine": machine,
        "cases": [asdict(table.case) for table in tables],
        "medians": {
            table.case.name: {row.contender: asdict(row) for row in table.rows} for table in tables
        },
        "samples": [
            {"case": case, "contender": contender, "round": number, **asdict(sample)}
            for (case, contender), samples in results.samples.items()
            for number, sample in enumerate(samples)
        ],
    }
