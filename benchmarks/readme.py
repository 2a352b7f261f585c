# SPDX-License-Identifier: Apache-2.0
"""Writes the chart in README.rst: a few rows of one case, as text, which any viewer shows."""

from __future__ import annotations

from pathlib import Path

from .summary import Table

CASE = "uncached-32"
BEGIN = ".. The picture: written by ./dev bench --docs, not by hand."
END = ".. The end of the picture."
LABELS = {
    "aio": "linux_aio",
    "aiofile": "aiofile",
    "caio-linux_uring": "caio, io_uring",
    "executor": "threads",
    "aiofiles": "aiofiles",
    "blocking": "blocking calls",
    "caio-linux_aio": "caio, kernel AIO",
    "anyio": "anyio",
}
WIDTH = 40

Bar = tuple[str, float, float | None]  # a name, reads per second, µs that the loop was late


def bars_of(table: Table) -> list[Bar]:
    bars = []
    for contender, label in LABELS.items():
        row = table.row(contender)
        if row is not None and row.rate:
            bars.append((label, row.rate, row.heartbeat_999))
    return sorted(bars, key=lambda bar: -bar[1])


def picture(bars: list[Bar]) -> str:
    """Return the chart as reStructuredText, without the markers."""
    most = max(rate for _, rate, _ in bars)
    lines = ["::", "", f"    {'':18}{'reads/s':>9}  loop late by"]
    for label, rate, late in bars:
        bar = "█" * max(1, round(WIDTH * rate / most))
        shown = f"{late / 1000:.1f} ms" if late is not None else "–"
        # the bar comes last: a narrow window cuts off the bar, not the figures
        lines.append(f"    {label:18}{rate:>9,.0f}  {shown:>12}  {bar}")
    return "\n".join(lines)


def write(page: Path, tables: list[Table]) -> None:
    """Put the case's picture into the page, if the case was measured."""
    for table in tables:
        if table.case.name == CASE and (bars := bars_of(table)):
            text = page.read_text(encoding="utf-8")
            before, _, rest = text.partition(BEGIN)
            after = rest.partition(END)[2]
            page.write_text(f"{before}{BEGIN}\n\n{picture(bars)}\n\n{END}{after}", encoding="utf-8")
