# SPDX-License-Identifier: Apache-2.0
"""Disks that are full, and disks that fail."""

from __future__ import annotations

import errno
import os
from random import Random

from linux_aio import AIOContext, AIOOperation, aligned_buffer
from soak.blocks import BLOCK, Block, pattern
from soak.round import Round
from support.operations import perform


def fill_a_disk(work: Round) -> None:
    """Append until there is no more room: what was said to be written is there."""
    if work.small_disk is None:
        return
    chance = work.chance("full")
    path = work.small_disk / "full"
    while not work.is_over():
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            with work.context(chance, 4) as context:
                size = append_until_full(context, fd, chance)
                data = perform(context, AIOOperation.read(size + 1, fd))
                assert len(data) == size
                for number in range(size // BLOCK):
                    piece = data[number * BLOCK : (number + 1) * BLOCK]
                    assert piece == pattern(number, 3), f"block {number} is wrong"
                work.count(disks_filled=1, reads_checked=1)
        finally:
            os.close(fd)
            path.unlink()


def append_until_full(context: AIOContext, fd: int, chance: Random) -> int:
    size = 0
    while True:
        first = size // BLOCK
        blocks = [pattern(first + at, 3) for at in range(chance.randint(1, 20))]
        payload = b"".join(blocks)[size % BLOCK :]
        try:
            size += perform(context, AIOOperation.write(payload, fd, size))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            assert os.fstat(fd).st_size == size
            return size


def use_a_failing_disk(work: Round) -> None:
    """EIO now and then: a request that failed did nothing, and all others what they should."""
    fuse = work.fuse
    if fuse is None:
        return
    chance = work.chance("failing")
    count = 16
    path = fuse.create("failing", bytes(count * BLOCK))
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    blocks = [Block(number) for number in range(count)]
    try:
        while not work.is_over():
            fuse.delay(0, scatter=chance.choice([0, 0.0005, 0.002]))
            fuse.fail(errno.EIO, chance.randint(1, 5), kinds=["read", "write"])
            with work.context(chance, count) as context:
                for _ in range(10):
                    transfer_all(work, context, fd, blocks, chance)
            data = fuse.contents("failing")
            for block in blocks:
                block.check(data[block.offset : block.offset + BLOCK])
    finally:
        fuse.reset()
        os.close(fd)
        path.unlink()


def transfer_all(
    work: Round, context: AIOContext, fd: int, blocks: list[Block], chance: Random
) -> None:
    """Each block is read or written, all at the same time."""
    operations: list[AIOOperation] = []
    for block in blocks:
        if chance.random() < 0.5:
            buffer: memoryview = aligned_buffer(BLOCK)
            buffer[:] = block.next()
            operations.append(AIOOperation.write(buffer, fd, block.offset))
        else:
            operations.append(AIOOperation.read(BLOCK, fd, block.offset))
    left = operations
    while left:
        left = left[context.submit(*left) :]
    done = 0
    while done < len(operations):
        done += len(context.getevents())
    for block, operation in zip(blocks, operations, strict=True):
        try:
            result = operation.get_result()
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            work.count(errors_met=1)
            continue
        if isinstance(result, bytes):
            block.check(result)
            work.count(reads_checked=1)
        else:
            assert result == BLOCK
            block.written()
            work.count(writes=1)
