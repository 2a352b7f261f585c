# SPDX-License-Identifier: Apache-2.0
"""A file system whose reads, writes and fsyncs are answered when and how the test says.

On a disk a request is over before a test can look at it. Here it stays in flight:

    with mounted(tmp_path) as fs:
        fs.create("data", b"x" * 4096)
        fd = os.open(fs.path("data"), os.O_RDONLY | os.O_DIRECT)
        fs.hold()
        ...                     # submit a read: it is in flight now, and stays so
        fs.wait_held(1)
        fs.release()            # now it completes
        os.close(fd)

Mounting needs root and /dev/fuse: skip where `fs_available()` gives a reason. What to know:

- In FUSE, only direct I/O (O_DIRECT) within the file's size is asynchronous. A buffered request, an
  extending write and an fsync block their thread. So does a write to a file while an fsync, a
  buffered write or an extending write of that file is held (the kernel locks the file).
- If a thread blocks with the GIL held, no other thread of the process can release its request. Use
  `delay` there. Requests that are held for more than `patience` seconds fail with ETIMEDOUT, so
  that a stuck test fails instead of hanging.
- A signal ends a blocked fsync or buffered transfer with EINTR. While direct I/O blocks, the
  signal's handler has to wait.
- A request of more than 1 MiB reaches the file system in several parts, each counted. A buffered
  read reaches it as the page cache reads: ahead, and in whole pages.
- After `create` replaces a file, direct reads return the new contents at once, buffered reads once
  the file is opened again.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from support.fuse_control import Message, Unpacker, pack
from support.fuse_gate import KINDS, Kind, LoggedRequest, Order
from support.mount_calls import detach_if_mounted
from support.portable import PORTABLE, REASON

__all__ = ["HoldingFS", "Kind", "LoggedRequest", "Order", "fs_available", "mounted"]

# How long the server may take to answer a command, on a very busy machine. Usually it is at once.
ANSWER_SECONDS = 30.0
# The same for the last command: after that time the server is killed.
UNMOUNT_SECONDS = 5.0

LARGEST_ERRNO = 511  # the kernel accepts no larger one from a file system

_TESTS = Path(__file__).resolve().parent.parent


@functools.cache
def fs_available() -> str | None:
    """Why the file system can't be mounted here, or None if it can."""
    if sys.platform != "linux":
        return "FUSE's protocol here is that of Linux"
    if PORTABLE:
        return REASON
    if os.geteuid() != 0:
        return "mounting needs root"
    if not Path("/dev/fuse").exists():
        return "no /dev/fuse"
    try:
        with tempfile.TemporaryDirectory() as folder, mounted(Path(folder)):
            return None
    except OSError as error:
        return f"mount refused: {error}"


@contextlib.contextmanager
def mounted(
    tmp_path: Path,
    *,
    direct_io: bool = False,
    patience: float = 30.0,
    disks: bool = False,
    flushes: bool = False,
    checks_cache: bool = False,
) -> Iterator[HoldingFS]:
    """Mount in a new folder below `tmp_path`, and unmount whatever happens.

    `direct_io` makes the file system bypass the page cache for files opened without O_DIRECT, too.
    `disks` tracks which written data was synced, for `cut_power`.
    `flushes` has the kernel send a FLUSH, and wait for the answer, whenever a descriptor is closed,
    as in most file systems.
    `checks_cache` has the kernel ask the server, before each read of cached data, whether the file
    has changed, as it does with libfuse.
    """
    mountpoint = Path(tempfile.mkdtemp(prefix="holdingfs-", dir=tmp_path))
    try:
        file_system = HoldingFS(
            mountpoint,
            direct_io=direct_io,
            patience=patience,
            disks=disks,
            flushes=flushes,
            checks_cache=checks_cache,
        )
        try:
            yield file_system
        finally:
            file_system.unmount()
    finally:
        with contextlib.suppress(OSError):  # in a forked child process it is still mounted
            mountpoint.rmdir()


class HoldingFS:
    """A mounted file system, with the commands of the test. Any thread may call them.

    A request is carried out only when it is answered: a held read gets the data that the file has
    when it is released, and `fail`, `short` and `fill_reads` affect held requests, too.
    """

    def __init__(
        self,
        mountpoint: Path,
        *,
        direct_io: bool = False,
        patience: float = 30.0,
        disks: bool = False,
        flushes: bool = False,
        checks_cache: bool = False,
    ) -> None:
        self.mountpoint = mountpoint
        self._owner = os.getpid()
        self._mounted = True
        self._lock = threading.Lock()
        self._unpacker = Unpacker()
        self._control, servers_end = socket.socketpair()
        try:
            with servers_end:
                self._server = _start_server(
                    mountpoint,
                    servers_end,
                    patience,
                    direct_io=direct_io,
                    disks=disks,
                    flushes=flushes,
                    checks_cache=checks_cache,
                )
        except BaseException:
            self._control.close()
            raise
        try:
            self._control.settimeout(ANSWER_SECONDS)
            _check(self._receive())  # its first message: it has mounted, or why not
        except BaseException:
            self.unmount()
            raise

    @property
    def server_pid(self) -> int:
        """The number of the server process."""
        return self._server.pid

    def unmount(self) -> None:
        """Answer all requests, unmount, end the server. May be called again.

        In a forked child process this only closes the child's copies of descriptors.
        """
        if not self._mounted:
            return
        self._mounted = False
        if os.getpid() != self._owner:
            self._control.close()
            return
        try:
            self._end_server()
        finally:
            self._control.close()
            detach_if_mounted(self.mountpoint)  # the server does this, unless it was killed

    # Files

    def path(self, name: str) -> Path:
        """Return the path of the file of this name."""
        return self.mountpoint / name

    def create(self, name: str, data: bytes) -> Path:
        """Make a file, or give the one of this name other contents; returns its path."""
        self._command("create", blob=data, name=name)
        return self.path(name)

    def contents(self, name: str) -> bytes:
        """Return the file's contents in the server: all answered writes are in it."""
        return self._command("contents", name=name).blob or b""

    # When requests are answered

    def hold(
        self, *, reads: bool = True, writes: bool = True, fsyncs: bool = True, flushes: bool = False
    ) -> None:
        """From now on hold requests of these kinds, and answer requests of other kinds."""
        wanted = zip((*KINDS, "flush"), (reads, writes, fsyncs, flushes), strict=True)
        self._command("hold", kinds=[kind for kind, is_wanted in wanted if is_wanted])

    def held(self) -> int:
        """How many requests are held.

        With kernel AIO, these include all requests whose submission has returned. With engines
        that use threads, some requests may not have arrived yet.
        """
        return int(self._command("held").head["value"])

    def wait_held(self, count: int, timeout: float = 10.0) -> None:
        """Wait until at least so many requests are held, with any engine."""
        deadline = time.monotonic() + timeout
        while (held := self.held()) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{held} requests held after {timeout} s, not {count}")
            time.sleep(0.001)

    def release(self, count: int | None = None, order: Order = "fifo") -> int:
        """Answer the `count` oldest ("lifo": youngest) held requests, or all; return how many.

        Wait until `count` requests are held or, without a count, one. Later requests are held, too.
        """
        self.wait_held(1 if count is None else count)
        return int(self._command("release", count=count, order=order).head["value"])

    def unhold(self) -> int:
        """Stop holding requests, and answer all held ones; return how many they were."""
        return int(self._command("unhold").head["value"])

    def delay(self, seconds: float, scatter: float = 0.0) -> None:
        """From now on answer each request so many seconds after it arrived.

        Add a random delay of up to `scatter` seconds, so that they are answered out of order.
        """
        self._command("delay", seconds=seconds, scatter=scatter)

    # The power

    def cut_power(self, moments: int = 0, seed: int = 0) -> None:
        """Cut the power, now or after so many moments.

        A request has three moments: it arrives, it is carried out, it is answered. After the cut,
        waiting requests fail with ECONNABORTED, and later ones with ENOTCONN. `contents` then
        returns what survived: all synced data, and a part of the rest that the seed chooses.
        """
        self._command("cut_power", moments=moments, seed=seed)

    def has_power(self) -> bool:
        """Whether the power has not been cut."""
        return bool(self._command("has_power").head["value"])

    # What requests are answered with

    def fail(self, error: int, count: int | None = None, kinds: Collection[Kind] = KINDS) -> None:
        """Answer the next `count` requests of these kinds, or all, with this errno.

        Don't answer an fsync with ENOSYS: from then on the kernel never sends an fsync, and all of
        them succeed.
        """
        if not 0 < error <= LARGEST_ERRNO:
            raise ValueError(f"{error} is no errno that a file system may answer")
        self._command("fail", value=error, remaining=count, kinds=list(kinds))

    def short(
        self, nbytes: int, count: int | None = None, kinds: Collection[Kind] = ("read", "write")
    ) -> None:
        """Read or write at most `nbytes` for each of the next `count` requests, or for all.

        It works for reads that are direct and asynchronous: the page cache takes a short read for
        the end of the file, and a synchronous direct read gets the rest through the page cache. It
        works for writes to a file opened without O_DIRECT on a file system mounted with
        `direct_io`: in FUSE, a short asynchronous write fails with EIO.
        """
        self._command("short", value=nbytes, remaining=count, kinds=list(kinds))

    def fill_reads(self, byte: int | None) -> None:
        """Answer reads with this byte only; None: with the file's data again.

        So a test can see in memory when the kernel wrote to it.
        """
        if byte is not None and not 0 <= byte <= 255:
            raise ValueError(f"{byte} is no byte")
        self._command("fill_reads", byte=byte)

    def reset(self) -> None:
        """Undo `delay`, `fail`, `short` and `fill_reads`. Held requests stay held."""
        self._command("reset")

    def log(self) -> list[LoggedRequest]:
        """All (kind, offset, size) so far, in the order in which they came."""
        return [LoggedRequest(*entry) for entry in self._command("log").head["value"]]

    # The conversation

    def _command(
        self,
        command: str,
        *,
        blob: bytes | None = None,
        timeout: float = ANSWER_SECONDS,
        **arguments: object,
    ) -> Message:
        with self._lock:
            try:
                self._control.settimeout(timeout)
                self._control.sendall(pack(Message({"command": command, **arguments}, blob)))
                answer = self._receive()
            except BaseException:
                self._control.close()  # a late answer must not be taken for the next one's
                raise
        _check(answer)
        return answer

    def _receive(self) -> Message:
        while data := self._control.recv(1 << 20):
            for message in self._unpacker.feed(data):
                return message
        raise ConnectionResetError("the server of the file system has ended")

    def _end_server(self) -> None:
        try:
            # The server may have ended by itself, or may hang.
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                self._command("unmount", timeout=UNMOUNT_SECONDS)
                self._server.wait(UNMOUNT_SECONDS)
        finally:
            self._server.kill()
            self._server.wait()


def _check(answer: Message) -> None:
    if "error" in answer.head:
        raise OSError(answer.head["error"], answer.head["reason"])


def _start_server(
    mountpoint: Path,
    control: socket.socket,
    patience: float,
    *,
    direct_io: bool,
    disks: bool,
    flushes: bool,
    checks_cache: bool,
) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-ESB",  # the server ignores this process's environment and site-packages
        "-m",
        "support.fuse_server",
        str(mountpoint),
        f"--control={control.fileno()}",
        f"--controller={os.getpid()}",
        f"--patience={patience}",
    ]
    if direct_io:
        command.append("--direct-io")
    if disks:
        command.append("--disks")
    if flushes:
        command.append("--flushes")
    if checks_cache:
        command.append("--checks-cache")
    # A sanitizer is preloaded for the test process only.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    return subprocess.Popen(
        command,
        cwd=_TESTS,
        env=environment,
        pass_fds=[control.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C must not end the server, which has to unmount
    )
