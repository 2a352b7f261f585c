# SPDX-License-Identifier: Apache-2.0
"""80,000 operations through a context of 8, and neither memory nor descriptors grow."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from linux_aio import AIOContext, AIOOperation, EventFD
from support.files import file_in_memory
from support.measure import UNDER_ADDRESS_SANITIZER, open_fds, resident_bytes
from support.workers import PATIENCE

pytestmark = pytest.mark.long

BATCH = 8
BATCHES = 10_000  # 80,000 operations
WARM_UP = 2_000
if UNDER_ADDRESS_SANITIZER:  # slow; only descriptors are counted then
    BATCHES, WARM_UP = 2_000, 500

# Less than seven bytes for each operation: the smallest piece of memory is larger.
ALLOWED_GROWTH = 1 << 19

SIZE = 1 << 10
PAYLOAD = bytes(SIZE)


def make_batch(fd: int) -> list[AIOOperation]:
    """Six reads, a write and a sync."""
    return [
        *(AIOOperation.read(SIZE, fd, index * SIZE) for index in range(BATCH - 2)),
        AIOOperation.write(PAYLOAD, fd, (BATCH - 1) * SIZE),
        AIOOperation.fdsync(fd),
    ]


def make_batch_for(efd: EventFD, fd: int) -> list[AIOOperation]:
    """The same, each to signal this EventFD."""
    batch = make_batch(fd)
    for op in batch:
        op.prepare(efd)
    return batch


def wait_for_batch(efd: EventFD) -> None:
    signals = 0
    while signals < BATCH:
        signals += efd.read()
    assert signals == BATCH


# What programs do: with EventFDs and get_result only, and with getevents


def ask_for_all_results(ctx: AIOContext, efd: EventFD, fd: int, batches: int) -> None:
    for _ in range(batches):
        batch = make_batch_for(efd, fd)
        assert ctx.submit(*batch) == BATCH
        wait_for_batch(efd)
        for op in batch:
            op.get_result()


def ask_for_some_results(ctx: AIOContext, efd: EventFD, fd: int, batches: int) -> None:
    for _ in range(batches):
        batch = make_batch_for(efd, fd)
        assert ctx.submit(*batch) == BATCH
        wait_for_batch(efd)
        for op in batch[::2]:
            op.get_result()


def ask_for_no_results(ctx: AIOContext, efd: EventFD, fd: int, batches: int) -> None:
    for _ in range(batches):
        for op in make_batch(fd):
            op.submit(ctx, efd)
        wait_for_batch(efd)


def submit_the_same_again(ctx: AIOContext, efd: EventFD, fd: int, batches: int) -> None:
    batch = make_batch_for(efd, fd)
    for _ in range(batches):
        assert ctx.submit(*batch) == BATCH
        wait_for_batch(efd)
        for op in batch[::2]:
            op.get_result()


def collect_all(ctx: AIOContext, _efd: EventFD, fd: int, batches: int) -> None:
    for _ in range(batches):
        assert ctx.submit(*make_batch(fd)) == BATCH
        for op in ctx.getevents(BATCH):
            op.get_result()


def collect_and_ask_for_some_results(ctx: AIOContext, _efd: EventFD, fd: int, batches: int) -> None:
    for _ in range(batches):
        assert ctx.submit(*make_batch(fd)) == BATCH
        for op in ctx.getevents(BATCH)[::2]:
            op.get_result()


def collect_what_was_not_asked_for(ctx: AIOContext, efd: EventFD, fd: int, batches: int) -> None:
    for _ in range(batches):
        batch = make_batch_for(efd, fd)
        assert ctx.submit(*batch) == BATCH
        wait_for_batch(efd)
        for op in batch[:3]:
            op.get_result()
        assert len(ctx.getevents(BATCH - 3)) == BATCH - 3


@pytest.mark.parametrize(
    "program",
    [
        ask_for_all_results,
        ask_for_some_results,
        ask_for_no_results,
        submit_the_same_again,
        collect_all,
        collect_and_ask_for_some_results,
        collect_what_was_not_asked_for,
    ],
)
def test_nothing_grows(program: Callable[[AIOContext, EventFD, int, int], None]) -> None:
    with (
        AIOContext(BATCH) as ctx,
        EventFD() as efd,
        file_in_memory(os.urandom(BATCH * SIZE)) as fd,
    ):
        # A context whose threads were started once keeps a socket to start them again. A large
        # write starts them.
        large = AIOOperation.write(bytes(1 << 20), fd)
        large.submit(ctx)
        assert ctx.getevents(1) == [large]
        program(ctx, efd, fd, WARM_UP)
        memory, descriptors = resident_bytes(), len(open_fds())
        program(ctx, efd, fd, BATCHES)
        assert ctx.in_flight == 0
        # threads of ours that were started meanwhile keep theirs until they have been idle
        give_up = time.monotonic() + PATIENCE
        while len(open_fds()) > descriptors and time.monotonic() < give_up:
            time.sleep(0.01)
        assert len(open_fds()) <= descriptors
        if not UNDER_ADDRESS_SANITIZER:
            assert resident_bytes() - memory < ALLOWED_GROWTH
