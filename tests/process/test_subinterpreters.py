# SPDX-License-Identifier: Apache-2.0
"""Interpreters that have a GIL of their own (PEP 684) import the module, use it, and end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support import interpreters
from support.fusefs import HoldingFS
from support.programs import end_of, line_of, run_program, start_program
from support.quarantine import reason_unavailable

pytest_plugins = ["support.fixtures"]

pytestmark = pytest.mark.skipif(
    not interpreters.AVAILABLE, reason="interpreters with a GIL of their own came with Python 3.12"
)

NBYTES = 50_021

# What the programs begin with. A program, as what goes wrong here is a crash.
BEGIN = """
import os, sys, threading
from support.interpreters import interpreter

READ = '''
import os
from linux_aio import AIOContext, AIOOperation, EventFD

fd = os.memfd_create("data")
os.write(fd, bytes(range(100)))
with AIOContext(4) as context, EventFD() as eventfd:
    for number in range(90):
        operation = AIOOperation.read(10, fd, number)
        operation.submit(context, eventfd if number % 2 else None)
        if number % 2:
            assert eventfd.read() == 1
        else:
            assert context.getevents() == [operation]
        assert operation.get_result() == bytes(range(number, number + 10))
os.close(fd)
'''

AWAIT = '''
import asyncio, os
from linux_aio import AIOContext

async def read():
    fd = os.memfd_create("data")
    os.write(fd, bytes(range(100)))
    reader, writer = os.pipe()
    async with AIOContext(4) as context:
        polling = asyncio.ensure_future(context.poll(reader, 1))
        results = await asyncio.gather(*(context.read(10, fd, n) for n in range(90)))
        assert results == [bytes(range(n, n + 10)) for n in range(90)]
        os.write(writer, b"!")
        assert await polling == 1
    for number in (fd, reader, writer):
        os.close(number)

asyncio.run(read())
'''
"""


def test_import_and_use() -> None:
    run_program(BEGIN + "with interpreter() as other:\n    other.run(READ)\nexec(READ)\n")


def test_await() -> None:
    run_program(BEGIN + "with interpreter() as other:\n    other.run(AWAIT)\nexec(AWAIT)\n")


def test_types_are_each_interpreters_own() -> None:
    source = """
        import linux_aio
        with interpreter() as other:
            other.run("import linux_aio; theirs = id(linux_aio.AIOContext)")
            other.run(f"assert theirs != {id(linux_aio.AIOContext)}")
    """
    run_program(BEGIN + "if True:" + source)


def test_several_at_once() -> None:
    """Each in a thread of its own, at the same time and again and again."""
    source = """
        def run():
            try:
                for _ in range(3):
                    with interpreter() as other:
                        for _ in range(5):
                            other.run(READ)
                        other.run(AWAIT)
                done.append(True)
            except BaseException as error:
                print(error)

        done = []
        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(len(done))
    """
    assert run_program(BEGIN + "if True:" + source) == "4\n"


def test_one_that_ends_leaves_nothing_open() -> None:
    source = """
        def run():
            with interpreter() as other:
                other.run(AWAIT + "context, eventfd = AIOContext(4), None")
                other.run(READ + "dropped = [AIOContext(4), EventFD()]")

        def open_files():
            return len(os.listdir("/proc/self/fd"))

        import warnings
        run()
        before = open_files()
        for _ in range(5):
            run()
        assert open_files() == before, (before, open_files())
    """
    run_program(BEGIN + "if True:" + source)


IN_FLIGHT = """
import gc, os, sys, threading
from linux_aio import AIOContext, AIOOperation, EventFD

fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
context, eventfd = AIOContext(4), EventFD()
operation = AIOOperation.read(50021, fd)
operation.submit(context)
into = AIOOperation.readinto(bytearray(50021), fd)
into.submit(context, eventfd)
"""

ENDINGS = {
    "in globals": "",
    "in a cycle": "cycle = [context, operation, into]\ncycle.append(cycle)\n"
    "del context, operation, into, cycle\n",
    "dropped": "del context, operation, into\n",
    "dropped and collected": "del context, operation, into\ngc.collect()\n",
    "the file and the eventfd closed": "os.close(fd)\neventfd.close()\n",
    "held by the extension module": "sys.modules['linux_aio._core'].kept = operation\n",
    "the modules removed": "for name in [n for n in sys.modules if n.startswith('linux_aio')]:\n"
    "    del sys.modules[name]\ndel AIOContext, AIOOperation, EventFD\ngc.collect()\n",
}


@pytest.mark.needs_root
@pytest.mark.skipif(reason_unavailable() is not None, reason=str(reason_unavailable()))
@pytest.mark.parametrize("ending", ENDINGS)
def test_one_that_ends_with_operations_in_flight(ending: str, fs: HoldingFS) -> None:
    """The process goes on, and the kernel writes to nothing that was given back."""
    path: Path = fs.create("data", b"!" * NBYTES)
    source = f"""
from support import quarantine

# Never stopped: the memory of another interpreter can't be given back in this one.
quarantine.start(quarantine.SMALLEST)
with interpreter() as other:
    other.run("import warnings; warnings.simplefilter('ignore')")
    other.run(f"path = {{sys.argv[1]!r}}" + {IN_FLIGHT + ENDINGS[ending]!r})
print("ended", flush=True)
os.read(int(sys.argv[2]), 1)
print(quarantine.Quarantine().damaged())
exec(READ)
"""
    permission, give = os.pipe()
    try:
        fs.hold()
        program = start_program(BEGIN + source, path, permission, pass_fds=[permission])
        assert line_of(program) == "ended"
        fs.wait_held(2)  # threads of ours may not have come to it yet
        assert fs.release() == 2
        os.write(give, b"!")
        assert end_of(program) == "0\n"
    finally:
        os.close(permission)
        os.close(give)
