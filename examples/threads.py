# SPDX-License-Identifier: Apache-2.0
"""One context for each thread: how reads from memory scale with the processors.

    python examples/threads.py [SECONDS]

With the GIL, threads take turns. Under free-threaded Python (3.13 and later) they don't, and as
they share nothing of the module's, twice the threads read twice as much while there are processors
to be had. The time of a processor that each read takes tells it on a busy machine, too: it stays.
"""

import os
import sys
import threading
import time

from linux_aio import AIOContext, AIOOperation

NBYTES = 4096
BATCH = 32


def read_for(
    seconds: float, line: threading.Barrier, counts: list[int], times: list[float]
) -> None:
    """Read a file in memory again and again, and add how often, and the processor's time."""
    fd = os.memfd_create("data")
    os.write(fd, bytes(NBYTES * BATCH))
    with AIOContext(BATCH) as context:
        operations = [AIOOperation.read(NBYTES, fd, NBYTES * n) for n in range(BATCH)]
        line.wait()
        begin, end = time.thread_time(), time.monotonic() + seconds
        count = 0
        while time.monotonic() < end:
            context.submit(*operations)
            for operation in context.getevents(BATCH):
                operation.get_result()
            count += BATCH
        times.append(time.thread_time() - begin)
    os.close(fd)
    counts.append(count)


def measure(threads: int, seconds: float) -> tuple[float, float]:
    """Reads in a second, and seconds of a processor for a read."""
    line = threading.Barrier(threads)
    counts: list[int] = []
    times: list[float] = []
    working = [
        threading.Thread(target=read_for, args=(seconds, line, counts, times))
        for _ in range(threads)
    ]
    for thread in working:
        thread.start()
    for thread in working:
        thread.join()
    return sum(counts) / seconds, sum(times) / sum(counts)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    processors = len(os.sched_getaffinity(0))
    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    print(f"Python {sys.version.split()[0]}, GIL {'on' if has_gil else 'off'}, {processors} CPUs")
    alone, _ = measure(1, seconds)
    for threads in sorted({1, 2, processors}):
        rate, cost = measure(threads, seconds)
        print(
            f"{threads:3} threads: {rate:12,.0f} reads/s, {rate / alone:.2f} times one, "
            f"{1e6 * cost:.2f} µs of a processor each"
        )


if __name__ == "__main__":
    main()
