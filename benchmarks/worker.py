# SPDX-License-Identifier: Apache-2.0
"""A process for one turn: python -m benchmarks.worker JOB. It prints the sample."""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import asdict
from typing import Any

from . import contenders, grounds
from .drive import drive
from .model import Access, Case, Content, Ground, Job, Sample, Storage


def parse(text: str) -> Job:
    job: dict[str, Any] = json.loads(text)
    case = job.pop("case")
    case["contenders"] = tuple(case["contenders"])
    case["storage"] = Storage(case["storage"])
    case["access"] = Access(case["access"])
    case["content"] = Content(case["content"])
    case["ground"] = Ground(case["ground"])
    return Job(case=Case(**case), **job)


def compute(stop: threading.Event) -> None:
    while not stop.is_set():
        total = 0
        for number in range(10_000):
            total += number * number


def describe(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}".strip()


def run(job: Job) -> Sample:
    stop = threading.Event()
    if job.case.beside and not job.contender.startswith("fio"):
        threading.Thread(target=compute, args=(stop,), daemon=True).start()
    try:
        with grounds.held_back(job.case.ground, job.path):
            return drive(contenders.make(job.contender, job.case, job.path), job)
    except Exception as error:  # any error is the result
        return Sample(error=describe(error))
    finally:
        stop.set()


if __name__ == "__main__":
    print(json.dumps(asdict(run(parse(sys.argv[1])))), flush=True)
