# SPDX-License-Identifier: Apache-2.0
"""Everything at once for as long as it is told; exit status 1 if anything is not as it should."""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path
from random import Random

from soak.batches import (
    close_numbers_in_flight,
    end_threads_with_work_in_flight,
    share_a_context,
)
from soak.coming_and_going import collect_garbage, fork, make_and_drop_contexts
from soak.gauges import Reading, complaints, read_gauges
from soak.loops import work_in_a_loop
from soak.round import Round
from soak.trouble import fill_a_disk, use_a_failing_disk
from support.engines import available_engines
from support.fusefs import HoldingFS, fs_available, mounted
from support.mounts import tmpfs_mount, tmpfs_mount_reason
from support.workers import start

WORK: list[Callable[[Round], None]] = [
    work_in_a_loop,
    share_a_context,
    close_numbers_in_flight,
    end_threads_with_work_in_flight,
    fill_a_disk,
    use_a_failing_disk,
    make_and_drop_contexts,
    fork,
    collect_garbage,
]

ROUND = 8.0  # seconds
HANGS = 180.0  # seconds beyond its end that no round takes


def perform(work: Round) -> list[str]:
    """One round; what went wrong in it."""
    threads: dict[str, Future[None]] = {each.__name__: start(each, work) for each in WORK}
    hanging = wait(threads.values(), timeout=work.seconds + HANGS).not_done
    if hanging:
        faulthandler.dump_traceback(all_threads=True)
    found = []
    for name, thread in threads.items():
        if thread in hanging:
            found.append(f"{name} hangs")
        elif (error := thread.exception()) is not None:
            found.append(f"{name}: " + "".join(traceback.format_exception(error)))
    return found


def soak(
    options: argparse.Namespace, folder: Path, fuse: HoldingFS | None, small: Path | None
) -> tuple[Counter[str], list[Reading], list[str]]:
    """Rounds until the time is over or something is wrong."""
    chance = Random(options.seed)
    figures: Counter[str] = Counter()
    end = time.monotonic() + options.minutes * 60
    readings: list[Reading] = []
    found: list[str] = []
    while not found and (time.monotonic() < end or not readings):
        seconds = min(ROUND, max(1.0, end - time.monotonic()))
        work = Round(chance.getrandbits(32), seconds, options.engine, folder, small, fuse)
        found = perform(work)
        figures += work.figures
        readings.append(read_gauges())
        found += complaints(readings)
        print(
            f"round {len(readings)}: {sum(figures.values())} things done, "
            f"{figures['reads checked']} reads checked; at rest {readings[-1]}",
            flush=True,
        )
    return figures, readings, found


def main() -> int:
    """Set the stage, soak, and sum up."""
    parser = argparse.ArgumentParser(prog="./dev soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--engine", action="append", help="may be repeated (default: all)")
    options = parser.parse_args()
    options.engine = options.engine or available_engines()
    warnings.simplefilter("ignore", ResourceWarning)  # contexts are dropped on purpose
    warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork")
    unraised: list[str] = []
    sys.unraisablehook = lambda what: unraised.append(f"ignored: {what.exc_value!r}")
    print(f"--seed {options.seed}, engines {', '.join(options.engine)}", flush=True)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fuse = small = None
        if (reason := fs_available()) is None:
            fuse = stack.enter_context(mounted(folder))
        else:
            print(f"without failing disks: {reason}")
        if (reason := tmpfs_mount_reason()) is None:
            small = stack.enter_context(tmpfs_mount(folder / "small", 512))
        else:
            print(f"without full disks: {reason}")
        figures, readings, found = soak(options, folder, fuse, small)
    for name, figure in sorted(figures.items()):
        print(f"{figure:12,d} {name}")
    print(f"at first, at rest: {readings[0]}\nat the end:        {readings[-1]}")
    found += unraised
    print(*found, sep="\n")
    print("FAILED" if found else "nothing was wrong")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
