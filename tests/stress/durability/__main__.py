# SPDX-License-Identifier: Apache-2.0
"""Many cuts, over all engines, ways to sync, layouts and ways to wait; and the control."""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

from durability.cuts import LAYOUTS, SYNCS, WAYS, Cut, Sync, perform
from support.engines import available_engines
from support.fusefs import fs_available

AT_ONCE = 4  # cuts: much of each is waiting


def cuts(engines: list[str], syncs: tuple[Sync, ...], seed: int) -> Iterator[Cut]:
    """Without end, all combinations in turn."""
    chance = Random(seed)
    combinations = list(itertools.product(engines, syncs, LAYOUTS, WAYS))
    while True:
        chance.shuffle(combinations)
        for engine, sync, layout, way in combinations:
            yield Cut(engine, sync, layout, way, chance.getrandbits(31))


def run(chosen: list[Cut], folder: Path) -> tuple[Counter[str], list[str]]:
    """Figures, and a line for each cut that was not survived."""
    figures: Counter[str] = Counter()
    complaints = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        accounts = pool.map(lambda cut: perform(cut, folder), chosen)
        for cut, account in zip(chosen, accounts, strict=True):
            figures["cuts"] += 1
            figures[f"cuts with {cut.engine}"] += 1
            figures["records acknowledged"] += account.acknowledged
            figures["records lost"] += len(account.lost)
            figures["cuts that lost records"] += bool(account.lost)
            figures["records unfinished"] += account.unfinished
            if account.wrong or account.complaint or (account.lost and cut.sync != "none"):
                complaints.append(f"{cut}: {account}")
            if figures["cuts"] % 50 == 0:
                print(f"{figures['cuts']} of {len(chosen)} cuts", flush=True)
    return figures, complaints


def show(title: str, figures: Counter[str]) -> None:
    print(f"{title}:", *(f"{figure:8d} {name}" for name, figure in figures.items()), sep="\n")


def main() -> int:
    """Exit status 1 if anything was lost that should not be, or the control lost nothing."""
    parser = argparse.ArgumentParser(prog="./dev durability", description=__doc__)
    parser.add_argument("--cuts", type=int, default=300)
    parser.add_argument("--control", type=int, default=20, help="cuts without any sync")
    parser.add_argument("--engine", action="append", help="may be repeated (default: all)")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    options = parser.parse_args()
    if (reason := fs_available()) is not None:
        print(f"not possible here: {reason}", file=sys.stderr)
        return 1
    engines = options.engine or available_engines()
    print(f"engines {', '.join(engines)}; --seed {options.seed}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        synced = list(itertools.islice(cuts(engines, SYNCS, options.seed), options.cuts))
        figures, complaints = run(synced, folder)
        without = list(itertools.islice(cuts(engines, ("none",), options.seed), options.control))
        control, more_complaints = run(without, folder)
    show("with a sync", figures)
    show("the control, without", control)
    if without and not control["records lost"]:
        complaints.append("the control lost nothing: so this proves nothing")
    complaints += more_complaints
    print(*complaints, sep="\n")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
