# SPDX-License-Identifier: Apache-2.0
"""A forked child without privileges finds nothing that leads to its parent's threads and rings.

It looks through all that it has open and mapped. What it finds it reads, empties, writes to, and
puts forged completions and files into; the parent's files stay its own, and its bytes right.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import ctypes
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import linux_aio
from linux_aio import AIOContext, AIOOperation, EventFD
from support.any_loop import AnyLoop
from support.engines import ENGINE
from support.files import Gate, is_readable
from support.forked import in_child, report_of, start_child
from support.loops import run
from support.operations import perform, wait_done
from support.workers import finish, start

pytest_plugins = ["support.fixtures"]

PAGE = 4096
LARGE = 1 << 20  # not copied by the submitting thread
SECRET = b"secret" * 1000
NOBODY = 65534

Findings = list[str]


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    number = os.open(tmp_path / "data", os.O_RDWR | os.O_CREAT)
    os.pwrite(number, bytes(2 * LARGE), 0)
    yield number
    os.close(number)


@pytest.fixture(params=["our threads' table", "the program's table"], autouse=True)
def table(request: pytest.FixtureRequest) -> Iterator[None]:
    """Our threads use the program's table where a copy of a low number can't be closed."""
    if request.param == "our threads' table":
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    name = f"/linux_aio_{os.getpid()}".encode()
    queue = libc.mq_open(name, os.O_RDWR | os.O_CREAT, 0o600, None)
    if queue < 0:
        pytest.skip("no message queues here")
    libc.mq_unlink(name)
    yield
    os.close(queue)


def descriptors() -> dict[int, str]:
    """What each number of this process is."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def shared_rings() -> list[tuple[int, int]]:
    """Memory that a kernel's queue is in."""
    found = []
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        if "[aio]" in line or "io_uring" in line:
            begin, end = line.split()[0].split("-")
            found.append((int(begin, 16), int(end, 16)))
    return found


def drop_privileges() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def attack(number: int) -> Findings:
    """Take, empty, write and forge whatever can be, of one descriptor."""
    taken = []
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as found:
        found.setblocking(False)
        with contextlib.suppress(OSError):
            while True:
                data, ancillary, _, _ = found.recvmsg(4096, socket.CMSG_SPACE(4 * 64))
                taken.append(f"received {data!r} {ancillary!r}")
                if not data:
                    break
        own = os.memfd_create("forged")
        files = array.array("i", [own])
        with contextlib.suppress(OSError):
            for size in (1, 8, 16, 24):
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, files)
                found.sendmsg([struct.pack("B", 1).ljust(size, b"\0")], [rights])
    os.set_blocking(number, False)
    with contextlib.suppress(OSError):
        while os.read(number, 8):
            taken.append("emptied")
    with contextlib.suppress(OSError):
        os.write(number, struct.pack("Q", 1))
    return taken


def forge_completions(begin: int, end: int) -> None:
    """In a ring of kernel AIO's: one event that has an address of no request."""
    header = (ctypes.c_uint32 * 8).from_address(begin)
    (ctypes.c_uint64 * 4).from_address(begin + 32 + 32 * header[3])[:] = [0x1000, 0, 0, 0]
    header[3] = (header[3] + 1) % header[1]


def be_hostile(known: dict[int, str]) -> Findings:
    """In a child: what there is that the program did not open itself. It is attacked as well.

    The program's own, later than what is known, are pipes and files.
    """
    drop_privileges()
    findings = []
    for number, what in descriptors().items():
        if number not in known and what.startswith(("socket:", "anon_inode:")):
            findings.append(f"{number}: {what}")
            findings += attack(number)
    for begin, end in shared_rings():
        findings.append(f"a ring at {begin:#x}")
        forge_completions(begin, end)
    return findings


def all_opcodes(context: AIOContext, fd: int) -> None:
    """Data go all ways that there are, and come right."""
    data = os.urandom(LARGE)
    assert perform(context, AIOOperation.write(data, fd, LARGE)) == LARGE
    assert perform(context, AIOOperation.read(LARGE, fd, LARGE)) == data
    assert perform(context, AIOOperation.read(PAGE, fd, LARGE)) == data[:PAGE]
    assert perform(context, AIOOperation.fsync(fd)) is None
    with Gate() as gate:
        poll = AIOOperation.poll(gate, select.POLLIN)
        poll.submit(context)
        gate.open()
        wait_done(poll)
        assert perform(context, AIOOperation.read(1, gate)) == b"!"


def test_a_context_in_use(fd: int) -> None:
    known = descriptors()
    with AIOContext() as context:
        assert context.fileno >= 0  # from now on it is signalled
        all_opcodes(context, fd)
        assert in_child(lambda: be_hostile(known)) == []
        all_opcodes(context, fd)


def test_with_requests_in_flight(fd: int) -> None:
    """Of which the child can neither take the files nor the completions."""
    with Gate() as gate:
        known = descriptors()
        with AIOContext() as context:
            waiting: list[AIOOperation] = [AIOOperation.poll(gate, select.POLLIN)]
            if ENGINE != "aio":  # which would wait inside submit
                waiting.append(AIOOperation.read(1, gate))
            context.submit(*waiting)
            assert in_child(lambda: be_hostile(known)) == []
            all_opcodes(context, fd)
            gate.open()
            wait_done(*waiting)
            assert waiting[-1].get_result() in {b"!", select.POLLIN}


def test_a_file_that_is_opened_later(tmp_path: Path) -> None:
    """While the child, which was there before, looks for it; and its own is not taken for it."""
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    with AIOContext() as context, Gate() as gate:
        known = descriptors()
        perform(context, AIOOperation.write(bytes(LARGE), os.memfd_create("data")))

        def look_until_told() -> Findings:
            findings = []
            while not is_readable(gate.fileno()):
                findings += be_hostile(known)
            return findings

        child = start_child(look_until_told)
        try:
            for _ in range(50):
                number = os.open(secret, os.O_RDWR)
                written = os.urandom(LARGE)
                assert perform(context, AIOOperation.write(written, number)) == LARGE
                assert perform(context, AIOOperation.read(LARGE, number)) == written
                assert secret.read_bytes() == written
                os.close(number)
        finally:
            gate.open()
            findings = report_of(child)
        assert findings == []


def test_an_awaited_context_and_its_loop(fd: int) -> None:
    async def main() -> None:
        known = descriptors()
        async with AIOContext() as context:
            submitted = AIOOperation.read(PAGE, fd)
            with Gate() as gate:
                first = AIOOperation.poll(gate, select.POLLIN)
                first.submit(context)
                waiting = asyncio.ensure_future(first)  # the context's own eventfd is watched
                other = asyncio.ensure_future(context.write(bytes(LARGE), fd))
                await asyncio.sleep(0)
                assert in_child(lambda: be_hostile(known)) == []
                assert await other == LARGE
                gate.open()
                assert await waiting == select.POLLIN
            submitted.submit(context)
            assert await context.read(PAGE, fd) == bytes(PAGE)

    run(main())


@pytest.mark.long
@pytest.mark.without_sanitizers
def test_at_the_first_use_of_many(fd: int) -> None:
    """Threads make contexts, and ours start, while children are made."""
    known = descriptors()
    at_end: list[bool] = []

    def use() -> None:
        while not at_end:
            with AIOContext(8) as context:
                data = os.urandom(LARGE)
                file = os.memfd_create("x")
                assert perform(context, AIOOperation.write(data, file)) == LARGE
                assert os.pread(file, LARGE, 0) == data
                os.close(file)

    using = [start(use) for _ in range(2)]
    try:
        for _ in range(60):
            assert in_child(lambda: be_hostile(known)) == []
    finally:
        at_end.append(True)
    finish(*using)


def test_the_programs_own_eventfds_stay(fd: int) -> None:
    with EventFD() as eventfd, AIOContext() as context:
        AIOOperation.write(b"data", fd).submit(context, eventfd)
        assert eventfd.read() == 1

        def use() -> int:
            eventfd.write(3)
            return eventfd.read()

        assert in_child(use) == 3


def test_numbers_that_the_child_uses_again_are_its_own(fd: int) -> None:
    """What the child lets go of, or drops, closes none of what it has opened since."""

    def let_go(close: Callable[[AIOContext], object]) -> bool:
        opened = [os.memfd_create("childs") for _ in range(20)]
        close(context)
        return all("childs" in os.readlink(f"/proc/self/fd/{number}") for number in opened)

    with AIOContext() as context:
        all_opcodes(context, fd)
        assert in_child(lambda: let_go(AIOContext.close))
        assert in_child(lambda: let_go(lambda _: None))


def test_a_child_does_not_have_what_the_loop_watches(any_loop: AnyLoop, tmp_path: Path) -> None:
    """Also the files of the loop's own context: with them a child keeps the loop busy for ever."""

    def identities(numbers: list[int]) -> set[str]:
        """Which eventfds and other files without a name the numbers are."""
        found = set()
        for number in numbers:
            what = descriptors().get(number, "")
            with contextlib.suppress(OSError):  # those of our threads may be closed by now
                lines = Path(f"/proc/self/fdinfo/{number}").read_text(encoding="utf-8").splitlines()
                of_eventfd = [line for line in lines if line.startswith("eventfd-id")]
                if what.startswith("anon_inode:"):
                    found.add(f"{what} {of_eventfd or number}")
        return found

    async def main() -> None:
        before = descriptors()
        await linux_aio.write_bytes(tmp_path / "file", b"data")
        ours = [
            number
            for number, what in descriptors().items()
            if number not in before and what.startswith("anon_inode:")
        ]
        expected = identities(ours)
        assert expected
        assert not expected.intersection(in_child(lambda: identities(ours)))

    any_loop.run(main)
