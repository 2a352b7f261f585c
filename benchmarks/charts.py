# SPDX-License-Identifier: Apache-2.0
"""Draws a case in SVG: bars for operations per second, and for processor time."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from .contenders import ENTRIES
from .report import number
from .summary import Row, Table

LABELS, BARS, NUMBERS, GAP = 230, 200, 70, 20
WIDTH = LABELS + 2 * (BARS + NUMBERS + GAP)
LINE, TOP = 22, 64


def colour(contender: str) -> str:
    entry = ENTRIES[contender]
    if entry.own:
        return "#1f6feb"
    return "#8b949e" if entry.peer else "#d29922"


def panel(left: int, rows: list[Row], value: Callable[[Row], float | None], digits: int) -> str:
    largest = max((value(row) or 0.0 for row in rows), default=0.0) or 1.0
    parts = []
    for line, row in enumerate(rows):
        amount = value(row)
        top = TOP + line * LINE
        if amount is None:
            parts.append(f'<text x="{left}" y="{top + 14}" class="dim">fails</text>')
            continue
        width = max(1.0, amount / largest * BARS)
        parts.append(
            f'<rect x="{left}" y="{top + 3}" width="{width:.1f}" height="{LINE - 7}" '
            f'fill="{colour(row.contender)}"/>'
            f'<text x="{left + width + 5:.1f}" y="{top + 14}">{number(amount, digits)}</text>'
        )
    return "\n".join(parts)


def chart(table: Table) -> str:
    rows = [row for row in table.rows if row.contender != "idle"]
    height = TOP + len(rows) * LINE + 12
    second = LABELS + BARS + NUMBERS + GAP
    labels = "\n".join(
        f'<text x="{LABELS - 8}" y="{TOP + line * LINE + 14}" text-anchor="end">'
        f"{escape(row.label)}</text>"
        for line, row in enumerate(rows)
    )
    title = escape(table.case.title)
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img">
<title>{title}</title>
<style>text {{ font: 12px sans-serif; fill: #24292f; }}
.head {{ font-weight: bold; }} .dim {{ fill: #8b949e; }}</style>
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="10" y="22" class="head">{title}</text>
<text x="{LABELS}" y="48">operations per second: more is better</text>
<text x="{second}" y="48">processor time for each, µs: less is better</text>
{labels}
{panel(LABELS, rows, lambda row: row.rate, 0)}
{panel(second, rows, lambda row: row.cpu, 1)}
</svg>
"""
