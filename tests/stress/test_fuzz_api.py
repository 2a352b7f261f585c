# SPDX-License-Identifier: Apache-2.0
"""A few of the random programs of `./dev fuzz api`, which runs as many as there is time for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from support.engines import available_engines
from support.paths import STRESS

SEED = 20240401
PROGRAMS = 12


@pytest.mark.long
@pytest.mark.parametrize("engine", available_engines())
def test_random_programs(engine: str) -> None:
    command = [sys.executable, "-P", "-m", "fuzz.api", f"--seed={SEED}", f"--count={PROGRAMS}"]
    done = subprocess.run(
        [*command, "--seconds=240", f"--engine={engine}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), str(STRESS)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "programs" in done.stdout
