# SPDX-License-Identifier: Apache-2.0
"""Comments that say why lines can't be run by a test: `not covered: <reason>`.

Behind code it is about that line and what is indented more behind it, as a block. On a line of its
own it is about what follows, to the end of the block that it stands in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MARK = re.compile(r"(?://|#) not covered: (\S.*)")


@dataclass(frozen=True)
class Reason:
    """A comment, and the lines that it explains; lines count from 1."""

    line: int
    text: str
    lines: frozenset[int]


def indentation(line: str) -> int:
    return len(line) - len(line.lstrip())


def reasons_in(source: str) -> list[Reason]:
    """All that a file has."""
    lines = source.splitlines()
    found = []
    for index, line in enumerate(lines):
        if (match := MARK.search(line)) is None:
            continue
        is_alone = not line[: match.start()].strip()
        margin = indentation(line) + (0 if is_alone else 1)
        end = index + 1
        while end < len(lines) and (not lines[end].strip() or indentation(lines[end]) >= margin):
            end += 1
        found.append(Reason(index + 1, match[1], frozenset(range(index + 1, end + 1))))
    return found


def unexplained(missed: set[int], reasons: list[Reason]) -> list[int]:
    """Lines that no test runs, and no comment speaks of."""
    return sorted(missed.difference(*(reason.lines for reason in reasons)))


def idle(executed: set[int], missed: set[int], reasons: list[Reason]) -> list[Reason]:
    """Comments about lines all of which some test does run."""
    return [reason for reason in reasons if reason.lines & executed and not reason.lines & missed]
