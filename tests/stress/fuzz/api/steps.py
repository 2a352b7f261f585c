# SPDX-License-Identifier: Apache-2.0
"""All that a program may do without an event loop, and how often. Each step checks what it sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from fuzz.api.collecting import (
    ask,
    ask_all,
    cancel,
    check,
    collect,
    open_a_gate,
    read_a_signal,
    watch_the_context,
)
from fuzz.api.faulting import inject, stop_faults
from fuzz.api.leaving import (
    close_a_context,
    collect_garbage,
    drop,
    drop_a_context,
    fork,
    open_a_context,
)
from fuzz.api.machine import Machine
from fuzz.api.misusing import misuse
from fuzz.api.submitting import submit_again, submit_new_ones, submit_to_a_bad_number

Step: TypeAlias = Callable[[Machine], None]

STEPS: dict[Step, int] = {
    submit_new_ones: 30,
    submit_again: 12,
    collect: 20,
    ask: 8,
    ask_all: 5,
    cancel: 6,
    open_a_gate: 5,
    drop: 3,
    collect_garbage: 1,
    open_a_context: 2,
    close_a_context: 1,
    drop_a_context: 1,
    read_a_signal: 4,
    check: 6,
    watch_the_context: 1,
    misuse: 3,
    submit_to_a_bad_number: 2,
    inject: 3,
    stop_faults: 3,
}
RARE: dict[Step, int] = {fork: 1}
