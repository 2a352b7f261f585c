# SPDX-License-Identifier: Apache-2.0
"""AIOContext() works where a sandbox refuses io_setup(2), io_uring_setup(2) or both."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import linux_aio
import linux_aio.fs
from support.forked import in_child
from support.paths import TESTS
from support.programs import run_program
from support.seccomp import Call, reason_unavailable, refuse

pytestmark = [
    pytest.mark.engine("auto"),
    pytest.mark.skipif(reason_unavailable() is not None, reason=str(reason_unavailable())),
]


class Sandbox(NamedTuple):
    """What is refused, and with which errno."""

    calls: tuple[Call, ...]
    error: int

    @property
    def name(self) -> str:
        return f"{'+'.join(self.calls)} {errno.errorcode[self.error]}"

    @property
    def refused(self) -> set[str]:
        """The engines that there are not."""
        named = {
            "io_setup": "aio",
            "io_submit": "aio",
            "io_uring_setup": "uring",
            "io_uring_enter": "uring",
        }
        return {named[call] for call in self.calls if call in named}


SANDBOXES = [
    Sandbox(calls, error)
    for error in (errno.ENOSYS, errno.EPERM)
    for calls in (("io_uring_setup",), ("io_setup",), ("io_setup", "io_uring_setup"))
]

each_sandbox = pytest.mark.parametrize("sandbox", SANDBOXES, ids=lambda sandbox: sandbox.name)

ENTER_LATER = """
import sys
from support.seccomp import refuse

calls, error = sys.argv[1].split("+"), int(sys.argv[2])
"""

ENTER = ENTER_LATER + "refuse(calls, error)\n"


def run_in(sandbox: Sandbox, source: str) -> str:
    return run_program(ENTER + source, "+".join(sandbox.calls), sandbox.error)


# What was set up can't be used.
HALF_CLOSED = [
    Sandbox(calls, error)
    for error in (errno.ENOSYS, errno.EPERM)
    for calls in (("io_uring_enter",), ("io_submit",), ("io_submit", "io_uring_enter"))
]


@pytest.mark.parametrize("sandbox", SANDBOXES + HALF_CLOSED, ids=lambda sandbox: sandbox.name)
def test_what_there_is_and_what_not(sandbox: Sandbox) -> None:
    source = """
from linux_aio import AIOContext, engines
for name, state in engines().items():
    try:
        AIOContext(engine=name).close()
        print(name, "opens", state, sep="|")
    except OSError as refusal:
        assert state in str(refusal), (state, refusal)
        print(name, refusal.errno, state, sep="|")
"""
    found = {
        name: (outcome, state)
        for name, outcome, state in (
            line.split("|") for line in run_in(sandbox, source).splitlines()
        )
    }
    assert list(found) == ["auto", "aio", "uring", "threads"]
    for name, (outcome, state) in found.items():
        if name in sandbox.refused:
            assert outcome == str(sandbox.error)
            assert "sandbox" in state or "seccomp" in state
        else:
            assert (outcome, state) == ("opens", "available")


# Small files, of which each is about something else.
REPRESENTATIVE = [
    "files/test_files.py",
    "api/test_submit.py",
    "loops/test_await.py",
    "api/test_cancel.py",
    "api/test_poll.py",
]

RUN_TESTS = """
import os
import pytest

# several pytests remove the old ones' folders of temporary files at the same time, and warn of that
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir", os.path.dirname(sys.argv[3]),
                      "-W", "ignore:(rm_rf) error removing:pytest.PytestWarning",
                      *(os.path.join(sys.argv[3], name) for name in sys.argv[4:])]))
"""


@pytest.mark.long
@each_sandbox
@pytest.mark.timeout(600)
def test_the_tests_pass_on_what_remains(sandbox: Sandbox) -> None:
    environment = {
        **os.environ,
        "LINUX_AIO_ENGINE": "auto",
        "PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, sys.path)]),
    }
    # what the outer run reports is not the inner one's to overwrite
    environment.pop("LINUX_AIO_REPORT", None)
    environment.pop("LINUX_AIO_STRICT_SKIPS", None)  # what is refused here can't be tested here
    arguments = ["+".join(sandbox.calls), str(sandbox.error), str(TESTS), *REPRESENTATIVE]
    ended = subprocess.run(
        [sys.executable, "-P", "-c", ENTER + RUN_TESTS, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-2000:]


@pytest.mark.parametrize(
    "calls", [("close_range",), ("kcmp",), ("close_range", "kcmp")], ids="+".join
)
def test_threads_without_a_descriptor_table_of_their_own(calls: tuple[Call, ...]) -> None:
    """Duplicates of the program's descriptors have to do; none of them is left."""
    source = """
import os, tempfile, time
from linux_aio import AIOContext, AIOOperation
from support.measure import open_fds
from support.operations import perform

with tempfile.TemporaryFile() as file:
    before = open_fds()
    for engine in ("threads", "uring", "auto"):
        with AIOContext(8, engine=engine) as context:
            for number in range(20):
                assert perform(context, AIOOperation.write(b"data", file, number * 4)) == 4
                assert perform(context, AIOOperation.read(4, file, number * 4)) == b"data"
            assert perform(context, AIOOperation.fsync(file)) is None
    deadline = time.monotonic() + 30
    while open_fds() != before:  # they share the table, and close the last ones themselves
        assert time.monotonic() < deadline, (open_fds(), before)
        time.sleep(0.001)
print("done")
"""
    assert run_in(Sandbox(calls, errno.EPERM), source) == "done\n"


USE_ALL_KINDS_OF_FILES = """
import os, select, socket
from linux_aio import AIOContext, AIOOperation, direct_alignment
from support.files import file_in_memory
from support.operations import perform

path = sys.argv[3]
data = bytes(range(256)) * 64
flags = os.O_RDWR | os.O_CREAT
buffered = os.open(path, flags)
os.pwrite(buffered, data, 0)
os.fsync(buffered)
try:
    direct = os.open(path, flags | os.O_DIRECT)
except OSError:
    direct = buffered
alignment = direct_alignment(direct)
refuse(calls, error)

memory_alignment, transfer_alignment = direct_alignment(direct)
assert memory_alignment >= alignment[0] and transfer_alignment >= alignment[1]
for engine in ("threads", "uring", "aio", "auto"):
    with AIOContext(8, engine=engine) as context, file_in_memory(data) as memory:
        for number in range(30):
            os.posix_fadvise(buffered, 0, 0, os.POSIX_FADV_DONTNEED)
            for fd in (memory, buffered, direct):
                read = AIOOperation.read(100, fd, 100 + number)
                assert perform(context, read) == data[100 + number : 200 + number]
        assert perform(context, AIOOperation.write(b"data", buffered, 5000)) == 4
        assert perform(context, AIOOperation.read(4, buffered, 5000)) == b"data"
        assert perform(context, AIOOperation.write(data[5000:5004], buffered, 5000)) == 4
        assert perform(context, AIOOperation.fsync(buffered)) is None
        reader, writer = os.pipe()
        near, far = socket.socketpair()
        for sender, receiver in ((writer, reader), (near.fileno(), far.fileno())):
            assert perform(context, AIOOperation.write(b"hello", sender)) == 5
            assert perform(context, AIOOperation.poll(receiver, select.POLLIN)) == select.POLLIN
            assert perform(context, AIOOperation.read(10, receiver)) == b"hello"
        if engine != "aio":  # which waits in submit
            # it ends when the context is closed, as what may wait for ever does
            waiting = AIOOperation.read(10, reader)
            waiting.submit(context)
    if engine != "aio":
        try:
            raise AssertionError(waiting.get_result())
        except OSError as ended:
            assert ended.errno == 125, ended
    os.close(reader)
    os.close(writer)
    near.close()
    far.close()
print("done")
"""


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM], ids=errno.errorcode.get)
def test_files_are_known_without_statx(error: int, tmp_path: Path) -> None:
    output = run_program(ENTER_LATER + USE_ALL_KINDS_OF_FILES, "statx", error, tmp_path / "data")
    assert output == "done\n"


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM], ids=errno.errorcode.get)
def test_all_is_transferred_without_the_calls_that_take_flags(error: int, tmp_path: Path) -> None:
    calls = "preadv2+pwritev2"
    output = run_program(ENTER_LATER + USE_ALL_KINDS_OF_FILES, calls, error, tmp_path / "data")
    assert output == "done\n"


def test_a_direct_read_of_a_file_that_can_not_be_looked_at(tmp_path: Path) -> None:
    """How it is to be aligned can't be known: it is refused."""
    source = """
import os, threading
from linux_aio import AIOContext, AIOOperation

try:
    fd = os.open(sys.argv[3], os.O_RDWR | os.O_CREAT | os.O_DIRECT)
except OSError:
    print([error] * 4)
    sys.exit()
found = []

def read():
    refuse(calls, error)  # for this thread
    for engine in ("threads", "uring", "aio", "auto"):
        with AIOContext(4, engine=engine) as context:
            operation = AIOOperation.read(100, fd, 100)
            try:
                operation.submit(context)
            except OSError as refusal:
                found.append(refusal.errno)
            assert operation.context is None
            assert context.in_flight == 0

thread = threading.Thread(target=read)
thread.start()
thread.join()
print(found)
"""
    path = tmp_path / "data"
    output = run_program(ENTER_LATER + source, "statx+fstat+fstatat", errno.EPERM, path)
    assert output == f"{[errno.EPERM] * 4}\n"


@pytest.mark.engine("auto", "aio", "uring", "threads")
@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM, errno.EINVAL])
def test_paths_without_a_look_at_the_cache(error: int, tmp_path: Path) -> None:
    """Whose a path is can't be asked then; and where the call has no RESOLVE_CACHED, as well."""

    async def work() -> None:
        async def work_on(number: int) -> bytes:
            path = tmp_path / f"file {number}"
            await linux_aio.write_bytes(path, b"data")
            await linux_aio.fs.rename(path, tmp_path / f"renamed {number}")
            return await linux_aio.read_bytes(tmp_path / f"renamed {number}")

        assert await asyncio.gather(*map(work_on, range(100))) == [b"data"] * 100
        with pytest.raises(FileNotFoundError):
            await linux_aio.fs.stat(tmp_path / "file 1")

    def in_the_sandbox() -> bool:
        refuse(["openat2"], error)
        asyncio.run(asyncio.wait_for(work(), 60))
        return True

    assert in_child(in_the_sandbox)


# --- io_getevents(2) alone is refused


WAIT_FOR_EVENTS = """
import os, select, sys
from linux_aio import AIOContext, AIOOperation
from support.seccomp import refuse

refuse(["io_getevents", "io_pgetevents"], int(sys.argv[1]))
read_end, write_end = os.pipe()
for engine in "auto", "aio":
    with AIOContext(engine=engine) as context:
        poll = AIOOperation.poll(read_end, select.POLLIN)
        poll.submit(context)
        print(context.getevents(1, timeout=0.05))
        os.write(write_end, b"!")
        print(context.getevents(1) == [poll], poll.get_result())
        os.read(read_end, 1)
"""


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS])
def test_waiting_where_the_sandbox_refuses_to(error: int) -> None:
    """What is complete is in the ring, which can be read."""
    assert run_program(WAIT_FOR_EVENTS, error).splitlines() == ["[]", "True 1"] * 2
