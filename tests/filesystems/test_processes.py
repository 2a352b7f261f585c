# SPDX-License-Identifier: Apache-2.0
"""Pickles, forks, restarts, and workers that are killed while they write."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

fsspec = pytest.importorskip("fsspec")

from linux_aio.fsspec import AioFileSystem  # noqa: E402

SIZE = 3_000_000
KEYS = 6

# Each value is one byte, repeated, so that a part of one, or a mixture of two, can be told.
WRITERS = {
    "pipe": """
from linux_aio.fsspec import AioFileSystem
fs = AioFileSystem(auto_mkdir=True)
write = lambda path, value: fs.pipe_file(path, value)
""",
    "pipe many": """
from linux_aio.fsspec import AioFileSystem
fs = AioFileSystem(auto_mkdir=True)
write = lambda path, value: fs.pipe({path: value, path + "-2": bytearray(value)})
""",
    "open": """
from linux_aio.fsspec import AioFileSystem
fs = AioFileSystem(auto_mkdir=True)
def write(path, value):
    with fs.open(path, "wb") as file:
        for start in range(0, len(value), 100_000):
            file.write(value[start : start + 100_000])
""",
    "zarr": """
import asyncio
from zarr.core.buffer import cpu
from linux_aio.zarr import AioStore
def write(path, value):
    root, key = path.rsplit("/", 1)
    asyncio.run(AioStore(root).set(key, cpu.Buffer.from_bytes(value)))
""",
    "zarr_sync": """
from zarr.core.buffer import cpu
from linux_aio.zarr import AioStore
def write(path, value):
    root, key = path.rsplit("/", 1)
    AioStore(root).set_sync(key, cpu.Buffer.from_bytes(value))
""",
}

WORKER = """
import itertools, sys
{writer}
print("ready", flush=True)
for number in itertools.count(1):
    write(f"{{sys.argv[1]}}/{{number % {keys}}}", bytes([number % 251]) * {size})
"""


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("writer", WRITERS)
def test_a_killed_worker_leaves_whole_values(writer: str, tmp_path: Path) -> None:
    if writer.startswith("zarr"):
        pytest.importorskip("zarr")
    chosen = random.Random(writer)
    program = WORKER.format(writer=WRITERS[writer], keys=KEYS, size=SIZE)
    found: set[str] = set()
    for _ in range(6):
        with subprocess.Popen(
            [sys.executable, "-P", "-c", program, str(tmp_path)], stdout=subprocess.PIPE
        ) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"ready\n"
            time.sleep(chosen.random() * 0.15)
            worker.kill()
        for path in tmp_path.iterdir():
            if path.name.startswith("."):
                continue  # a name that the kill left between the link and the rename
            data = path.read_bytes()
            assert len(data) == SIZE, path
            assert data.count(data[0]) == SIZE, path
            found.add(path.name)
    assert found


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def settled_descriptors(most: int) -> int:
    """How many there are, once those that are closed in the background are gone."""
    for _ in range(100):
        gc.collect()
        if descriptors() <= most:
            break
        time.sleep(0.05)
    return descriptors()


def test_pickles_leave_nothing_behind(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    fs = AioFileSystem()
    fs.pipe_file(path, b"hello")
    assert pickle.loads(pickle.dumps(fs)).cat_file(path) == b"hello"
    before, threads = descriptors(), threading.active_count()
    for _ in range(100):
        again = pickle.loads(pickle.dumps(fs))
        assert again.cat_file(path) == b"hello"
        with again.open(path) as file:
            assert pickle.loads(pickle.dumps(file)).read() == b"hello"
    assert settled_descriptors(before) <= before
    assert threading.active_count() <= threads


def test_loops_leave_nothing_behind(tmp_path: Path) -> None:
    path = str(tmp_path / "file")

    async def use() -> None:
        fs = AioFileSystem(asynchronous=True, skip_instance_cache=True)
        await fs._pipe_file(path, b"hello")
        assert await fs._cat_ranges([path] * 20, 0, 5) == [b"hello"] * 20

    asyncio.run(use())
    before, threads = descriptors(), threading.active_count()
    for _ in range(100):
        asyncio.run(use())
    assert settled_descriptors(before) <= before
    assert threading.active_count() <= threads


def in_child(function: Any) -> None:
    """Run it in a forked child, which has to succeed."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            status = 0
        finally:
            os._exit(status)
    for _ in range(600):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert status == 0
            return
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    pytest.fail("the child hangs")


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # there are threads
def test_forks(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    fs = AioFileSystem()
    fs.pipe_file(path, b"hello")
    before = descriptors()

    def use() -> None:
        """With the instance that was inherited, and with one of the child's own."""
        assert fs.cat_file(path) == b"hello"
        assert fs.cat([path, path + "2"], on_error="omit") == {path: b"hello"}
        fs.pipe_file(path + "2", b"child")
        assert AioFileSystem().cat_file(path + "2") == b"child"
        fs.rm(path + "2")
        assert pickle.loads(pickle.dumps(fs)).cat_file(path) == b"hello"

    for _ in range(100):
        in_child(use)
    in_child(lambda: in_child(use))
    use()
    assert settled_descriptors(before) <= before


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forks_of_a_store(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    from linux_aio.zarr import AioStore

    array = zarr.create_array(AioStore(tmp_path), shape=(100,), chunks=(10,), dtype="i4")
    array[:] = range(100)
    before = descriptors()

    def use() -> None:
        assert array[50] == 50
        assert zarr.open_array(pickle.loads(pickle.dumps(array.store)), mode="r")[7] == 7

    for _ in range(10):
        in_child(use)
    use()
    assert settled_descriptors(before) <= before


def test_a_file_that_is_dropped_at_the_end_is_written(tmp_path: Path) -> None:
    program = f"""
from linux_aio.fsspec import AioFileSystem
fs = AioFileSystem()
fs.pipe_file({str(tmp_path / "piped")!r}, b"x")
file = fs.open({str(tmp_path / "dropped")!r}, "wb")
file.write(b"dropped")
"""
    result = subprocess.run(
        [sys.executable, "-P", "-W", "default", "-c", program],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "ResourceWarning: unclosed file" in result.stderr
    assert (tmp_path / "dropped").read_bytes() == b"dropped"


def test_of_many_writers_that_make_a_key_one_wins(tmp_path: Path) -> None:
    fs = AioFileSystem()

    def write(value: bytes) -> bool:
        try:
            fs.pipe_file(str(tmp_path / "key"), value, mode="create")
        except FileExistsError:
            return False
        return True

    for _ in range(20):
        values = [bytes([number]) * 10_000 for number in range(8)]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            won = list(pool.map(write, values))
        assert sum(won) == 1
        assert (tmp_path / "key").read_bytes() == values[won.index(True)]
        (tmp_path / "key").unlink()
    assert os.listdir(tmp_path) == []


def test_a_missing_package_is_told_with_its_extra() -> None:
    for module, package in (("fsspec", "fsspec"), ("zarr", "zarr")):
        program = f"""
import sys
import linux_aio, linux_aio.bulk, linux_aio.fs
assert "{package}" not in sys.modules
sys.modules["{package}"] = None
try:
    import linux_aio.{module}
except ImportError as error:
    assert "linux-aio-python[{module}]" in str(error), error
else:
    raise SystemExit("it was imported")
"""
        subprocess.run([sys.executable, "-P", "-c", program], check=True)
