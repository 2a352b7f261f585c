# SPDX-License-Identifier: Apache-2.0
"""Children that are waited for in vain say where they hang."""

from __future__ import annotations

import os
import threading

import pytest

from support.forked import in_child, report_of, start_child
from support.hangs import hangs_in_a_sanitizer


def wait_for_ever() -> None:
    threading.Event().wait()


def test_a_child_that_hangs_says_where() -> None:
    with pytest.raises(pytest.fail.Exception) as failure:
        report_of(start_child(wait_for_ever), patience=1.0)
    message = str(failure.value)
    assert "the child hangs" in message
    assert "in wait_for_ever" in message
    assert "system call 202" in message or "system call 240" in message  # futex(2)


def test_a_child_that_just_ends() -> None:
    with pytest.raises(AssertionError, match="without a report, wait status 0x700"):
        in_child(lambda: os._exit(7))


@pytest.mark.parametrize("library", ["libc.so.6", "libasan.so.8", "libtsan.so.2"])
def test_a_lock_of_a_sanitizer(library: str) -> None:
    waits = [f"thread 7: system call 202 from /usr/lib/{library}", "thread 8: running"]
    assert hangs_in_a_sanitizer(waits) == (library != "libc.so.6")
