# SPDX-License-Identifier: Apache-2.0
"""After fork(2) the parent goes on as if nothing was, and the child can let go, but nothing else.

The completion ring is shared memory: a child that looked for events there would take the parent's.
"""

from __future__ import annotations

import asyncio
import gc
import os
import select
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from linux_aio import AIOContext, AIOOperation, EventFD
from support.engines import WAYS_OF_REAPING
from support.files import Gate, file_in_memory, is_readable
from support.forked import in_child, report_of, start_child
from support.fusefs import HoldingFS
from support.loops import run, turns
from support.measure import open_fds
from support.operations import signals, wait_done
from support.programs import end_of, line_of, start_program
from support.quarantine import Quarantine
from support.rings import queues, rings
from support.workers import PATIENCE, finish, start, stays_blocked

pytest_plugins = ["support.fixtures"]

pytestmark = [
    # of tests that failed; in a child it is an error all the same
    pytest.mark.filterwarnings("ignore:unclosed <linux_aio:ResourceWarning"),
]

NBYTES = 301
COUNT = 8
DATA = bytes(number % 251 for number in range(COUNT * NBYTES))


@pytest.fixture(params=WAYS_OF_REAPING)
def way_of_reaping(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "system calls":
        monkeypatch.setenv("LINUX_AIO_USER_RING", "0")


@pytest.fixture
def direct(fs: HoldingFS) -> Iterator[int]:
    """A file whose reads stay in flight, as the test says."""
    fd = os.open(fs.create("data", DATA), os.O_RDONLY | os.O_DIRECT)
    yield fd
    os.close(fd)


@pytest.fixture
def memory() -> Iterator[int]:
    """A file whose reads are done at once."""
    with file_in_memory(DATA) as number:
        yield number


class Scene:
    """A context with reads of each part of the file; a child can let go of all of it."""

    def __init__(self, fd: int) -> None:
        self.context = AIOContext(2 * COUNT)
        self.eventfd = EventFD()
        self.operations = [AIOOperation.read(NBYTES, fd, at * NBYTES) for at in range(COUNT)]
        for operation in self.operations[::2]:
            operation.prepare(self.eventfd)
        assert self.context.submit(*self.operations) == COUNT

    def check_all_complete_once(self) -> None:
        collected = self.context.getevents(COUNT)
        assert {id(operation) for operation in collected} == set(map(id, self.operations))
        assert len(collected) == COUNT
        for at, operation in enumerate(self.operations):
            assert operation.get_result() == DATA[at * NBYTES :][:NBYTES]
        assert signals(self.eventfd, COUNT // 2) == COUNT // 2
        assert self.context.in_flight == 0
        self.context.close()


# What lets go, in the child


def do_nothing(scene: Scene) -> None:
    pass


def close(scene: Scene) -> None:
    scene.context.close()
    scene.context.close()
    assert scene.context.closed


def end_a_with_statement(scene: Scene) -> None:
    scene.context.__exit__(None, None, None)


def drop_everything(scene: Scene) -> None:
    vars(scene).clear()
    gc.collect()


def drop_in_a_cycle(scene: Scene) -> None:
    cycle: list[object] = [scene.context, scene.operations[0]]
    cycle.append(cycle)
    del cycle
    drop_everything(scene)


def drop_the_operations(scene: Scene) -> None:
    scene.operations.clear()
    gc.collect()


def close_and_drop(scene: Scene) -> None:
    close(scene)
    drop_everything(scene)


def drop_the_context(scene: Scene) -> None:
    del scene.context
    gc.collect()


def close_the_eventfd(scene: Scene) -> None:
    scene.eventfd.close()
    close(scene)


def make_another(scene: Scene) -> None:
    drop_everything(scene)
    AIOContext(4).close()


LETTING_GO = [
    do_nothing,
    close,
    end_a_with_statement,
    drop_everything,
    drop_in_a_cycle,
    drop_the_operations,
    drop_the_context,
    close_and_drop,
    close_the_eventfd,
    make_another,
]

let_go_somehow = pytest.mark.parametrize("let_go", LETTING_GO)


@pytest.mark.needs_root
@let_go_somehow
def test_the_parent_finishes_what_was_in_flight(
    let_go: Callable[[Scene], None], fs: HoldingFS, direct: int, quarantine: Quarantine
) -> None:
    fs.hold()
    scene = Scene(direct)
    in_child(lambda: let_go(scene))
    fs.release(COUNT)
    scene.check_all_complete_once()
    assert quarantine.damaged() == 0


@pytest.mark.needs_root
@let_go_somehow
def test_the_child_lets_go_after_the_parent_has_finished(
    let_go: Callable[[Scene], None], fs: HoldingFS, direct: int
) -> None:
    fs.hold()
    scene = Scene(direct)
    with Gate() as finished:

        def let_go_when_finished() -> None:
            assert is_readable(finished.fileno(), PATIENCE)
            let_go(scene)

        child = start_child(let_go_when_finished)
        fs.release(COUNT)
        scene.check_all_complete_once()
        finished.open()
        report_of(child)


@pytest.mark.usefixtures("way_of_reaping")
@let_go_somehow
def test_the_parent_still_has_what_completed_before(
    let_go: Callable[[Scene], None], memory: int
) -> None:
    """Events that were in the ring at the fork stay there, whatever the child does."""
    scene = Scene(memory)
    before = rings()
    in_child(lambda: let_go(scene))
    assert rings() == before
    scene.check_all_complete_once()


def kinds_of_descriptors() -> Counter[str]:
    """How many there are of each kind; libuv gives its pipes other numbers in a child."""
    links = (Path(f"/proc/self/fd/{fd}") for fd in open_fds())
    return Counter(os.readlink(link).split("[")[0] for link in links)


@pytest.mark.needs_root
def test_what_is_dropped_in_the_child_is_gone(fs: HoldingFS, direct: int) -> None:
    """Memory, and descriptors."""
    gc.collect()
    AIOContext(1).close()  # those that other tests have dropped are closed as well
    fs.hold()
    before = kinds_of_descriptors()
    scene = Scene(direct)

    def drop() -> tuple[list[object], Counter[str]]:
        things: list[object] = [scene.context, *scene.operations]
        references = [weakref.ref(thing) for thing in things]
        del things
        drop_in_a_cycle(scene)
        return [reference() for reference in references], kinds_of_descriptors()

    reporting = Counter({"pipe:": 2})
    references, after = in_child(drop)
    assert references == [None] * (1 + COUNT)
    # Beside a file of FUSE our threads use the program's table. A child keeps what they had open
    # there of a disk or a server, since closing it could wait for the server.
    file = os.readlink(f"/proc/self/fd/{direct}")
    assert after.pop(file) >= before.pop(file)
    assert after == before + reporting
    fs.release(COUNT)
    scene.check_all_complete_once()


# What is refused, in the child

USES: dict[str, Callable[[Scene], object]] = {
    "context.submit": lambda scene: scene.context.submit(AIOOperation.fsync(1)),
    "context.submit of nothing": lambda scene: scene.context.submit(),
    "context.getevents": lambda scene: scene.context.getevents(0),
    "context.in_flight": lambda scene: scene.context.in_flight,
    "context.fileno": lambda scene: scene.context.fileno,
    "context.__enter__": lambda scene: scene.context.__enter__(),
    "operation.submit": lambda scene: AIOOperation.fsync(1).submit(scene.context),
    "operation.done": lambda scene: scene.operations[0].done,
    "operation.get_result": lambda scene: scene.operations[0].get_result(),
    "operation.payload": lambda scene: scene.operations[0].payload,
    "operation.prepare": lambda scene: scene.operations[0].prepare(scene.eventfd),
    "operation.offset": lambda scene: setattr(scene.operations[0], "offset", 0),
    "a poll of the context": lambda scene: AIOOperation.poll(scene.context, 1),
}


@pytest.mark.needs_root
@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
def test_any_other_use_is_a_runtime_error(closed: bool, fs: HoldingFS, direct: int) -> None:
    fs.hold()
    scene = Scene(direct)

    def use_all() -> dict[str, str]:
        if closed:
            scene.context.close()
        return {name: outcome(use) for name, use in USES.items()}

    def outcome(use: Callable[[Scene], object]) -> str:
        try:
            return f"returned {use(scene)!r}"
        except Exception as error:
            return type(error).__name__

    assert in_child(use_all) == dict.fromkeys(USES, "RuntimeError")
    fs.release(COUNT)
    scene.check_all_complete_once()


@pytest.mark.needs_root
def test_a_buffer_in_flight_can_not_be_replaced(fs: HoldingFS, direct: int) -> None:
    fs.hold()
    buffer = bytearray(NBYTES)
    operation = AIOOperation.readinto(buffer, direct)
    with AIOContext(4) as context:
        operation.submit(context)

        def replace() -> None:
            with pytest.raises(RuntimeError, match="belongs to the process that made it"):
                operation.payload = bytearray(1)

        in_child(replace)
        fs.release(1)
        assert context.getevents() == [operation]
        assert operation.payload is buffer
        assert operation.get_result() == NBYTES
        assert buffer == DATA[:NBYTES]


@pytest.mark.needs_root
def test_what_is_in_flight_can_not_be_submitted_elsewhere(fs: HoldingFS, direct: int) -> None:
    fs.hold()
    scene = Scene(direct)

    def submit_elsewhere() -> None:
        with AIOContext(4) as own, pytest.raises((RuntimeError, ValueError)):
            own.submit(scene.operations[0])

    in_child(submit_elsewhere)
    fs.release(COUNT)
    scene.check_all_complete_once()


def test_a_context_is_inherited_by_grandchildren_too(memory: int) -> None:
    def be_a_parent() -> None:
        own = Scene(memory)
        in_child(lambda: refuses_use(own))
        own.check_all_complete_once()

    def refuses_use(scene: Scene) -> None:
        with pytest.raises(RuntimeError):
            scene.context.getevents(0)
        scene.context.close()

    in_child(be_a_parent)


class WatchingLoop(asyncio.SelectorEventLoop):
    """Remembers what it is to call."""

    def __init__(self) -> None:
        self.callbacks: list[Callable[[], object]] = []
        super().__init__()

    def add_reader(  # type: ignore[override]
        self, fd: Any, callback: Any, *arguments: Any
    ) -> None:
        super().add_reader(fd, callback, *arguments)
        self.callbacks.append(callback)


def test_the_loop_that_a_context_serves_is_the_parents(gate: Gate) -> None:
    """What the child's copy of the loop calls does nothing; and the parent's is not disturbed."""
    loop = WatchingLoop()

    async def main() -> None:
        context = AIOContext(4)
        waiting = asyncio.create_task(context.poll(gate, select.POLLIN))
        await turns(3)

        def be_called() -> object:
            gate.open()
            result = loop.callbacks[-1]()
            context.close()
            return result

        assert in_child(be_called) is None
        assert await waiting == select.POLLIN
        await context.aclose()

    run(main(), lambda: loop)


# What is allowed, in the child


@pytest.mark.usefixtures("way_of_reaping")
@pytest.mark.parametrize("watched", [False, True], ids=["not watched", "watched"])
@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
def test_results_from_before_can_be_read_in_the_child(
    closed: bool, watched: bool, memory: int, gate: Gate
) -> None:
    """And the parent is still told of them, by its context's eventfd and by getevents."""
    context = AIOContext(4)
    if watched:
        assert not is_readable(context.fileno)
    operation, later = AIOOperation.read(NBYTES, memory), AIOOperation.read(NBYTES, memory)
    operation.submit(context)
    wait_done(operation)
    poll = AIOOperation.poll(gate, select.POLLIN)
    poll.submit(context)
    before = rings()

    def read_result() -> list[bytes]:
        if closed:
            context.close()
        return [operation.get_result(), operation.get_result()]

    assert in_child(read_result) == [DATA[:NBYTES]] * 2
    assert rings() == before
    if watched:
        assert is_readable(context.fileno, PATIENCE)
    assert context.getevents(0) == [operation]
    later.submit(context)
    gate.open()
    assert set(context.getevents(2)) == {poll, later}
    context.close()


def test_results_from_before_leave_the_parents_unread_events_alone(memory: int) -> None:
    context = AIOContext(4)
    assert not is_readable(context.fileno)
    taken_in, unread = AIOOperation.read(NBYTES, memory), AIOOperation.read(NBYTES, memory)
    taken_in.submit(context)
    wait_done(taken_in)
    unread.submit(context)
    before = rings()
    in_child(taken_in.get_result)
    assert rings() == before
    assert is_readable(context.fileno, PATIENCE)
    assert context.getevents(2) == [taken_in, unread]
    context.close()


def test_the_child_can_use_a_context_of_its_own(memory: int) -> None:
    scene = Scene(memory)
    done = AIOOperation.read(NBYTES, memory)
    with AIOContext(4) as context:
        done.submit(context)
        context.getevents()

        def read() -> bytes:
            with AIOContext(4) as own:
                done.submit(own)
                assert own.getevents() == [done]
                Scene(memory).check_all_complete_once()
            result: bytes = done.get_result()
            return result

        before = rings()
        assert in_child(read) == DATA[:NBYTES]
        assert rings() == before
        assert done.get_result() == DATA[:NBYTES]
    scene.check_all_complete_once()


def test_what_the_child_fails_to_submit_again_is_no_news_to_the_parent(memory: int) -> None:
    context = AIOContext(4)
    assert not is_readable(context.fileno)
    operation = AIOOperation.read(NBYTES, memory)
    operation.submit(context)
    wait_done(operation)
    with Gate() as collected:

        def submit_again() -> None:
            assert is_readable(collected.fileno(), PATIENCE)
            with AIOContext(4) as own, pytest.raises(ValueError, match="in flight"):
                own.submit(operation, operation)
            assert operation.get_result() == DATA[:NBYTES]

        child = start_child(submit_again)
        assert context.getevents() == [operation]
        collected.open()
        report_of(child)
    assert not is_readable(context.fileno)
    context.close()


@pytest.mark.needs_root
def test_contexts_that_were_dropped_in_flight_before(fs: HoldingFS, direct: int) -> None:
    """The next context that is made looks after them, and that may be one of the child's."""
    fs.hold()
    AIOOperation.read(NBYTES, direct).submit(AIOContext(4))
    fs.wait_held(1)
    gc.collect()
    in_child(lambda: AIOContext(4).close())
    assert queues() == 1
    fs.release()
    in_child(lambda: AIOContext(4).close())
    deadline = time.monotonic() + PATIENCE
    while queues() != 0:  # the answer may still be on its way
        AIOContext(4).close()
        time.sleep(0.1)  # until that one's own queue is destroyed
        assert time.monotonic() < deadline


# While other threads of the parent are inside


@pytest.mark.needs_root
@pytest.mark.usefixtures("way_of_reaping")
@let_go_somehow
def test_while_a_thread_waits_for_events(
    let_go: Callable[[Scene], None], fs: HoldingFS, direct: int
) -> None:
    fs.hold()
    scene = Scene(direct)
    waiting = start(scene.context.getevents, COUNT)
    assert stays_blocked(waiting)
    in_child(lambda: let_go(scene))
    fs.release(COUNT)
    [collected] = finish(waiting)
    assert len(collected) == COUNT
    assert set(collected) == set(scene.operations)
    scene.context.close()


@pytest.mark.needs_root
def test_while_a_thread_is_inside_submit(fs: HoldingFS) -> None:
    fd = os.open(fs.create("slow", DATA), os.O_RDONLY)  # without O_DIRECT: io_submit waits
    fs.hold()
    context = AIOContext(4)
    operation = AIOOperation.read(NBYTES, fd)
    submitting = start(operation.submit, context)
    fs.wait_held(1)

    def let_go() -> None:
        with pytest.raises(RuntimeError):
            operation.get_result()
        context.close()

    in_child(let_go)
    fs.unhold()
    assert finish(submitting) == [1]
    wait_done(operation)
    assert operation.get_result() == DATA[:NBYTES]
    context.close()
    os.close(fd)


@pytest.mark.long
@pytest.mark.without_sanitizers
@pytest.mark.usefixtures("way_of_reaping")
def test_while_threads_are_at_work(memory: int) -> None:
    """Whatever lock they have at that moment, the child needs none of theirs."""
    context = AIOContext(8)
    at_end: list[bool] = []

    def work() -> None:
        with EventFD() as eventfd:
            while not at_end:
                operation = AIOOperation.read(NBYTES, memory)
                try:
                    operation.submit(context, eventfd)
                except BlockingIOError:
                    continue
                eventfd.read()
                assert operation.get_result() == DATA[:NBYTES]

    def use_both() -> None:
        context.close()
        Scene(memory).check_all_complete_once()

    working = [start(work) for _ in range(3)]
    try:
        for _ in range(30):
            in_child(use_both)
            time.sleep(0.001)
    finally:
        at_end.append(True)
    finish(*working)
    context.close()


# Children that end as interpreters do

ENDS_NORMALLY = """
import atexit, os, sys, threading, time, warnings
from linux_aio import AIOContext, AIOOperation, EventFD

warnings.simplefilter("error")
warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads
fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
eventfd = EventFD()
held, done = AIOOperation.read(301, fd), AIOOperation.write(b"data", os.memfd_create("data"))
cycle = [held]
cycle.append(cycle)
collected = []

def collect(context):
    collected.extend(context.getevents(2))

def main():
    with AIOContext(4) as context:
        atexit.register(context.close)
        done.submit(context)
        held.submit(context, eventfd)
        thread = threading.Thread(target=collect, args=(context,))
        if sys.argv[2] == "before":
            thread.start()
            time.sleep(0.1)
        child = os.fork()
        if child == 0:
            return  # through the end of the with statement
        assert os.waitpid(child, 0)[1] == 0
        print("ended", flush=True)
        if sys.argv[2] == "after":
            thread.start()
        thread.join()
        assert set(collected) == {done, held}
        assert held.get_result() == b"!" * 301

main()
"""


@pytest.mark.needs_root
@pytest.mark.parametrize("begin_waiting", ["before", "after"])
def test_a_child_that_ends_normally(begin_waiting: str, fs: HoldingFS) -> None:
    """It does not wait for what its parent has in flight, and has nothing to complain of."""
    path = fs.create("data", b"!" * NBYTES)
    fs.hold()
    program = start_program(ENDS_NORMALLY, path, begin_waiting)
    assert line_of(program) == "ended"
    assert fs.release() == 1
    assert end_of(program) == ""
