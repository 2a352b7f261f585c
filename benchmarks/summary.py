# SPDX-License-Identifier: Apache-2.0
"""Computes medians, and compares them with fio's and the best peer's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from .contenders import ENTRIES
from .model import Case, Sample
from .runner import Results


@dataclass(frozen=True)
class Row:
    """A contender's medians in a case. None: not measured."""

    contender: str
    label: str
    rate: float | None = None
    cpu: float | None = None
    latency_median: float | None = None
    latency_99: float | None = None
    latency_999: float | None = None
    heartbeat_999: float | None = None
    waits: float | None = None
    longest_wait: float | None = None
    error: str | None = None
    command: str | None = None


def median_of(samples: list[Sample], value: Callable[[Sample], float | None]) -> float | None:
    values = [number for sample in samples if (number := value(sample)) is not None]
    return median(values) if values else None


def row(contender: str, samples: list[Sample]) -> Row:
    label = ENTRIES[contender].label
    for sample in samples:
        if sample.error:
            return Row(contender, label, error=sample.error)
    if contender == "idle":
        late = median_of(samples, lambda sample: sample.heartbeat_999)
        return Row(contender, label, heartbeat_999=late)
    return Row(
        contender,
        label,
        median_of(samples, lambda sample: sample.rate),
        median_of(samples, lambda sample: sample.cpu_each),
        median_of(samples, lambda sample: sample.latency_median),
        median_of(samples, lambda sample: sample.latency_99),
        median_of(samples, lambda sample: sample.latency_999),
        median_of(samples, lambda sample: sample.heartbeat_999),
        median_of(samples, lambda sample: sample.waits),
        median_of(samples, lambda sample: sample.longest_wait),
        command=samples[0].command if samples else None,
    )


def ratio(value: float | None, other: float | None) -> float | None:
    return value / other if value is not None and other else None


@dataclass(frozen=True)
class Table:
    case: Case
    rows: list[Row]

    def row(self, contender: str) -> Row | None:
        return next((row for row in self.rows if row.contender == contender), None)

    def fio(self) -> Row | None:
        return self.row("fio-libaio")

    def best_peer(self) -> Row | None:
        """The peer with the most operations per second."""
        peers = [row for row in self.rows if ENTRIES[row.contender].peer and row.rate]
        return max(peers, key=lambda row: row.rate or 0.0, default=None)

    def thriftiest_peer(self) -> Row | None:
        peers = [row for row in self.rows if ENTRIES[row.contender].peer and row.cpu]
        return min(peers, key=lambda row: row.cpu or 0.0, default=None)


def tables(cases: list[Case], results: Results) -> list[Table]:
    return [
        Table(
            case,
            [
                row(contender, results.samples[case.name, contender])
                for contender in case.contenders
                if (case.name, contender) in results.samples
            ],
        )
        for case in cases
    ]
