# SPDX-License-Identifier: Apache-2.0
"""Threads that share a context: batches, operations used again, eventfds, numbers closed."""

from __future__ import annotations

import errno
import os
import threading

from linux_aio import AIOContext, AIOOperation, EventFD, aligned_buffer
from soak.blocks import BLOCK, pattern
from soak.files import some_file
from soak.round import Round
from support.workers import finish, start

DEPTH = 8
BLOCKS = 64


def read_and_check(
    work: Round, context: AIOContext, fd: int, numbers: list[int], with_eventfd: bool
) -> None:
    """Blocks that do not change, by operations that are used again and again."""
    buffers: list[memoryview] = [aligned_buffer(BLOCK) for _ in range(DEPTH)]
    operations = [AIOOperation.readinto(buffer, fd) for buffer in buffers]
    with EventFD() as efd:
        for at in range(0, len(numbers), DEPTH):
            chunk = numbers[at : at + DEPTH]
            batch = operations[: len(chunk)]
            for number, operation in zip(chunk, batch, strict=True):
                operation.offset = number * BLOCK
                if with_eventfd:
                    operation.prepare(efd)
            perform(context, batch, efd if with_eventfd else None)
            for number, operation, buffer in zip(chunk, batch, buffers, strict=False):
                assert operation.get_result() == BLOCK
                assert buffer == pattern(number, 1), f"block {number} is wrong"
            work.count(reads_checked=len(chunk))


def perform(context: AIOContext, batch: list[AIOOperation], efd: EventFD | None) -> None:
    left = batch
    while left:
        try:
            left = left[context.submit(*left) :]
        except BlockingIOError:
            context.getevents(0, timeout=0)  # others have filled it
    if efd is not None:
        signalled = 0
        while signalled < len(batch):
            signalled += efd.read()
    while not all(operation.done for operation in batch):
        context.getevents(0)


def share_a_context(work: Round) -> None:
    chance = work.chance("batches")
    while not work.is_over():
        with some_file(work.folder, BLOCKS, chance) as fd:
            for number in range(BLOCKS):
                block: memoryview = aligned_buffer(BLOCK)
                block[:] = pattern(number, 1)
                os.pwritev(fd, [block], number * BLOCK)
            with work.context(chance, 3 * DEPTH) as context:
                finish(
                    *(
                        start(read_and_check, work, context, fd, numbers, at == 0)
                        for at in range(3)
                        if (numbers := chance.choices(range(BLOCKS), k=400))
                    )
                )


def close_numbers_in_flight(work: Round) -> None:
    """The number of a file is closed after submission, and is another file's at once."""
    chance = work.chance("numbers")
    fuse = work.fuse
    while not work.is_over():
        if fuse is None or chance.random() < 0.5:
            paths = [work.folder / f"number {at}" for at in range(2)]
            for at, path in enumerate(paths):
                path.write_bytes(pattern(at, 7))
        else:
            paths = [fuse.create(f"number {at}", pattern(at, 7)) for at in range(2)]
        with work.context(chance, 4) as context:
            for _ in range(20):
                reads = []
                for path in paths:
                    fd = os.open(path, os.O_RDONLY | chance.choice([0, os.O_DIRECT]))
                    buffer = aligned_buffer(BLOCK)
                    read = AIOOperation.readinto(buffer, fd)
                    try:
                        read.submit(context)
                    finally:
                        os.close(fd)
                    reads.append((read, buffer))
                context.getevents(len(reads))
                for at, (read, buffer) in enumerate(reads):
                    try:
                        assert read.get_result() == BLOCK
                    except OSError as error:
                        if error.errno != errno.EIO:  # which another thread has the disk say
                            raise
                        continue
                    assert buffer == pattern(at, 7), "another file's bytes"
                work.count(reads_checked=2, numbers_closed_in_flight=2)
        for path in paths:
            path.unlink()


def end_threads_with_work_in_flight(work: Round) -> None:
    chance = work.chance("threads")
    with some_file(work.folder, BLOCKS, chance) as fd:
        while not work.is_over():
            with work.context(chance, DEPTH) as context:
                reads = [AIOOperation.read(BLOCK, fd, at * BLOCK) for at in range(DEPTH)]
                thread = threading.Thread(target=context.submit, args=reads)
                thread.start()
                thread.join()
                while not all(read.done for read in reads):
                    context.getevents(0)
                assert all(read.get_result() == bytes(BLOCK) for read in reads)
                work.count(reads_checked=DEPTH, threads_ended_early=1)
