# SPDX-License-Identifier: Apache-2.0
"""Child processes, made by fork(2), that call a function, report its result, and end."""

from __future__ import annotations

import ctypes
import os
import pickle
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar

import pytest

from support.hangs import hangs_in_a_sanitizer, stacks_of, tell_when_asked, waits_of
from support.workers import PATIENCE

Result = TypeVar("Result")


class Child(NamedTuple, Generic[Result]):
    """A child process, and the descriptor of its report."""

    pid: int
    report: int


def in_child(function: Callable[[], Result]) -> Result:
    """Call the function in a child process, and return its result, which must be picklable."""
    return report_of(start_child(function))


def give_up_root() -> None:
    """In a child that runs as root: go on as nobody, for whom the modes of files hold."""
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)


def start_child(function: Callable[[], Result]) -> Child[Result]:
    """Run the function in a child, where warnings are errors and no error is ignored."""
    read_end, write_end = os.pipe()
    pid = fork()
    if pid == 0:
        _be_child(function, write_end)
    os.close(write_end)
    return Child(pid, read_end)


def report_of(child: Child[Result], patience: float = PATIENCE) -> Result:
    """Return the function's result. Fail if it raised, ignored an exception, or hangs."""
    try:
        report = _receive(child.report, patience)
        if report is None:
            _fail_for_hanging(child)
    finally:
        os.close(child.report)
        os.kill(child.pid, signal.SIGKILL)
        _, status = os.waitpid(child.pid, 0)
    assert report, f"the child ended without a report, wait status {status:#x}"
    result: Result
    result, complaints = pickle.loads(report)
    assert not complaints, "in the child: " + "\n".join(complaints)
    return result


def _fail_for_hanging(child: Child[Any]) -> NoReturn:
    waits = waits_of(child.pid)
    if hangs_in_a_sanitizer(waits):
        pytest.skip("a sanitizer hangs in a child")
    pytest.fail("\n".join(["the child hangs", *waits, stacks_of(child.pid, child.report)]))


def fork() -> int:
    """Call os.fork() although there are other threads."""
    with warnings.catch_warnings():
        # Python 3.12 warns of a fork with other threads, which is what these tests need.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _be_child(function: Callable[[], object], report: int) -> NoReturn:
    result: object = None
    complaints: list[str] = []
    try:
        tell_when_asked(report)
        sys.unraisablehook = lambda ignored: complaints.append(f"ignored {ignored.exc_value!r}")
        warnings.simplefilter("error")
        result = function()
    except BaseException:
        complaints.append(traceback.format_exc())
    finally:
        os.write(report, pickle.dumps((result, complaints)))
        _leave()


def _leave() -> NoReturn:
    if os.environ.get("LINUX_AIO_COVERAGE"):
        ctypes.CDLL(None).exit(0)  # exit(3) writes the coverage data of C++, too
    os._exit(0)


def _receive(fd: int, patience: float) -> bytes | None:
    """What comes until the end, or None if that does not come in so many seconds."""
    deadline = time.monotonic() + patience
    report = b""
    while select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
        data = os.read(fd, 1 << 16)
        if not data:
            return report
        report += data
    return None
