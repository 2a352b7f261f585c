# SPDX-License-Identifier: Apache-2.0
"""The engine that this test run uses, the engines that work here, and how they differ."""

from __future__ import annotations

import os

import pytest

from linux_aio import engines

# The engine of AIOContext(). Tests of one engine set it for their duration (conftest.py).
ENGINE = os.environ.get("LINUX_AIO_ENGINE") or "auto"

# Requests to files in memory have completed when submit() returns.
ENDS_AT_ONCE = ENGINE in {"auto", "aio"}

# Parameters of a fixture, which sets LINUX_AIO_USER_RING=0 for "system calls".
WAYS_OF_REAPING = [
    "ring",
    pytest.param("system calls", marks=pytest.mark.engine("aio", "auto")),
]


def available_engines() -> list[str]:
    """The names of the engines that work on this machine."""
    return [name for name, state in engines().items() if state == "available"]
