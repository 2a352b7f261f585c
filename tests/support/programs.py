# SPDX-License-Identifier: Apache-2.0
"""Runs Python programs in separate processes, where they can crash and end."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Collection
from pathlib import Path

from support.workers import PATIENCE

_TESTS = Path(__file__).resolve().parent.parent


def start_program(
    source: str, *arguments: object, pass_fds: Collection[int] = ()
) -> subprocess.Popen[str]:
    """Run the source with these arguments; it can import what the tests can."""
    return subprocess.Popen(
        [sys.executable, "-P", "-X", "faulthandler", "-c", textwrap.dedent(source)]
        + [str(argument) for argument in arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(_TESTS), *filter(None, sys.path)])},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=pass_fds,
    )


def line_of(program: subprocess.Popen[str]) -> str:
    """Return the next line that the program prints. Fail if it hangs or has ended."""
    assert program.stdout is not None
    watchdog = threading.Timer(PATIENCE, program.kill)
    watchdog.start()
    try:
        line = program.stdout.readline()
    finally:
        watchdog.cancel()
        watchdog.join()
    if not line:
        _, complaints = program.communicate()
        raise AssertionError(
            f"it printed nothing, and ended with {program.returncode}:\n{complaints}"
        )
    return line.rstrip("\n")


def end_of(program: subprocess.Popen[str]) -> str:
    """Return what the program printed. Fail if it crashed, hangs, or wrote to stderr."""
    try:
        output, complaints = program.communicate(timeout=PATIENCE)
    finally:
        program.kill()  # if it hangs
        program.wait()
    assert program.returncode == 0, f"it ended with {program.returncode}:\n{complaints}"
    assert not complaints, f"it complained:\n{complaints}"
    return output


def run_program(source: str, *arguments: object) -> str:
    """Run the program and return what it prints. Fail as end_of() does."""
    return end_of(start_program(source, *arguments))
