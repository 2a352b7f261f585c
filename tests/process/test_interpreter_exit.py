# SPDX-License-Identifier: Apache-2.0
"""The interpreter ends while requests are in flight, and threads wait for them."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
from pathlib import Path

import pytest

from support.fusefs import HoldingFS
from support.programs import end_of, line_of, run_program, start_program
from support.workers import PATIENCE

pytest_plugins = ["support.fixtures"]

NBYTES = 50_021

# What all programs begin with: the read is held when the program goes on.
IN_FLIGHT = """
import atexit, builtins, gc, os, sys, threading, time
import linux_aio
from linux_aio import AIOContext, AIOOperation, EventFD

fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
context, eventfd = AIOContext(4), EventFD()
operation = AIOOperation.read(50021, fd)
operation.submit(context)
while not os.path.exists(sys.argv[2]):
    time.sleep(0.001)
"""

WATCHED = """
import sys
from support.quarantine import watch_until_exit

watch_until_exit(int(sys.argv[3]), int(sys.argv[4]))
"""

ENDINGS = {
    "in globals": "",
    "in globals that a function refers to": """
def function():
    return context, operation
""",
    "in a cycle": """
cycle = [context, operation]
cycle.append(cycle)
del context, operation, cycle
""",
    "dropped": """
del context, operation
""",
    "dropped and collected": """
del context, operation
gc.collect()
""",
    "the context dropped": """
del context
""",
    "the operation dropped": """
del operation
""",
    "the file and the eventfd closed": """
os.close(fd)
eventfd.close()
""",
    "held by the module": """
linux_aio.kept = [context, operation]
linux_aio.kept.append(linux_aio.kept)
""",
    "held by the extension module": """
sys.modules["linux_aio._core"].kept = operation
""",
    "held by what is cleared last": """
builtins.kept = context, operation
sys.kept = context, operation
""",
    "held by a thread's locals": """
threading.local().kept = context, operation
""",
    "the modules removed": """
for name in [name for name in sys.modules if name.startswith("linux_aio")]:
    del sys.modules[name]
del linux_aio, AIOContext, AIOOperation, EventFD
gc.collect()
""",
    "dropped while the interpreter ends": """
class Last:
    def __del__(self, collect=gc.collect):
        self.__dict__.clear()
        collect()

last = Last()
last.held = context, operation
del context, operation
sys.modules["last"] = last
""",
    "collected by nobody": """
cycle = [context, operation]
cycle.append(cycle)
del context, operation, cycle
gc.freeze()
""",
    "a daemon thread in getevents": """
threading.Thread(target=context.getevents, daemon=True).start()
time.sleep(0.1)
""",
    "daemon threads in getevents, all else dropped": """
for _ in range(3):
    threading.Thread(target=context.getevents, daemon=True).start()
time.sleep(0.1)
del context, operation
""",
    "a daemon thread in close": """
threading.Thread(target=context.close, daemon=True).start()
time.sleep(0.1)
""",
    "a daemon thread in a read of an eventfd": """
threading.Thread(target=eventfd.read, daemon=True).start()
time.sleep(0.1)
""",
    "a daemon thread that asks again and again": """
def ask():
    while not operation.done:
        context.getevents(timeout=0.001)

threading.Thread(target=ask, daemon=True).start()
time.sleep(0.1)
""",
    "a daemon thread that submits again and again": """
def submit():
    memory = os.memfd_create("data")
    while True:
        try:
            AIOOperation.write(b"data", memory).submit(context, eventfd)
        except BlockingIOError:
            pass  # none of those in flight is over yet

threading.Thread(target=submit, daemon=True).start()
time.sleep(0.1)
""",
}


def go_on(path: Path) -> Path:
    """What a program waits for whose read is to be on its way before it goes on."""
    return path.with_name("go-on")


class Watched:
    """A program that waits, when its interpreter has ended, until it may look for damage."""

    def __init__(self, source: str, path: Path) -> None:
        self._report, report = os.pipe()
        permission, self._permission = os.pipe()
        try:
            self._program: subprocess.Popen[str] = start_program(
                WATCHED + source,
                path,
                go_on(path),
                report,
                permission,
                pass_fds=(report, permission),
            )
        finally:
            os.close(report)
            os.close(permission)

    def wait_for_the_end_of_the_interpreter(self) -> None:
        ready, _, _ = select.select([self._report], [], [], PATIENCE)
        assert ready, "the interpreter does not come to its end"
        reported = os.read(self._report, 100)
        assert reported == b"waiting\n", end_of(self._program)

    def damaged_blocks(self) -> int:
        """Of the memory that was given back; the program ends then, without complaints."""
        os.write(self._permission, b"!")
        report = os.read(self._report, 100)
        assert end_of(self._program) == ""
        return int(report.split()[1])

    def close(self) -> None:
        self._program.kill()
        self._program.communicate()
        os.close(self._report)
        os.close(self._permission)


@pytest.fixture
def path(fs: HoldingFS) -> Path:
    path = fs.create("data", b"!" * NBYTES)
    go_on(path).unlink(missing_ok=True)  # of the test before
    return path


@pytest.mark.needs_root
@pytest.mark.usefixtures("quarantine")
@pytest.mark.parametrize("ending", ENDINGS)
def test_it_ends_and_the_kernel_writes_to_nothing_given_back(
    ending: str, fs: HoldingFS, path: Path
) -> None:
    fs.hold()
    with contextlib.closing(Watched(IN_FLIGHT + ENDINGS[ending], path)) as program:
        fs.wait_held(1)
        fs.create(go_on(path).name, b"")
        program.wait_for_the_end_of_the_interpreter()
        assert fs.release() == 1
        assert program.damaged_blocks() == 0


@pytest.mark.needs_root
@pytest.mark.usefixtures("quarantine")
@pytest.mark.parametrize("ending", ENDINGS)
def test_it_ends_though_nobody_looked_at_what_completed(
    ending: str, fs: HoldingFS, path: Path
) -> None:
    fs.create(go_on(path).name, b"")
    completed = IN_FLIGHT + "os.preadv(fd, [bytearray(1)], 0)  # answered after the other\n"
    with contextlib.closing(Watched(completed + ENDINGS[ending], path)) as program:
        program.wait_for_the_end_of_the_interpreter()
        assert program.damaged_blocks() == 0


def run_while_held(source: str, fs: HoldingFS, path: Path) -> str:
    """What the program prints whose read is answered once it says that it is about to end."""
    fs.hold()
    program = start_program(IN_FLIGHT + source, path, go_on(path))
    fs.wait_held(1)
    fs.create(go_on(path).name, b"")
    assert line_of(program) == "ending"
    fs.release()
    return end_of(program)


@pytest.mark.needs_root
def test_results_can_be_waited_for_at_exit(fs: HoldingFS, path: Path) -> None:
    source = """
@atexit.register
def wait():
    print("ending", flush=True)
    context.getevents()
    print(operation.get_result() == b"!" * 50021)
    context.close()
"""
    assert run_while_held(source, fs, path) == "True\n"


@pytest.mark.needs_root
def test_a_thread_that_is_no_daemon_gets_its_result(fs: HoldingFS, path: Path) -> None:
    source = """
def wait():
    context.getevents()
    print(operation.get_result() == b"!" * 50021)
    context.close()

threading.Thread(target=wait).start()
print("ending", flush=True)
"""
    assert run_while_held(source, fs, path) == "True\n"


# What can crash though nothing is in flight any more


@pytest.mark.parametrize(
    "make",
    ["AIOOperation.read(4, fd)", "completed()", "AIOContext(4)", "EventFD()"],
    ids=["operation", "completed operation", "context", "eventfd"],
)
def test_objects_collected_together_with_their_types(make: str) -> None:
    source = f"""
        import gc, os, sys
        from linux_aio import AIOContext, AIOOperation, EventFD

        def completed():
            context = AIOContext(4)
            operation = AIOOperation.read(4, fd)
            operation.submit(context)
            context.close()
            return operation

        gc.disable()
        fd = os.memfd_create("data")
        cycle = [{make}]
        cycle.append(cycle)
        for name in [name for name in sys.modules if name.startswith("linux_aio")]:
            del sys.modules[name]
        del AIOContext, AIOOperation, EventFD, completed, cycle
        gc.collect()
    """
    run_program(source)


@pytest.mark.parametrize("call", ["context.in_flight", "context.getevents(0)", "context.submit()"])
def test_a_thread_that_is_stopped_in_code_that_runs_while_completions_are_taken_in(
    call: str,
) -> None:
    """Up to Python 3.13 a daemon thread that wants the GIL back at the end is made to exit."""
    source = f"""
        import os, select, sys, threading, time, types
        from linux_aio import AIOContext, AIOOperation, EventFD

        class Slow(bytearray):
            def __del__(self):
                started.set()
                time.sleep(0.1)

        class Last:
            def __del__(self, sleep=time.sleep):
                sleep(0.5)  # the interpreter's end takes longer

        def run():
            eventfd = EventFD()
            AIOOperation.write(Slow(b"data"), fd).submit(context, eventfd)
            select.select([eventfd.fileno], [], [])
            {call}

        started = threading.Event()
        fd = os.memfd_create("data")
        context = AIOContext(4)
        sys.modules["last"] = types.SimpleNamespace(last=Last())
        threading.Thread(target=run, daemon=True).start()
        started.wait()
    """
    run_program(source)
