# SPDX-License-Identifier: Apache-2.0
"""Operations from submission to result, as tests use them that are about something else."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from support.workers import PATIENCE

if TYPE_CHECKING:
    from linux_aio import AIOContext, AIOOperation, EventFD


def perform(context: AIOContext, operation: AIOOperation) -> Any:
    """Submit, wait, and give the result or raise the error, whichever call learns of it."""
    assert operation.submit(context) == 1
    while not operation.done:
        context.getevents()
    return operation.get_result()


def wait_done(*operations: AIOOperation) -> None:
    """Wait until all have completed; they can still be collected then."""
    deadline = time.monotonic() + PATIENCE
    while not all(operation.done for operation in operations):
        assert time.monotonic() < deadline, f"not done: {operations}"
        time.sleep(0.0005)


def wait_idle(context: AIOContext) -> None:
    """Wait until nothing is in flight."""
    deadline = time.monotonic() + PATIENCE
    while context.in_flight != 0:
        assert time.monotonic() < deadline, f"{context.in_flight} in flight"
        time.sleep(0.0005)


def signals(eventfd: EventFD, count: int) -> int:
    """What it says once so many signals have arrived, which may come one by one."""
    seen = 0
    while seen < count:
        seen += eventfd.read()
    return seen


@contextlib.contextmanager
def in_flight_elsewhere(
    context: AIOContext, operation: AIOOperation, write_end: int
) -> Iterator[None]:
    """In flight inside the block: a read of an empty pipe, which gets a byte at the block's end.

    Kernel AIO waits for it in io_submit(2), so another thread submits it.
    """
    before = context.in_flight
    submitter = threading.Thread(target=operation.submit, args=(context,))
    submitter.start()
    try:
        while context.in_flight == before:
            time.sleep(0.001)
        yield
    finally:
        os.write(write_end, b"!")
        submitter.join()
        wait_done(operation)
