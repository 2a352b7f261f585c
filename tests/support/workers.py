# SPDX-License-Identifier: Apache-2.0
"""Threads whose end a test waits for, with a time limit."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

PATIENCE = 60.0  # seconds, on a machine that is very busy


def start(
    function: Callable[Parameters, Result],
    *arguments: Parameters.args,
    **keywords: Parameters.kwargs,
) -> Future[Result]:
    """Run the function in a thread of its own.

    It is a daemon thread: if it hangs, its test fails, but the test run can still end.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(function(*arguments, **keywords))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def finish(*futures: Future[Any]) -> list[Any]:
    """Return what the functions returned. Fail if one raised, or still runs after a while."""
    _, hanging = wait(futures, timeout=PATIENCE)
    assert not hanging, f"{len(hanging)} of {len(futures)} threads hang:\n{_all_stacks()}"
    return [future.result() for future in futures]


@contextmanager
def beside(work: Callable[[threading.Event], object]) -> Iterator[None]:
    """During the block, run it in another thread. It is to end when the event is set."""
    over = threading.Event()
    thread = threading.Thread(target=work, args=(over,))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def stays_blocked(future: Future[Any], seconds: float = 0.05) -> bool:
    """Whether the function has not ended after so many seconds."""
    return not wait([future], timeout=seconds).done


def _all_stacks() -> str:
    stacks = sys._current_frames().values()
    return "\n".join("".join(traceback.format_stack(frame)) for frame in stacks)
