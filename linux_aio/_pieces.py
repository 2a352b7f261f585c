# SPDX-License-Identifier: Apache-2.0
"""Reads a file in pieces, by a thread of the extension that never needs the GIL."""

from __future__ import annotations

import array
import contextlib
import mmap
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from . import _core


def whole_pages(nbytes: int) -> int:
    """Return nbytes, rounded up to whole pages."""
    return -(-nbytes // mmap.PAGESIZE) * mmap.PAGESIZE


class EndableThread(threading.Thread):
    """A daemon thread that end_threads() ends, even if a signal handler raised within start().

    Then nobody knows whether the thread began, and join() may be a RuntimeError.
    """

    def __init__(self, target: Callable[..., None], args: tuple[Any, ...], name: str) -> None:
        super().__init__(target=target, args=args, name=name, daemon=True)
        self._pid = os.getpid()
        self._first: dict[str, str] = {}
        self._has_ended = threading.Event()

    @property
    def is_of_parent(self) -> bool:
        """Whether this is a child process, which has no such thread."""
        return self._pid != os.getpid()

    def run(self) -> None:
        if self._first.setdefault("", "run") == "run":  # else the end came first
            try:
                super().run()
            finally:
                self._has_ended.set()

    def wait_for_end(self) -> None:
        """Wait until the target has returned, or prevent that it is called at all."""
        if self._first.setdefault("", "end") == "run":
            self._has_ended.wait()
            with contextlib.suppress(RuntimeError):  # start() was interrupted
                self.join()


def end_threads(threads: list[EndableThread], tell: Callable[[], None]) -> None:
    """Tell each thread to end, and wait for it, even if a signal handler raises meanwhile.

    The caller then closes the descriptors and frees the memory that the threads use.
    """
    if any(thread.is_of_parent for thread in threads):
        return  # what they locked stays locked
    interrupt: BaseException | None = None
    while True:
        try:
            for _ in threads:
                tell()
            for thread in threads:
                thread.wait_for_end()
            break
        except BaseException as error:  # such as KeyboardInterrupt
            interrupt = error
    if interrupt is not None:
        raise interrupt


class PieceThread:
    """Reads (start, end) ranges in pieces of `unit` bytes, into `count` places that are reused.

    A context manager: the thread has ended at the end of the `with` block.
    """

    def __init__(
        self,
        fds: tuple[int, int],
        ranges: Iterable[tuple[int, int]],
        options: tuple[int, int, int, str],
        unit: int,
        count: int,
    ) -> None:
        table = array.array("Q")
        for start, end in ranges:
            table.extend((start, end - start, 0))
        # mmap() gives whole pages, so that direct reads need no copy
        self._memory = memoryview(mmap.mmap(-1, unit * count, flags=_PRIVATE))
        self._unit = unit
        self._reader = _core._PieceReader(table, self._memory, unit, 0)
        self._arguments = *fds, *options
        self._answer: tuple[Any, ...] | BaseException = ()
        self._finished = False
        self._thread = EndableThread(self._read, (), "linux_aio read")

    def _read(self) -> None:
        try:
            self._answer = self._reader.run(*self._arguments, -1)
        except BaseException as error:
            self._answer = error
        self._finished = True
        self._reader.stop()  # wakes a thread that waits for a piece

    def __enter__(self) -> PieceThread:
        return self

    def __exit__(self, *_: object) -> None:
        end_threads([self._thread], self._reader.stop)

    def pieces(self, tick: Callable[[int], None]) -> Iterator[tuple[int, int, int, memoryview]]:
        """Yield (index, offset, place, data) as they come; calls tick(bytes so far) now and then.

        `data` is shorter than a piece at the end of the file.
        """
        self._thread.start()  # within the `with` block, so that __exit__ is called
        done = 0
        while True:
            finished = self._finished
            for index, offset, place, nbytes in self._reader.take():
                assert isinstance(place, int)
                start = place * self._unit
                yield index, offset, place, self._memory[start : start + nbytes]
                done += nbytes
                tick(done)
            if finished:
                return
            tick(done)
            self._reader.wait(40)

    def give_back(self, place: int) -> None:
        """Let the place be reused. Any thread may call this."""
        self._reader.give_back(place)

    def answer(self) -> tuple[Any, ...]:
        """Return the extension's report once there are no more pieces; or raise its error."""
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer


_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
