# SPDX-License-Identifier: Apache-2.0
"""Runs all turns, round by round, each in a separate process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from . import files, grounds
from .model import Access, Case, Content, Ground, Job, Sample, Storage


class Progress:
    """A line that shows the progress, on terminals only."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._started = time.monotonic()
        self._shown = sys.stderr.isatty() and os.environ.get("CI") != "true"

    def show(self, what: str) -> None:
        if self._shown:
            left = ""
            if self._done > 2:
                seconds = (time.monotonic() - self._started) / self._done
                left = f", about {seconds * (self._total - self._done):.0f} s left"
            line = f"[{self._done}/{self._total}{left}] {what}"
            print(f"\r\x1b[K{line[:99]}", end="", file=sys.stderr, flush=True)
        self._done += 1

    def end(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


@dataclass
class Results:
    """All samples, by case and contender, in the order of rounds."""

    samples: dict[tuple[str, str], list[Sample]] = field(default_factory=dict)
    rounds: int = 0

    def add(self, case: str, contender: str, sample: Sample) -> None:
        self.samples.setdefault((case, contender), []).append(sample)


# What distinguishes the files. Cases with the same key share a file.
Key = tuple[bool, Content, int, Ground]


def key_of(case: Case) -> Key:
    return case.storage is Storage.MEMORY, case.content, files.size_of(case), case.ground


@contextmanager
def all_files(cases: Iterable[Case], memory: Path, disk: Path) -> Iterator[dict[Key, str]]:
    """Make the files that the cases need, and remove them. What can't be made here is left out."""
    disk.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        in_memory = stack.enter_context(TemporaryDirectory(dir=memory))
        on_disk = stack.enter_context(TemporaryDirectory(dir=disk))
        paths: dict[Key, str] = {}
        for key in sorted(set(map(key_of, cases))):
            is_in_memory, content, size, ground = key
            if ground is not Ground.PLAIN:
                try:
                    made = grounds.made(ground, Path(on_disk), size)
                    paths[key] = str(stack.enter_context(made))
                except grounds.UnavailableError as error:
                    print(f"left out: {ground}: {error}")
                continue
            path = Path(in_memory if is_in_memory else on_disk, f"{content}-{size}")
            files.make(path, size, content)
            paths[key] = str(path)
        yield paths


def take_turn(job: Job) -> Sample:
    command = [sys.executable, "-P", "-m", "benchmarks.worker", json.dumps(asdict(job))]
    try:
        done = subprocess.run(
            command, capture_output=True, check=False, text=True, timeout=120 + 10 * job.seconds
        )
    except subprocess.TimeoutExpired:
        return Sample(error="it did not come to an end")
    if done.returncode or not done.stdout:
        message = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        return Sample(error=f"it died: {message}")
    return Sample(**json.loads(done.stdout.splitlines()[-1]))


def run(
    cases: list[Case],
    paths: dict[Key, str],
    rounds: int,
    seconds: float,
    budget: float | None = None,
) -> Results:
    """Run the rounds: each has one turn of every contender, so that its samples lie far apart.

    A round that would exceed the budget, in seconds, is not begun, except the first.
    """
    started = time.monotonic()
    results = Results()
    progress = Progress(rounds * sum(len(case.contenders) for case in cases))
    for number in range(rounds):
        if number and budget and (time.monotonic() - started) * (number + 1) / number > budget:
            break
        results.rounds += 1
        for case in cases:
            if key_of(case) not in paths:
                continue
            path = paths[key_of(case)]
            is_cached = case.storage is Storage.CACHED
            needs_memory = case.access is Access.WHOLE
            if needs_memory:
                files.free_memory()
            if is_cached:
                files.warm(path)
            # reverse the order in every other round, so that neighbours change
            turns = case.contenders if number % 2 == 0 else case.contenders[::-1]
            for contender in turns:
                progress.show(f"{case.title}: {contender}")
                earlier = results.samples.get((case.name, contender), [])
                if any(sample.error for sample in earlier):
                    continue  # it can't
                if needs_memory:
                    files.touch_memory(2 * os.path.getsize(path))
                job = Job(case, contender, number, path, seconds * case.longer)
                results.add(case.name, contender, take_turn(job))
    progress.end()
    return results
