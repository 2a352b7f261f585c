# SPDX-License-Identifier: Apache-2.0
"""All contexts of a process share one set of threads, and cost none of their own."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from linux_aio import AIOContext, AIOOperation
from support.forked import in_child
from support.measure import open_fds
from support.operations import wait_done

pytest_plugins = ["support.fixtures"]

pytestmark = pytest.mark.engine("auto", "uring", "threads")


def our_threads() -> list[str]:
    names = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            names.append((task / "comm").read_text(encoding="utf-8").strip())
    return [name for name in names if name.startswith("aio-")]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture
def pipe() -> Iterator[int]:
    """A pipe that is not readable: a thread of ours waits for it."""
    reader, writer = os.pipe()
    yield reader
    os.close(reader)
    os.close(writer)


def use(context: AIOContext, pipe: int) -> AIOOperation[bytes]:
    read = AIOOperation.read(1, pipe)
    assert read.submit(context) == 1
    return read


def test_a_thousand_contexts_use_no_more_than_one(pipe: int) -> None:
    with contextlib.ExitStack() as stack:
        use(stack.enter_context(AIOContext(2)), pipe)
        wait_until(lambda: "aio-io" in our_threads())
        wait_until(lambda: our_threads() == ["aio-io"])
        before = open_fds()
        for _ in range(1000):
            use(stack.enter_context(AIOContext(2)), pipe)
        assert our_threads().count("aio-io") == 1
        assert len(our_threads()) <= 1 + 128  # workers, for as long as there is work
        wait_until(lambda: our_threads() == ["aio-io"])
        assert len(open_fds()) <= len(before) + 1000  # the contexts' own eventfds
    wait_until(lambda: our_threads() == [])


def test_the_last_context_takes_the_threads_and_descriptors_along(pipe: int) -> None:
    wait_until(lambda: our_threads() == [])
    before = open_fds()
    for _ in range(100):
        with AIOContext(2) as context:
            use(context, pipe)
    wait_until(lambda: our_threads() == [] and open_fds() == before)


def test_an_unused_context_has_no_thread() -> None:
    wait_until(lambda: our_threads() == [])
    before = open_fds()
    contexts = [AIOContext(2) for _ in range(100)]
    assert our_threads() == []
    assert len(open_fds()) == len(before) + 100  # the contexts' own eventfds
    for context in contexts:
        context.close()


def test_threads_that_open_and_close_contexts_side_by_side(tmp_path: Path) -> None:
    """The last to leave ends the pool while the next one joins."""
    path = tmp_path / "data"
    path.write_bytes(b"0123456789")
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with path.open("r+b") as file:
                for _ in range(100):
                    with AIOContext(4) as context:
                        write = AIOOperation.write(b"01234", file.fileno())
                        sync = AIOOperation.fsync(file.fileno())
                        assert context.submit(write, sync) == 2
                        wait_done(write)
                        wait_done(sync)
                        assert write.get_result() == 5
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    wait_until(lambda: our_threads() == [])


def test_a_child_makes_its_own(pipe: int, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"data")

    def child() -> None:
        with path.open("r+b") as file, AIOContext(2) as context:
            write = AIOOperation.write(b"mine", file.fileno())
            write.submit(context)
            wait_done(write)
            assert write.get_result() == 4

    with AIOContext(2) as context:
        poll = AIOOperation.poll(pipe, select.POLLIN)
        poll.submit(context)
        use(context, pipe)
        in_child(child)
        assert not poll.done
    assert path.read_bytes() == b"mine"
