# SPDX-License-Identifier: Apache-2.0
"""The command: ./dev bench."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from . import document, machine, readme, report, runner
from .cases import all_cases
from .marks import verdicts
from .model import Case
from .summary import tables

TOP = Path(__file__).parent.parent
QUICK_ROUNDS, QUICK_SECONDS = 3, 0.1
QUICK_BUDGET = 140.0
FULL_ROUNDS, FULL_SECONDS = 5, 1.0


def arguments(cases: list[Case]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev bench",
        description="Measure linux_aio, fio and what else Python programs read files with.",
        epilog="Cases: " + ", ".join(case.name for case in cases),
    )
    parser.add_argument("--quick", action="store_true", help="some cases, two minutes (default)")
    parser.add_argument("--full", action="store_true", help="all cases, most of an hour")
    parser.add_argument(
        "--case",
        action="append",
        metavar="NAME",
        choices=[case.name for case in cases],
        help="only this case; can be given more than once",
    )
    parser.add_argument("--rounds", type=int, help="turns of each contender")
    parser.add_argument("--seconds", type=float, help="how long a phase of a turn takes")
    parser.add_argument("--json", type=Path, metavar="PATH", help="where every sample goes")
    parser.add_argument(
        "--memory", type=Path, metavar="FOLDER", default=Path("/dev/shm"), help="a tmpfs"
    )
    parser.add_argument(
        "--disk", type=Path, metavar="FOLDER", default=TOP / "build", help="on the disk to measure"
    )
    parser.add_argument(
        "--docs", action="store_true", help="put figures into docs/benchmarks.rst and README.rst"
    )
    return parser.parse_args()


def main() -> int:
    cases = all_cases()
    options = arguments(cases)
    full = options.full and not options.quick
    chosen = [
        case
        for case in cases
        if (case.name in options.case if options.case else full or case.quick)
    ]
    rounds = options.rounds or (FULL_ROUNDS if full else QUICK_ROUNDS)
    seconds = options.seconds or (FULL_SECONDS if full else QUICK_SECONDS)
    options.disk.mkdir(parents=True, exist_ok=True)
    words = ["./dev bench", "--full" if full else "--quick"]
    words += [f"--case {name}" for name in options.case or ()]
    about = {
        "command": " ".join(words),
        "date": time.strftime("%Y-%m-%d"),
        "rounds": str(rounds),
        "seconds": str(seconds),
    }
    described = machine.describe(options.memory, options.disk)
    for name, text in described.items():
        print(f"{name}: {text}")
    print(flush=True)
    with runner.all_files(chosen, options.memory, options.disk) as paths:
        quick = not (full or options.case or options.rounds)
        budget = QUICK_BUDGET if quick else None
        results = runner.run(chosen, paths, rounds, seconds, budget)
    about["rounds"] = str(results.rounds)
    summary = tables(chosen, results)
    reached = verdicts(summary)
    print(report.text(summary, reached))
    if options.json:
        content = report.as_json(about, described, summary, results)
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    if options.docs:
        document.write(TOP / "docs" / "benchmarks.rst", about, described, summary, reached)
        readme.write(TOP / "README.rst", summary)
    return 0


if __name__ == "__main__":
    sys.exit(main())
