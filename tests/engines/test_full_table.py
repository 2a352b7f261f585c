# SPDX-License-Identifier: Apache-2.0
"""More requests than our threads can have descriptors: they wait, and none fails for it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import select
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from linux_aio import AIOContext, AIOOperation
from support.files import Gate, file_in_memory
from support.forked import in_child
from support.loops import run
from support.operations import perform
from support.seccomp import reason_unavailable, refuse
from support.underway import beside_others, submit_beside_others

pytestmark = [
    pytest.mark.engine("threads", "uring", "auto"),
    pytest.mark.skipif(reason_unavailable() is not None, reason="nothing can be refused here"),
    pytest.mark.xdist_group("descriptors that are on their way"),  # which count for the user
]

LIMIT = 160
COUNT = 600


def limit_numbers(limit: int = LIMIT) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))


@pytest.mark.parametrize("refused", [[], ["kcmp"]], ids=["kcmp", "no kcmp"])
def test_many_reads_of_one_pipe(refused: list[str]) -> None:
    """Without kcmp(2), as in containers, each is sent: they turn out to be one file."""

    def read_all() -> list[bytes]:
        refuse(refused, errno.EPERM)  # type: ignore[arg-type]
        limit_numbers()
        with Gate() as gate, AIOContext(COUNT + 1) as context:
            reads = [AIOOperation.read(1, gate) for _ in range(COUNT)]
            for read in reads:
                submit_beside_others(read, context)
            with os.fdopen(os.memfd_create("other"), "wb+") as other:
                assert perform(context, AIOOperation.fsync(other.fileno())) is None
            for _ in reads:
                gate.open()
            assert len(context.getevents(COUNT)) == COUNT
            return [read.get_result() for read in reads]

    assert in_child(read_all) == [b"!"] * COUNT


def test_many_files() -> None:
    """Each opened and closed by the program: the descriptors are only our threads'."""

    def sync_all() -> int:
        limit_numbers()
        done = 0
        with AIOContext(COUNT) as context:
            syncs = []
            for _ in range(COUNT):
                fd = os.memfd_create("data")
                sync = AIOOperation.fsync(fd)
                while True:
                    try:
                        submit_beside_others(sync, context)
                        break
                    except BlockingIOError:
                        done += len(context.getevents(1))
                os.close(fd)
                syncs.append(sync)
            while done < COUNT:
                done += len(context.getevents(1))
            assert all(sync.get_result() is None for sync in syncs)
        return done

    assert in_child(sync_all) == COUNT


def test_many_pipes_that_wait() -> None:
    """More than there is room for: those that come later have their turn when others end."""

    async def main() -> list[bytes]:
        pipes = [os.pipe() for _ in range(200)]
        async with AIOContext(COUNT) as context:
            # Our threads run, and this one keeps them: the limit leaves no numbers to start others.
            last_reader, last_writer = os.pipe()
            last = asyncio.ensure_future(context.read(1, last_reader))
            await asyncio.sleep(0.1)
            limit_numbers()
            reads = [
                asyncio.ensure_future(beside_others(partial(context.read, 1, pipe)))
                for pipe, _ in pipes
            ]
            await asyncio.sleep(0.2)
            for _, writer in pipes:
                os.write(writer, b"!")
            results = await asyncio.gather(*reads)
            os.write(last_writer, b"!")
            await last
            limit_numbers(1000)
            return results

    assert in_child(lambda: run(main())) == [b"!"] * 200


@pytest.mark.engine("threads", "uring")  # which have polls carried out by our threads
def test_the_loop_rests_while_the_table_is_full() -> None:
    """An await that finds no room in our threads' table asks again, but not in each turn."""

    async def main() -> tuple[int, bool]:
        async with AIOContext(COUNT) as others, AIOContext(8) as context:
            with file_in_memory() as fd:
                await context.fsync(fd)
                limit_numbers(256)
                polls = []
                with contextlib.suppress(BlockingIOError):
                    while True:  # each of a file that only our threads have open
                        eventfd = os.eventfd(0)
                        polls.append(AIOOperation.poll(eventfd, select.POLLIN))
                        submit_beside_others(polls[-1], others)
                        os.close(eventfd)
                        await asyncio.sleep(0)
                os.close(eventfd)
                before = context.statistics()["submissions"]
                status = asyncio.ensure_future(context._stat(fd))
                await asyncio.sleep(0.5)
                tries = context.statistics()["submissions"] - before
                is_waiting = not status.done()
                for poll in polls[:-1]:
                    others.cancel(poll)
                await status
                return tries, is_waiting

    tries, is_waiting = in_child(lambda: run(main()))
    assert is_waiting
    assert 1 <= tries <= 1000


# What a context answers while the user's other processes have too many descriptors underway. If
# some of ours are underway, too, they may be the reason, and it asks for more time.
ASKS_AGAIN = (errno.ETOOMANYREFS, errno.EAGAIN)


def fill_our_table(context: AIOContext) -> list[AIOOperation[int]]:
    """Polls that never end, of closed files: a few more than there is room for.

    The kernel counts those that wait for room against the user's limit, with those of other tests
    that run at the same time: `ETOOMANYREFS` in unix(7). So they must be few.
    """
    limit_numbers(64)
    polls = []
    for _ in range(64):
        number = os.eventfd(0)
        polls.append(AIOOperation.poll(number, select.POLLIN))
        submit_beside_others(polls[-1], context, ASKS_AGAIN)
        os.close(number)
    time.sleep(0.2)
    return polls


@pytest.mark.engine("threads", "uring")
@pytest.mark.parametrize("how", ["cancel", "close"])
def test_a_cancelled_request_needs_no_room(how: str) -> None:
    def cancel() -> bool:
        with AIOContext(COUNT) as full, Gate() as gate:
            fill_our_table(full)
            other = AIOContext(8)
            poll = AIOOperation.poll(gate, select.POLLIN)
            submit_beside_others(poll, other, ASKS_AGAIN)
            if how == "cancel":
                assert other.cancel(poll)
                assert other.getevents(1, timeout=20) == [poll]
            closing = threading.Thread(target=other.close, daemon=True)
            closing.start()
            closing.join(20)
            return closing.is_alive()

    assert not in_child(cancel)


@pytest.mark.engine("threads", "uring")
def test_a_close_needs_no_room() -> None:
    """A thread with the program's table closes the file, and the loop is told."""

    def close() -> None:
        async def main() -> None:
            async with AIOContext(COUNT) as full, AIOContext(8) as other:
                fill_our_table(full)
                number = os.memfd_create("file")
                async with asyncio.timeout(20):
                    await other._close(number)

        run(main())

    in_child(close)


def test_a_stream_for_each_number_that_the_program_has() -> None:
    def read_last() -> bytes:
        limit_numbers(1024)

        async def main() -> bytes:
            async with AIOContext(1024) as context:
                tasks = [asyncio.ensure_future(context.read(8, os.eventfd(0)))]
                await asyncio.sleep(0.2)  # our threads and the context have their own
                numbers = []
                with contextlib.suppress(OSError):
                    while True:
                        numbers.append(os.eventfd(0))
                tasks += [asyncio.ensure_future(context.read(8, number)) for number in numbers]
                os.eventfd_write(numbers[-1], 1)
                async with asyncio.timeout(20):
                    data = await tasks[-1]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                return data

        return run(main())

    assert int.from_bytes(in_child(read_last), "little") == 1


@pytest.mark.engine("threads", "uring")
@pytest.mark.parametrize("distance", [64, 128])
def test_two_numbers_that_are_far_apart(distance: int) -> None:
    """Neither is sent again for each request."""

    def poll_by_turns() -> int:
        limit_numbers(2048)
        with Gate() as gate, AIOContext(COUNT) as context:
            there = gate.fileno() + distance
            os.dup2(gate.fileno(), there)
            polls = []
            for _ in range(50):
                for number in (gate.fileno(), there):
                    polls.append(AIOOperation.poll(number, select.POLLIN))
                    polls[-1].submit(context)
                    time.sleep(0.001)
            (thread,) = [
                task
                for task in Path("/proc/self/task").iterdir()
                if (task / "comm").read_text() == "aio-io\n"
            ]
            count = len(os.listdir(thread / "fd"))
            gate.open()
            assert len(context.getevents(100)) == 100
            return count

    assert in_child(poll_by_turns) < 20
