# SPDX-License-Identifier: Apache-2.0
"""Runs programs, one after the other, in a process that may crash: what `__main__` starts."""

from __future__ import annotations

import gc
import itertools
import json
import os
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable
from random import Random

from fuzz.api.folder import Folder
from fuzz.api.machine import Machine
from fuzz.api.steps import RARE, STEPS, Step
from fuzz.api.tasks import run_a_loop, warm_up
from support.measure import mapped_rings, open_fds


def perform(seed: int, number: int, folder: Folder, engines: list[str]) -> Counter[str]:
    """One program. What it finds is an exception."""
    chance = Random(f"{seed}:{number}")
    machine = Machine(chance, folder, engines)
    gc.collect()
    before = open_fds()
    try:
        machine.open()
        for step in chosen_steps(chance):
            step(machine)
            machine.figures["steps"] += 1
        machine.close()
    finally:
        machine.release()
    figures = machine.figures
    del machine
    gc.collect()
    left = {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in open_fds() - before}
    assert not left, f"left open: {left}"
    assert open_fds() == before, f"descriptors {before - open_fds()} were closed"
    deadline = time.monotonic() + 30
    while mapped_rings() != 0:  # a thread of linux_aio's destroys them
        assert time.monotonic() < deadline
        time.sleep(0.001)
    figures["programs"] += 1
    return figures


def chosen_steps(chance: Random) -> list[Step]:
    """Some or many, of all kinds; each program with likings of its own."""
    weights: dict[Step, float] = {step: weight * chance.random() for step, weight in STEPS.items()}
    if chance.random() < 0.5:
        weights[run_a_loop] = 10 * chance.random()
    if chance.random() < 0.1:
        weights |= RARE
    count = chance.choice([10, 50, 50, 200])
    return chance.choices(list(weights), list(weights.values()), k=count)


def run(seed: int, numbers: Iterable[int], seconds: float, engines: list[str]) -> int:
    """Programs until the time is over. Tells which it is at, then the figures."""
    warnings.simplefilter("ignore", ResourceWarning)  # of contexts that are dropped on purpose
    warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork")
    unraised: list[object] = []
    sys.unraisablehook = lambda what: unraised.append((what.exc_value, what.object))
    end = time.monotonic() + seconds
    figures: Counter[str] = Counter()
    warm_up()
    folder = Folder()
    try:
        for number in numbers:
            if time.monotonic() > end:
                break
            print(number, flush=True)
            figures += perform(seed, number, folder, engines)
            assert not unraised, unraised
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        folder.close()
    print(json.dumps(figures), flush=True)
    return 0


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    first, count = given["first"], given["count"]
    wanted = itertools.count(first) if count is None else range(first, first + count)
    sys.exit(run(given["seed"], wanted, given["seconds"], given["engines"]))
