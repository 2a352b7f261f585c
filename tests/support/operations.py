# SPDX-License-Identifier: Apache-2.0
"""Short ways to carry out operations, for tests of something else."""

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
    """Submit the operation, wait for it, and return its result or raise its error."""
    assert operation.submit(context) == 1
    while not operation.done:
        context.getevents()
    return operation.get_result()


def wait_done(*operations: AIOOperation) -> None:
    """Wait until all have completed, without collecting them."""
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
    """Wait for `count` signals, which may come one by one; return how many came."""
    seen = 0
    while seen < count:
        seen += eventfd.read()
    return seen


@contextlib.contextmanager
def in_flight_elsewhere(
    context: AIOContext, operation: AIOOperation, write_end: int
) -> Iterator[None]:
    """Have a read of an empty pipe in flight inside the block. At its end the pipe gets a byte.

    Kernel AIO blocks in io_submit(2) until then, so another thread submits the read.
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
