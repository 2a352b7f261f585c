# SPDX-License-Identifier: Apache-2.0
"""The engines that tests go through, the one that this run is for, and how they may differ."""

from __future__ import annotations

import os

import pytest

from linux_aio import engines

# What AIOContext() uses; a test that is about one engine has it for its time (conftest.py).
ENGINE = os.environ.get("LINUX_AIO_ENGINE") or "auto"

# Requests of files in memory are over when submit returns.
ENDS_AT_ONCE = ENGINE in {"auto", "aio"}

# For a fixture: with "system calls" it has LINUX_AIO_USER_RING=0 set.
WAYS_OF_REAPING = [
    "ring",
    pytest.param("system calls", marks=pytest.mark.engine("aio", "auto")),
]


def available_engines() -> list[str]:
    """The names of those that work here."""
    return [name for name, state in engines().items() if state == "available"]
