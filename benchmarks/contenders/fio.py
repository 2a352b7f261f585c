# SPDX-License-Identifier: Apache-2.0
"""fio, with the command line that suits it best."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from .. import files
from ..model import Access, Case, Job, Sample, Storage
from .base import External


class Fio(External):
    engine: str
    engine_options: tuple[str, ...] = ()

    def __init__(self, case: Case, path: str) -> None:
        self.case = case
        self.path = path

    def options(self, seconds: float, *, latencies: bool) -> list[str]:
        case = self.case
        whole = min(case.in_flight, 32)
        # Requests that complete at once are fastest in whole batches. A disk must be kept busy.
        batch, at_least = whole, whole
        if case.storage is Storage.DIRECT or case.storage.is_uncached:
            batch, at_least = min(whole, 8), 1
        if case.storage.is_uncached and self.engine == "libaio":
            batch = 1  # the kernel holds back the requests of a batch, and then waits
        kind = "write" if case.access is Access.WRITE else "read"
        options = [
            "--name=bench",
            f"--ioengine={self.engine}",
            f"--rw={kind if case.sequential else 'rand' + kind}",
            f"--bs={case.block}",
            f"--iodepth={case.in_flight}",
            f"--iodepth_batch_submit={batch}",
            f"--iodepth_batch_complete_min={at_least}",
            f"--iodepth_batch_complete_max={whole}",
            f"--direct={int(case.storage is Storage.DIRECT)}",
            f"--runtime={round(seconds * 1000)}ms",
            "--invalidate=0",
            "--randrepeat=0",
            "--scramble_buffers=0",
            *self.engine_options,
        ]
        if not case.sequential:
            options.append("--fadvise_hint=random")
        if not case.storage.is_uncached:
            options += ["--norandommap=1", "--time_based=1"]
        if latencies:
            options += ["--percentile_list=50:99.9", "--lat_percentiles=1"]
        else:
            options.append("--gtod_reduce=1")
        return options

    def fio(self, options: list[str]) -> dict[str, Any]:
        files.prepare(self.case, self.path)
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder, "output")
            command = ["fio", *options, f"--filename={self.path}"]
            done = subprocess.run(
                [*command, "--output-format=json", f"--output={output}"],
                check=False,
                capture_output=True,
                cwd=folder,
                text=True,
            )
            text = output.read_text() if output.exists() else ""
        if done.returncode:
            raise RuntimeError(f"fio: {(done.stderr or text).strip().splitlines()[-1:]}")
        job: dict[str, Any] = json.loads(text[text.index("{") :])["jobs"][0]
        if job["error"]:
            raise OSError(job["error"], "fio met an error")
        return job

    def measure(self, job: Job) -> Sample:
        kind = "write" if self.case.access is Access.WRITE else "read"
        options = self.options(job.seconds, latencies=False)
        result = self.fio(options)
        seconds = result[kind]["runtime"] / 1e3
        sample = Sample(
            operations=result[kind]["total_ios"],
            seconds=seconds,
            cpu=(result["usr_cpu"] + result["sys_cpu"]) / 100 * seconds * 1e6,
            command=" ".join(["fio", *options, "--filename=FILE"]),
        )
        if not self.case.beside:
            result = self.fio(self.options(job.seconds, latencies=True))
            latency = result[kind]["lat_ns"]["percentile"]
            sample.latency_median = latency["50.000000"] / 1e3
            sample.latency_999 = latency["99.900000"] / 1e3
        return sample


class LibAio(Fio):
    engine = "libaio"
    engine_options = ("--userspace_reap",)


class IoUring(Fio):
    engine = "io_uring"


class FioFile(LibAio):
    """All of the file, 1 MiB after 1 MiB, past the page cache."""

    def measure(self, job: Job) -> Sample:
        options = [
            "--name=bench",
            "--ioengine=libaio",
            "--rw=read",
            "--bs=1M",
            f"--iodepth={self.case.in_flight}",
            "--direct=1",
            "--invalidate=0",
            "--gtod_reduce=1",
            f"--size={files.size_of(self.case)}",
        ]
        files.use_up_bursts(self.path)
        result = self.fio(options)
        seconds = result["read"]["runtime"] / 1e3
        return Sample(
            operations=result["read"]["io_bytes"] // files.MIB,
            seconds=seconds,
            cpu=(result["usr_cpu"] + result["sys_cpu"]) / 100 * seconds * 1e6,
            command=" ".join(["fio", *options, "--filename=FILE"]),
        )
