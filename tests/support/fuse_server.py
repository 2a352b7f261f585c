# SPDX-License-Identifier: Apache-2.0
"""The server process behind `support.fusefs`: it mounts, serves /dev/fuse, and obeys the test.

Its one thread waits for three things at once: the kernel's requests, the test's commands, and the
end of the test process. It never waits for one request alone. The server is a separate process,
because a test may hold the GIL in a system call until the file system answers.

No other process has the /dev/fuse descriptor. So when this process ends in any way, the kernel
aborts the connection, and all callers that wait for an answer get an error.
"""

from __future__ import annotations

import argparse
import errno
import os
import selectors
import signal
import socket
import stat
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, ClassVar, TypeAlias

from support import fuse_wire as wire
from support.fuse_control import Message, Unpacker, pack
from support.fuse_files import Directory, Node
from support.fuse_gate import Gate, Kind, Pending, Rule
from support.fuse_power import PowerSwitch
from support.mount_calls import MS_NODEV, MS_NOSUID, detach_if_mounted, mount

# How often to check whether the test process is ending while its requests are held.
WATCH_SECONDS = 0.2

# Fields of /proc/PID/stat, counted from the one behind the name; proc(5) has them as 9 and 31.
STAT_FLAGS = 9 - 3
STAT_SIGNAL = 31 - 3
PF_EXITING = 0x4  # a flag, as in the kernel's <linux/sched.h>

Handler: TypeAlias = "Callable[[FileSystem, wire.Request], bytes | None]"


class FileSystem:
    """Answers the kernel's requests: transfers when the gate says, all others at once."""

    def __init__(
        self,
        mountpoint: Path,
        *,
        direct_io: bool,
        patience: float,
        disks: bool,
        flushes: bool,
        checks_cache: bool,
    ) -> None:
        self._mountpoint = mountpoint
        self._checks_cache = checks_cache
        self._open_flags = wire.OPENED_DIRECT_IO if direct_io else 0
        self._open_flags |= 0 if flushes else wire.OPENED_NOFLUSH
        self.directory = Directory(with_disks=disks)
        self.power = PowerSwitch(self._lose_power)
        self.survival = Random(0)  # decides what is left after a cut
        self.gate = Gate(self._send, patience, self.power)
        self._device = os.open("/dev/fuse", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        options = f"fd={self._device},rootmode=40755,user_id=0,group_id=0"
        options += ",allow_other,default_permissions"
        mount("holdingfs", mountpoint, "fuse.holdingfs", MS_NOSUID | MS_NODEV, options)

    def fileno(self) -> int:
        """Readable when the kernel has a request."""
        return self._device

    def close(self) -> None:
        """Abort the connection, then unmount.

        In the other order, the kernel could send requests that only this server can answer, while
        the server waits inside umount.
        """
        self._disconnect()
        detach_if_mounted(self._mountpoint)

    def _disconnect(self) -> None:
        """Abort the connection: requests that wait for an answer fail, and so do later ones."""
        device, self._device = self._device, -1
        if device >= 0:
            os.close(device)

    def _lose_power(self) -> None:
        self._disconnect()
        self.gate.forget_everything()
        self.directory.lose_power(self.survival)

    def serve_waiting(self) -> bool:
        """Serve all requests that have arrived. Return False if the file system was unmounted."""
        for _ in range(wire.MAX_BACKGROUND):
            if self.power.is_off:
                return True
            try:
                message = os.read(self._device, wire.READ_BUFFER_SIZE)
            except BlockingIOError:
                return True
            except FileNotFoundError:
                continue  # its process was killed before we could read the request
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return False
                raise
            self._serve(wire.parse_request(message))
        return True

    def _serve(self, request: wire.Request) -> None:
        handler = self._HANDLERS.get(request.opcode, FileSystem._refuse)
        try:
            payload = handler(self, request)
        except OSError as error:
            self._send(wire.refusal(request.unique, wire.errno_of(error)))
        except Exception:
            traceback.print_exc()
            self._send(wire.refusal(request.unique, errno.EIO))
        else:
            if payload is not None:
                self._send(wire.answer(request.unique, payload))

    def _send(self, parts: list[bytes]) -> None:
        if self.power.is_off:
            return
        try:
            os.writev(self._device, parts)
        except OSError as error:
            # The kernel no longer waits for this answer (ENOENT), or for any (ENODEV).
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise

    # Handlers return the answer's payload, or None for requests that get no answer, or not yet.

    def _init(self, request: wire.Request) -> bytes:
        return wire.init_answer(request.body, checks_cache=self._checks_cache)

    def _lookup(self, request: wire.Request) -> bytes:
        return self._entry(self.directory.named(wire.parse_name(request.body)))

    def _getattr(self, request: wire.Request) -> bytes:
        return wire.attr_answer(self.directory.node(request.node).attributes())

    def _setattr(self, request: wire.Request) -> bytes:
        node = self.directory.node(request.node)
        node.change(wire.parse_setattr(request.body))
        return wire.attr_answer(node.attributes())

    def _open(self, request: wire.Request) -> bytes:
        self.directory.node(request.node)
        return wire.open_answer(self._open_flags)

    def _create(self, request: wire.Request) -> bytes:
        mode, name = wire.parse_create(request.body)
        node = self.directory.create(name, mode, request.uid, request.gid)
        return self._entry(node) + wire.open_answer(self._open_flags)

    def _unlink(self, request: wire.Request) -> bytes:
        self.directory.unlink(wire.parse_name(request.body))
        return b""

    def _rename(self, request: wire.Request) -> bytes:
        if self.power.moment():
            self.directory.rename(*wire.parse_rename(request.body))
            self.power.moment()
        return b""

    def _opendir(self, request: wire.Request) -> bytes:
        if not stat.S_ISDIR(self.directory.node(request.node).mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return wire.open_answer(0)

    def _readdir(self, request: wire.Request) -> bytes:
        position, size = wire.parse_transfer(request.body)
        return wire.directory_answer(self.directory.entries(position), size)

    def _statfs(self, _: wire.Request) -> bytes:
        return wire.statfs_answer(4096, 1 << 20, 1 << 19, len(self.directory))

    def _succeed(self, _: wire.Request) -> bytes:
        return b""

    def _refuse(self, _: wire.Request) -> bytes:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    def _forget(self, request: wire.Request) -> None:
        for node, lookups in wire.parse_forget(request):
            self.directory.forget(node, lookups)

    def _interrupt(self, request: wire.Request) -> None:
        self.gate.interrupt(wire.parse_interrupt(request.body))

    def _read(self, request: wire.Request) -> None:
        node = self.directory.node(request.node)
        offset, size = wire.parse_transfer(request.body)
        self.gate.admit(Pending(request.unique, "read", node, offset, size))

    def _write(self, request: wire.Request) -> None:
        node = self.directory.node(request.node)
        offset, size = wire.parse_transfer(request.body)
        payload = wire.write_payload(request.body)
        synchronous = wire.is_synchronous(request.body)
        self.gate.admit(Pending(request.unique, "write", node, offset, size, payload, synchronous))

    def _fsync(self, request: wire.Request) -> None:
        node = self.directory.node(request.node)
        covers = node.disk.mark() if node.disk is not None else 0
        self.gate.admit(Pending(request.unique, "fsync", node, covers=covers))

    def _fsyncdir(self, request: wire.Request) -> None:
        if self.directory.root.disk is None:
            self._refuse(request)
        self._fsync(request)

    def _flush(self, request: wire.Request) -> None:
        self.gate.admit(Pending(request.unique, "flush", self.directory.node(request.node)))

    def _entry(self, node: Node) -> bytes:
        node.lookups += 1
        return wire.entry_answer(node.attributes())

    _HANDLERS: ClassVar[dict[int, Handler]] = {
        wire.Opcode.INIT: _init,
        wire.Opcode.LOOKUP: _lookup,
        wire.Opcode.FORGET: _forget,
        wire.Opcode.BATCH_FORGET: _forget,
        wire.Opcode.GETATTR: _getattr,
        wire.Opcode.SETATTR: _setattr,
        wire.Opcode.OPEN: _open,
        wire.Opcode.CREATE: _create,
        wire.Opcode.UNLINK: _unlink,
        wire.Opcode.RENAME: _rename,
        wire.Opcode.READ: _read,
        wire.Opcode.WRITE: _write,
        wire.Opcode.FSYNC: _fsync,
        wire.Opcode.FLUSH: _flush,
        wire.Opcode.RELEASE: _succeed,
        wire.Opcode.OPENDIR: _opendir,
        wire.Opcode.READDIR: _readdir,
        wire.Opcode.RELEASEDIR: _succeed,
        wire.Opcode.FSYNCDIR: _fsyncdir,
        wire.Opcode.STATFS: _statfs,
        wire.Opcode.INTERRUPT: _interrupt,
        wire.Opcode.DESTROY: _succeed,
    }


class Commands:
    """The commands of the test: each public method is the command of that name.

    The arguments come from `HoldingFS`, where they are checked and documented.
    """

    def __init__(self, file_system: FileSystem) -> None:
        self._file_system = file_system
        self._directory = file_system.directory
        self._gate = file_system.gate

    def create(self, name: str, blob: bytes) -> None:
        self._directory.create(name).replace(blob)

    def contents(self, name: str) -> bytes:
        return bytes(self._directory.named(name).data)

    def hold(self, kinds: list[Kind]) -> None:
        self._gate.holding = kinds

    def held(self) -> int:
        return self._gate.held

    def release(self, **choice: Any) -> int:
        return self._gate.release(**choice)

    def unhold(self) -> int:
        self._gate.holding = ()
        return self._gate.release()

    def fail(self, **rule: Any) -> None:
        self._gate.failure = Rule(**rule)

    def short(self, **rule: Any) -> None:
        self._gate.shortage = Rule(**rule)

    def delay(self, seconds: float, scatter: float) -> None:
        self._gate.delay_seconds = seconds
        self._gate.scatter_seconds = scatter

    def cut_power(self, moments: int, seed: int) -> None:
        self._file_system.survival.seed(seed)
        if moments == 0:
            self._file_system.power.cut()
        self._file_system.power.arm(moments)

    def has_power(self) -> bool:
        return not self._file_system.power.is_off

    def fill_reads(self, byte: int | None) -> None:
        self._gate.fill_byte = byte

    def reset(self) -> None:
        self._gate.reset()

    def log(self) -> list[Any]:
        return self._gate.log

    def unmount(self) -> None:
        self._gate.release_everything()


class Server:
    """The main loop. It ends by a command, with the test process, or after an unmount."""

    def __init__(self, file_system: FileSystem, control: socket.socket, controller: int) -> None:
        self._file_system = file_system
        self._gate = file_system.gate
        self._commands = Commands(file_system)
        self._control = control
        self._unpacker = Unpacker()
        self._unsent = bytearray()
        self._controller = controller
        self._selector = selectors.DefaultSelector()
        self._running = True
        self._serving = True

    def run(self) -> None:
        """Serve until the end."""
        # Not PR_SET_PDEATHSIG: that signal comes when the *thread* that started us ends.
        watch = os.pidfd_open(self._controller)
        if os.getppid() != self._controller:
            return  # it was gone before we could watch it
        self._control.setblocking(False)
        self._selector.register(watch, selectors.EVENT_READ, self._controller_ended)
        self._selector.register(self._file_system, selectors.EVENT_READ, self._requests_came)
        self._selector.register(self._control, selectors.EVENT_READ, self._commands_came)
        self._reply(Message({"value": "mounted"}))
        while self._running or self._unsent:
            for key, _ in self._selector.select(self._timeout()):
                key.data()
            self._gate.tick()
            self._notice_power_loss()
            if self._gate.busy and is_ending(self._controller):
                self._controller_ended()

    def _notice_power_loss(self) -> None:
        if self._file_system.power.is_off and self._serving:
            self._serving = False
            self._selector.unregister(self._file_system)

    def _timeout(self) -> float | None:
        due = self._gate.next_due()
        if due is None:
            return None
        return max(0.0, min(due - time.monotonic(), WATCH_SECONDS))

    def _requests_came(self) -> None:
        if not self._file_system.serve_waiting():
            self._stop()

    def _controller_ended(self) -> None:
        self._unsent.clear()
        self._stop()

    def _stop(self) -> None:
        self._running = False

    def _commands_came(self) -> None:
        if self._unsent:
            self._flush()
        try:
            data = self._control.recv(1 << 20)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._controller_ended()
        for message in self._unpacker.feed(data):
            self._obey(message)

    def _obey(self, message: Message) -> None:
        # The command must see requests that were submitted before it was sent.
        self._requests_came()
        arguments = dict(message.head)
        command = arguments.pop("command")
        if message.blob is not None:
            arguments["blob"] = message.blob
        try:
            value = getattr(self._commands, command)(**arguments)
        except OSError as error:
            self._reply(Message({"error": error.errno, "reason": error.strerror}))
            return
        if isinstance(value, bytes):
            self._reply(Message({"value": None}, value))
        else:
            self._reply(Message({"value": value}))
        if command == "unmount":
            self._stop()

    def _reply(self, message: Message) -> None:
        self._unsent += pack(message)
        self._flush()

    def _flush(self) -> None:
        try:
            sent = self._control.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except ConnectionError:
            self._controller_ended()
            return
        del self._unsent[:sent]
        writing = selectors.EVENT_WRITE if self._unsent else 0
        self._selector.modify(self._control, selectors.EVENT_READ | writing, self._commands_came)


def is_ending(process: int) -> bool:
    """Whether the process is ending, or will end as soon as its requests are answered.

    A killed process waits for its requests before its pidfd reports its end. If the server held the
    requests until then, both would wait for ever.
    """
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False  # it has ended, which its pidfd tells as well
    fields = status.rpartition(")")[2].split()
    flags = int(fields[STAT_FLAGS])
    pending_signals = int(fields[STAT_SIGNAL])
    return bool(flags & PF_EXITING or pending_signals & 1 << (signal.SIGKILL - 1))


def main() -> int:
    """Mount, tell the test whether that worked, and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mountpoint", type=Path)
    parser.add_argument("--control", type=int, required=True, help="descriptor of a socket")
    parser.add_argument("--controller", type=int, required=True, help="process to end with")
    parser.add_argument("--patience", type=float, required=True, help="seconds to hold at most")
    parser.add_argument("--disks", action="store_true", help="keep apart what is synced")
    parser.add_argument("--flushes", action="store_true", help="be told of each close")
    parser.add_argument("--checks-cache", action="store_true", help="as libfuse's servers do")
    parser.add_argument("--direct-io", action="store_true", help="never use the page cache")
    options = parser.parse_args()

    control = socket.socket(fileno=options.control)
    try:
        file_system = FileSystem(
            options.mountpoint,
            direct_io=options.direct_io,
            patience=options.patience,
            disks=options.disks,
            flushes=options.flushes,
            checks_cache=options.checks_cache,
        )
    except OSError as error:
        control.sendall(pack(Message({"error": error.errno, "reason": error.strerror})))
        return 1
    try:
        Server(file_system, control, options.controller).run()
    finally:
        file_system.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
