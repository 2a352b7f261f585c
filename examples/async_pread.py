# SPDX-License-Identifier: Apache-2.0
"""DeepNVMe's handle, `async_pread` and `wait`, written with load_into.

    python examples/async_pread.py [FILE]

DeepSpeed's needs libaio's headers and a compiler when it is installed, a file whose size is a
multiple of its block size, and buffers that it has pinned. This one takes any.
"""

from __future__ import annotations

import os
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor

from linux_aio import aligned_buffer
from linux_aio.bulk import Transfer, load_into


class AioHandle:
    def __init__(self, block_size: int = 1 << 20, queue_depth: int = 16, threads: int = 4) -> None:
        self._block_size = block_size
        self._queue_depth = queue_depth
        self._threads = ThreadPoolExecutor(threads)
        self._waiting: list[Future[Transfer]] = []

    def async_pread(self, buffer: memoryview, path: str, offset: int = 0) -> None:
        """Begin to fill the buffer. It must not be used before wait() returns."""
        segments = [(offset, buffer)]
        self._waiting.append(
            self._threads.submit(
                load_into, path, segments, chunk=self._block_size, depth=self._queue_depth
            )
        )

    def wait(self) -> int:
        """Return how many have ended since the last call; or raise the error of one."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            transfer = future.result()
            way = "past the page cache" if transfer.direct else "through the page cache"
            print(f"{transfer.nbytes} bytes by {transfer.engine}, {way}")
        return len(waiting)

    def pread(self, buffer: memoryview, path: str, offset: int = 0) -> int:
        """Fill the buffer."""
        self.async_pread(buffer, path, offset)
        return self.wait()

    def close(self) -> None:
        self._threads.shutdown()


def read(path: str) -> None:
    """Read the file in two halves at the same time."""
    size = os.path.getsize(path)
    halves = aligned_buffer(size // 2), aligned_buffer(size - size // 2)
    handle = AioHandle()
    try:
        handle.async_pread(halves[0], path)
        handle.async_pread(halves[1], path, size // 2)
        print(f"{handle.wait()} reads have ended")
    finally:
        handle.close()


def main() -> None:
    if len(sys.argv) > 1:
        read(sys.argv[1])
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(os.urandom(3_000_001))
        file.flush()
        read(file.name)


if __name__ == "__main__":
    main()
