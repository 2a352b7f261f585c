"""An event loop of one's own: it waits for files, a timer and a pipe at once.

A task is a generator. It yields the operation that it waits for, and gets the result.
"""

import os
import select
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Any

from linux_aio import AIOContext, AIOOperation

BLOCK = 4096

Task = Generator[AIOOperation, Any, None]


class Loop:
    def __init__(self) -> None:
        self.context = AIOContext()
        self.waiting: dict[AIOOperation, Task] = {}
        self.not_submitted: deque[AIOOperation] = deque()
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.readers: dict[int, Callable[[], None]] = {self.context.fileno: self.collect}
        self.epoll = select.epoll()
        # readable while completed operations wait to be collected
        self.epoll.register(self.context.fileno, select.EPOLLIN)

    def close(self) -> None:
        self.epoll.close()
        self.context.close()

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        self.epoll.register(fd, select.EPOLLIN)
        self.readers[fd] = callback

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        self.timers.append((time.monotonic() + seconds, callback))

    def start(self, task: Task) -> None:
        self.step(task, task.__next__)

    def step(self, task: Task, resume: Callable[..., AIOOperation], *arguments: Any) -> None:
        """Let the task run until it yields an operation, which is submitted in this turn."""
        try:
            operation = resume(*arguments)
        except StopIteration:
            return
        self.waiting[operation] = task
        self.not_submitted.append(operation)

    def submit(self) -> None:
        """Submit all that was yielded, in one system call. What finds no room waits for a turn."""
        if not self.not_submitted:
            return
        try:
            taken = self.context.submit(*self.not_submitted)
        except BlockingIOError:  # the queue is full
            return
        except OSError as error:  # the first of them is refused
            task = self.waiting.pop(self.not_submitted.popleft())
            self.step(task, task.throw, error)
            return
        for _ in range(taken):
            self.not_submitted.popleft()

    def collect(self) -> None:
        """Resume the tasks whose operations have completed."""
        for operation in self.context.getevents(0):
            task = self.waiting.pop(operation)
            try:
                result = operation.get_result()
            except OSError as error:
                self.step(task, task.throw, error)
            else:
                self.step(task, task.send, result)

    def run(self) -> None:
        """Go round until no task is left."""
        while self.waiting:
            self.submit()
            now = time.monotonic()
            due = [callback for when, callback in self.timers if when <= now]
            self.timers = [timer for timer in self.timers if timer[0] > now]
            for callback in due:
                callback()
            until = min((when for when, _ in self.timers), default=now + 60)
            can_go_on = bool(self.not_submitted) and self.context.in_flight == 0
            for fd, _ in self.epoll.poll(0 if can_go_on else max(0, until - now)):
                self.readers[fd]()


def main() -> None:
    loop = Loop()
    received: list[bytes] = []
    read_back: dict[int, bytes] = {}
    reader, writer = os.pipe()

    def work(number: int) -> Task:
        """Write a block and read it back."""
        block = bytes([number]) * BLOCK
        written = yield AIOOperation.write(block, file, number * BLOCK)
        assert written == BLOCK
        read_back[number] = yield AIOOperation.read(BLOCK, file, number * BLOCK)
        assert read_back[number] == block

    def fail() -> Task:
        try:
            yield AIOOperation.read(BLOCK, writer)
        except OSError as error:
            print(f"as it should: {error}")

    with tempfile.TemporaryFile(buffering=0) as file:
        for number in range(200):
            loop.start(work(number))
        loop.start(fail())
        loop.add_reader(reader, lambda: received.append(os.read(reader, 100)))
        loop.call_later(0.001, lambda: print("a timer, while the disk is busy"))
        os.write(writer, b"something else")
        loop.run()
    assert len(read_back) == 200
    print(f"{len(read_back)} blocks were read back")
    print(f"the pipe said {received}")
    loop.close()
    os.close(reader)
    os.close(writer)


if __name__ == "__main__":
    main()
