# SPDX-License-Identifier: Apache-2.0
"""The process that appends records, and reports each that is safe, until the power is gone.

`python -m durability.writer PATH --report=FD --engine=E --sync=S --layout=L --way=W --seed=N`
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import sys
from pathlib import Path
from struct import Struct

from durability.records import Log, Record
from linux_aio import AIOContext, AIOOperation, EventFD, aligned_buffer

WRITERS = 8  # records on their way at the same time
NUMBER = Struct("=I")

NO_POWER = {errno.ECONNABORTED, errno.ENOTCONN}  # what the kernel says then


class Writer:
    """The log's file, and what is done to it."""

    def __init__(self, options: argparse.Namespace) -> None:
        direct = options.layout == "direct"
        flags = os.O_RDWR | (os.O_DIRECT if direct else 0)
        self._direct = direct
        self._fd = os.open(options.path, flags)
        self._context = AIOContext(WRITERS * 2, engine=options.engine)
        self._sync: str = options.sync
        self._flags = os.RWF_DSYNC if options.sync == "dsync" else 0
        self._report: int = options.report
        self._log = Log(options.layout, options.seed)

    def acknowledge(self, record: Record) -> None:
        """Tell the world that it is safe."""
        os.write(self._report, NUMBER.pack(record.number))

    def payload(self, record: Record) -> bytes | memoryview:
        if not self._direct:
            return record.data
        buffer: memoryview = aligned_buffer(len(record.data))
        buffer[:] = record.data
        return buffer

    # With await: each task writes, syncs and reports for itself.

    async def append_for_ever(self) -> None:
        while (record := self._log.next()) is not None:
            payload, done = self.payload(record), 0
            while done < len(payload):
                done += await self._context.write(
                    payload[done:], self._fd, record.offset + done, flags=self._flags
                )
            if self._sync in ("fsync", "fdsync"):
                await getattr(self._context, self._sync)(self._fd)
            self.acknowledge(record)

    async def run_tasks(self) -> None:
        tasks = [asyncio.create_task(self.append_for_ever()) for _ in range(WRITERS)]
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, BaseException):
                tolerate(result)

    # Without: a batch of writes, one sync for all of them (a group commit), and then the reports.

    def append_in_batches(self, efd: EventFD | None) -> None:
        while records := [record for _ in range(WRITERS) if (record := self._log.next())]:
            writes = [self.write(record) for record in records]
            self.perform(writes, efd)
            for record, write in zip(records, writes, strict=True):
                done = write.get_result()
                while done < len(record.data):  # the power went before the rest of it
                    rest = self.write(record, done)
                    self.perform([rest], efd)
                    done += rest.get_result()
                if self._sync == "dsync":
                    self.acknowledge(record)
            if self._sync in ("fsync", "fdsync"):
                sync = getattr(AIOOperation, self._sync)(self._fd)
                self.perform([sync], efd)
                sync.get_result()
            if self._sync != "dsync":
                for record in records:
                    self.acknowledge(record)

    def write(self, record: Record, done: int = 0) -> AIOOperation[int]:
        payload = self.payload(record)[done:]
        return AIOOperation.write(payload, self._fd, record.offset + done, 0, self._flags)

    def perform(self, operations: list[AIOOperation], efd: EventFD | None) -> None:
        left = operations
        while left:
            for operation in left if efd is not None else ():
                operation.prepare(efd)  # type: ignore[arg-type]
            taken = self._context.submit(*left)
            if efd is None:
                self._context.getevents(taken)
            else:
                signalled = 0
                while signalled < taken:
                    signalled += efd.read()
            left = left[taken:]

    def run(self, way: str) -> None:
        if way == "await":
            asyncio.run(self.run_tasks())
        elif way == "eventfd":
            with EventFD() as efd:
                self.append_in_batches(efd)
        else:
            self.append_in_batches(None)


def tolerate(error: BaseException) -> None:
    """Raise what is not for want of power."""
    if not isinstance(error, OSError) or error.errno not in NO_POWER:
        raise error


def main() -> int:
    """Write until the power is gone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--report", type=int, required=True)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--sync", choices=["dsync", "fsync", "fdsync", "none"], required=True)
    parser.add_argument("--layout", choices=["append", "direct"], required=True)
    parser.add_argument("--way", choices=["await", "getevents", "eventfd"], required=True)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    try:
        Writer(options).run(options.way)
    except OSError as error:
        tolerate(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
