# SPDX-License-Identifier: Apache-2.0
"""Random programs against the public API for as long as it is told."""

from __future__ import annotations

import argparse
import json
import selectors
import subprocess
import sys
import time
from collections import Counter

from support.engines import available_engines

HANGS = 75.0  # seconds that no program takes


def watch(worker: subprocess.Popen[str]) -> tuple[str, dict[str, int] | None]:
    """The number of the program that it was last at, and its figures if it got to the end."""
    assert worker.stdout is not None
    last = "none"
    with selectors.DefaultSelector() as selector:
        selector.register(worker.stdout, selectors.EVENT_READ)
        while selector.select(HANGS):
            line = worker.stdout.readline()
            if not line:
                worker.wait()
                return last, None
            if line.startswith("{"):
                worker.wait()
                return last, json.loads(line)
            last = line.strip()
    worker.send_signal(6)  # faulthandler tells where it was
    worker.wait()
    return f"{last} (it hung)", None


def main() -> int:
    """Exit status 1 if a program found something."""
    parser = argparse.ArgumentParser(prog="./dev fuzz api", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--first", type=int, default=0, help="the program to begin with")
    parser.add_argument("--count", type=int, help="how many programs")
    parser.add_argument("--engine", action="append", help="may be repeated (default: all)")
    options = parser.parse_args()
    options.engines = options.engine or available_engines()
    print(f"--seed {options.seed}, engines {', '.join(options.engines)}", flush=True)
    command = [sys.executable, "-P", "-X", "faulthandler", "-m", "fuzz.api.worker"]
    worker = subprocess.Popen(
        [*command, json.dumps(vars(options))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    last, figures = watch(worker)
    if figures is None or worker.returncode:
        print(f"program {last} found something, status {worker.returncode}; to see it again:")
        print(f"./dev fuzz api --seed {options.seed} --first {last.split()[0]} --count 1")
        return 1
    for name, figure in sorted(Counter(figures).items()):
        print(f"{figure:10d} {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
