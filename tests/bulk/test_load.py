# SPDX-License-Identifier: Apache-2.0
"""load_into and aload_into: every byte, whatever the sizes, the alignments and the file system."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import gc
import hashlib
import os
import pickle
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from linux_aio.bulk import ShortFileError, Transfer, aload_into, checksum, load_into, read_many
from support.direct import PAGE, buffer_at, direct_reason
from support.forked import in_child
from support.fusefs import fs_available, mounted
from support.loops import LOOP_FACTORIES, LoopFactory, run
from support.mounts import (
    SMALLEST_MIB,
    loop_mount,
    loop_mount_reason,
    tmpfs_mount,
    tmpfs_mount_reason,
)
from support.programs import end_of, line_of, start_program
from support.workers import finish, start

Direct = Literal["auto"] | bool

SIZE = 1_234_567
DATA = random.Random(1).randbytes(SIZE)
EDGES = (0, 1, 511, 512, 513, 4095, 4096, 4097, 65535, 65536, 65537)


@pytest.fixture(name="path")
def file_with_data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    with path.open("rb") as file:
        os.fsync(file)
    return path


def forget(path: Path) -> None:
    """Drop the file from the page cache, as far as the file system does so."""
    with path.open("rb") as file:
        os.fsync(file)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def skip_unless_direct(folder: Path, direct: Direct) -> None:
    if direct is True and (reason := direct_reason(folder)):
        pytest.skip(reason)


def engine_of_run() -> str | None:
    name = os.environ.get("LINUX_AIO_ENGINE") or "auto"
    return None if name == "auto" else name


def check_file(path: Path, direct: Direct, chunk: int | None, depth: int | None) -> None:
    """Load parts of all kinds, cold and warm, and compare every byte, also around the buffers."""
    dice = random.Random(f"{direct} {chunk} {depth}")
    around = chunk or 1 << 20
    lengths = [*EDGES, *(around + d for d in (-1, 0, 1)), SIZE]
    for cold in (True, False):
        if cold:
            forget(path)
        expected = []
        segments = []
        for length in lengths:
            for shift in (0, 1, 512, 4095):
                length = min(length, SIZE)
                offset = dice.choice((0, 1, 511, 512, 4096, 4097, dice.randrange(SIZE)))
                offset = min(offset, SIZE - length)
                memory = buffer_at(shift, length + 64)
                segments.append((offset, memory[:length]))
                expected.append((memory, offset, length))
        transfer = load_into(path, segments, direct=direct, chunk=chunk, depth=depth)
        assert transfer.nbytes == sum(length for _, _, length in expected)
        for memory, offset, length in expected:
            assert memory[:length] == DATA[offset : offset + length], (offset, length, cold)
            assert not any(memory[length:])


@pytest.mark.parametrize("direct", ["auto", True, False])
@pytest.mark.parametrize(("chunk", "depth"), [(None, None), (4096, 3), (100_000, 1), (1, 64)])
def test_every_byte(path: Path, direct: Direct, chunk: int | None, depth: int | None) -> None:
    skip_unless_direct(path.parent, direct)
    if chunk == 1:  # with a request for each byte where requests are not direct
        path.write_bytes(DATA[:3000])
        buffer = bytearray(2990)
        load_into(path, [(7, buffer)], direct=direct, chunk=chunk, depth=depth)
        assert buffer == DATA[7:2997]
        return
    check_file(path, direct, chunk, depth)


@pytest.mark.needs_root
@pytest.mark.parametrize("fstype", ["ext4", "xfs", "btrfs", "tmpfs"])
@pytest.mark.parametrize("direct", ["auto", True, False])
def test_file_systems(fstype: str, direct: Direct, tmp_path: Path) -> None:
    reason = tmpfs_mount_reason() if fstype == "tmpfs" else loop_mount_reason(fstype)
    if reason is not None:
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:
        if fstype == "tmpfs":
            folder = stack.enter_context(tmpfs_mount(tmp_path, 65536))
        else:
            mount = loop_mount(tmp_path, fstype, max(SMALLEST_MIB[fstype], 32))
            folder = stack.enter_context(mount)
        skip_unless_direct(folder, direct)
        path = folder / "data"
        path.write_bytes(DATA)
        check_file(path, direct, None, None)


def test_many_segments_at_every_alignment(path: Path) -> None:
    """Neighbours, gaps, overlaps and backward order, in one call."""
    dice = random.Random(5)
    for direct in ("auto", False):
        forget(path)
        memory = bytearray(3 * SIZE)
        view = memoryview(memory)
        place = 0
        segments = []
        offset = 0
        while place < 2 * SIZE:
            length = dice.choice((1, 3, 100, 513, 5000, 70_000, 150_000))
            offset = dice.choice((offset, offset + 7, offset + 5000, dice.randrange(SIZE)))
            offset %= SIZE - length
            segments.append((offset, view[place : place + length]))
            place += length + dice.choice((0, 1, 16))
            offset += length
        load_into(path, segments, direct=direct)
        for start_of, part in segments:
            assert part == DATA[start_of : start_of + len(part)]


def test_what_was_done(path: Path) -> None:
    buffer = bytearray(SIZE)
    forget(path)
    transfer = load_into(path, [(0, buffer)], direct=False, chunk=65536, depth=5)
    assert isinstance(transfer, Transfer)
    assert (transfer.nbytes, transfer.chunk, transfer.depth) == (SIZE, 65536, 5)
    assert not transfer.direct
    assert transfer.seconds > 0
    assert transfer.engine in ("aio", "uring", "threads")
    assert engine_of_run() in (None, transfer.engine)


def test_direct_only_for_what_is_not_cached(path: Path) -> None:
    if direct_reason(path.parent) or load_into(path, [(0, bytearray(1))]).cached == 0:
        pytest.skip("no O_DIRECT, or no page cache that can be asked")
    buffer = bytearray(SIZE)
    path.read_bytes()
    warm = load_into(path, [(0, buffer)])
    assert (warm.cached, warm.direct) == (SIZE, False)
    forget(path)
    cold = load_into(path, [(0, buffer)])
    if cold.cached:
        pytest.skip("the file system did not drop it")
    assert cold.direct
    again = load_into(path, [(0, buffer)])
    assert again.cached == 0, "direct reads went through the page cache"


def test_nothing_to_do(path: Path) -> None:
    assert load_into(path, []).nbytes == 0
    assert load_into(path, [(10**12, bytearray())]).nbytes == 0
    assert load_into(path, iter([(0, bytearray()), (5, bytearray(1))])).nbytes == 1


@pytest.mark.parametrize("direct", ["auto", True, False])
@pytest.mark.parametrize("cold", [True, False])
@pytest.mark.parametrize("missing", [1, 100, 4096, 100_000, 2 * SIZE])
def test_the_end_of_the_file(path: Path, direct: Direct, cold: bool, missing: int) -> None:
    skip_unless_direct(path.parent, direct)
    path.read_bytes()
    if cold:
        forget(path)
    whole = bytearray(SIZE - SIZE // 2 + missing)
    first = bytearray(10)
    with pytest.raises(EOFError, match=f"{SIZE - SIZE // 2 + 10} of {len(whole) + 10}") as raised:
        load_into(path, [(SIZE // 2, whole), (3, first)], direct=direct, chunk=8192)
    assert isinstance(raised.value, ShortFileError)
    assert raised.value.transfer.nbytes == SIZE - SIZE // 2 + 10
    assert whole == DATA[SIZE // 2 :] + bytes(missing)
    assert first == DATA[3:13]


def test_beyond_four_gib(tmp_path: Path) -> None:
    """On a sparse file; one buffer is larger than the kernel reads at once."""
    path = tmp_path / "sparse"
    marks = {0: b"zero", 2**31 - 2: b"two", 2**32 - 2: b"four", 5 * 2**30: b"five"}
    with path.open("wb") as file:
        for offset, mark in marks.items():
            file.seek(offset)
            file.write(mark)
    for offset, mark in marks.items():
        buffer = bytearray(len(mark))
        load_into(path, [(offset, buffer)])
        assert buffer == mark
    start_at = 2**31 - 4096
    large = buffer_at(0, 2**31 + 4096)
    assert load_into(path, [(start_at, large)]).nbytes == len(large)
    for offset, mark in marks.items():
        if start_at <= offset < start_at + len(large) - len(mark):
            place = offset - start_at
            assert large[place : place + len(mark)] == mark
            assert not any(large[place + len(mark) : place + len(mark) + 5000])


@pytest.mark.parametrize("kind", ["fd", "object", "bytes", "direct fd"])
def test_ways_to_name_a_file(path: Path, kind: str) -> None:
    buffer = bytearray(5000)
    with path.open("rb") as file:
        file.seek(77)
        if kind == "bytes":
            load_into(os.fsencode(path), [(123, buffer)])
        elif kind == "direct fd":
            if reason := direct_reason(path.parent):
                pytest.skip(reason)
            fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
            try:
                load_into(fd, [(123, buffer)])
                assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT
            finally:
                os.close(fd)
        else:
            load_into(file if kind == "object" else file.fileno(), [(123, buffer)])
        assert file.tell() == 77
    assert buffer == DATA[123:5123]


def test_locks_of_the_program_stay(path: Path) -> None:
    """To close another descriptor of the file would drop them."""
    with path.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        forget_fd = os.dup(file.fileno())
        os.posix_fadvise(forget_fd, 0, 0, os.POSIX_FADV_DONTNEED)
        # not closed yet: that would drop the lock, too
        load_into(file, [(0, bytearray(SIZE))])
        assert is_locked(path)
        os.close(forget_fd)


def is_locked(path: Path) -> bool:
    """Whether another process can't lock the file."""

    def try_lock() -> bool:
        with path.open("r+b") as other:
            try:
                fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    return in_child(try_lock)


@pytest.mark.parametrize("direct", ["auto", True, False])
def test_a_direct_descriptor_of_a_file_with_locks(direct: Direct, path: Path) -> None:
    """It is not opened again, so everything is read by it, the unaligned end included."""
    skip_unless_direct(path.parent, True)
    ranges = [(0, 10), (4095, 2), (70_000, 500_001), (SIZE - 1, 1)]

    async def read_ranges() -> dict[int, bytes]:
        reading = read_many(fd, ranges, direct=direct)
        return {index: bytes(data) async for index, data in reading}

    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    fcntl.lockf(fd, fcntl.LOCK_EX)
    buffers = [bytearray(length) for _, length in ranges]
    segments = [(start, buffer) for (start, _), buffer in zip(ranges, buffers, strict=True)]
    transfer = load_into(fd, segments, direct=direct)
    assert (transfer.direct, transfer.cached) == (True, 0)
    wanted = [DATA[start : start + length] for start, length in ranges]
    assert buffers == wanted
    assert checksum(fd, direct=direct) == hashlib.sha256(DATA).hexdigest()
    assert run(read_ranges()) == dict(enumerate(wanted))
    with pytest.raises(ShortFileError, match="after 7 of 10 bytes"):
        load_into(fd, [(SIZE - 7, bytearray(10))], direct=direct)
    assert is_locked(path)
    os.ftruncate(fd, 0)
    assert checksum(fd, direct=direct) == hashlib.sha256().hexdigest()
    assert is_locked(path)
    os.close(fd)


def test_direct_io_that_would_drop_locks_is_refused(path: Path) -> None:
    skip_unless_direct(path.parent, True)
    buffer = bytearray(SIZE)
    with path.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="record locks") as refused:
            load_into(file, [(0, buffer)], direct=True)
        assert (refused.value.errno, refused.value.filename) == (errno.EBUSY, str(path))
        with pytest.raises(OSError, match=f"record locks: 'fd {file.fileno()}'"):
            checksum(file.fileno(), direct=True)
        assert is_locked(path)
        fcntl.lockf(file, fcntl.LOCK_UN)
        assert load_into(file, [(0, buffer)], direct=True).direct
    assert buffer == DATA


def test_wrong_arguments(path: Path) -> None:
    buffer = bytearray(10)
    with pytest.raises(ValueError, match="direct must be"):
        load_into(path, [(0, buffer)], direct="always")  # type: ignore[arg-type]
    for name in ("chunk", "depth"):
        for wrong in (0, -1):
            with pytest.raises(ValueError, match=f"{name} must be positive"):
                load_into(path, [(0, buffer)], **{name: wrong})  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            load_into(path, [(0, buffer)], **{name: 1.5})  # type: ignore[arg-type]
    for offset in (-1, 2**63 - 5, 2**70):
        with pytest.raises(ValueError, match="offset of a segment"):
            load_into(path, [(offset, buffer)])
    with pytest.raises(ValueError, match="pair"):
        load_into(path, [(0, buffer, 1)])  # type: ignore[list-item]
    with pytest.raises(BufferError):
        load_into(path, [(0, b"read-only")])
    with pytest.raises(TypeError):
        load_into(path, [("0", buffer)])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        load_into(path, [(0, "text")])  # type: ignore[list-item]
    buffer.append(1)  # nothing of them is exported any more


def test_files_that_can_not_be_read(path: Path) -> None:
    buffer = bytearray(10)
    with pytest.raises(FileNotFoundError) as missing:
        load_into(path.parent / "missing", [(0, buffer)])
    assert Path(missing.value.filename) == path.parent / "missing"
    with pytest.raises(IsADirectoryError):
        load_into(path.parent, [(0, buffer)])
    fd = os.open(path, os.O_WRONLY)
    try:
        with pytest.raises(OSError, match=f"fd {fd}") as refused:
            load_into(fd, [(0, buffer)])
        assert refused.value.errno == errno.EBADF
    finally:
        os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        load_into(fd, [(0, buffer)])
    fifo = path.parent / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(OSError, match="seek"):
        load_into(fifo, [(0, buffer)])


def test_progress(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with path.open("wb") as file:
        file.truncate(1 << 28)
    calls: list[tuple[int, int]] = []
    total = 1 << 28
    load_into(path, [(0, buffer_at(0, total))], progress=lambda *call: calls.append(call))
    assert calls[-1] == (total, total)
    assert sorted(calls) == calls
    assert {of for _, of in calls} == {total}


def test_buffers_without_a_format(path: Path) -> None:
    """NumPy's dates have bytes, but memoryview() does not take them."""
    np = pytest.importorskip("numpy")
    calls: list[tuple[int, int]] = []
    for dtype in ("M8[s]", "m8[ns]", "u8"):
        array = np.zeros(1000, dtype)
        load_into(path, [(0, array)], progress=lambda *call: calls.append(call))
        assert array.tobytes() == DATA[:8000]
        assert calls[-1] == (8000, 8000)
        array[:] = 0
        run(aload_into(path, [(0, array)]))
        assert array.tobytes() == DATA[:8000]
        with pytest.raises(ShortFileError, match="ended after 100 of 8000 bytes"):
            load_into(path, [(SIZE - 100, array)])
        assert array.tobytes()[:100] == DATA[-100:]


def test_progress_that_raises(path: Path) -> None:
    class Enough(Exception):  # noqa: N818
        pass

    def stop(done: int, total: int) -> None:
        raise Enough

    buffer = bytearray(SIZE)
    with pytest.raises(Enough):
        load_into(path, [(0, buffer)], progress=stop)
    buffer.append(1)


needs_fuse = pytest.mark.skipif(
    fs_available() is not None, reason=fs_available() or "there is FUSE"
)


@needs_fuse
@pytest.mark.parametrize("direct", [True, False])
def test_an_error_in_the_middle(direct: bool, tmp_path: Path) -> None:
    with mounted(tmp_path) as fs:
        fs.create("data", DATA)
        buffer = bytearray(SIZE)
        fs.fail(errno.EIO)
        with pytest.raises(OSError, match="offset") as raised:
            load_into(fs.path("data"), [(0, buffer)], direct=direct, chunk=65536)
        assert raised.value.errno == errno.EIO
        assert Path(raised.value.filename) == fs.path("data")
        fs.reset()
        buffer.append(1)
        del buffer[-1]
        load_into(fs.path("data"), [(0, buffer)], direct=direct, chunk=65536)
        assert buffer == DATA


@needs_fuse
def test_several_direct_reads_are_refused(tmp_path: Path) -> None:
    """All that are in flight when the first is refused: then the file is read buffered."""
    with mounted(tmp_path) as fs:
        fs.create("data", DATA)
        fd = os.open(fs.path("data"), os.O_RDONLY | os.O_DIRECT)
        fs.fail(errno.EINVAL, count=3, kinds=["read"])
        buffer = bytearray(SIZE)
        load_into(fd, [(0, buffer)], chunk=65536)
        os.close(fd)
        assert buffer == DATA


@needs_fuse
def test_short_reads_are_completed(tmp_path: Path) -> None:
    with mounted(tmp_path) as fs:
        fs.create("data", DATA)
        fs.short(5000, count=1, kinds=["read"])
        buffer = bytearray(SIZE)
        load_into(fs.path("data"), [(0, buffer)], direct=True, chunk=65536)
        assert buffer == DATA


@needs_fuse
def test_an_interrupt_waits_for_the_kernel(tmp_path: Path) -> None:
    """Nothing writes to the buffer once KeyboardInterrupt is there."""
    with mounted(tmp_path) as fs:
        fs.create("data", bytes(SIZE))
        program = start_program(
            """
            import sys, time
            from linux_aio.bulk import load_into

            buffer = bytearray(1 << 20)
            print("ready", flush=True)
            try:
                load_into(sys.argv[1], [(0, buffer)], direct=True, chunk=65536, depth=4)
            except KeyboardInterrupt:
                before = bytes(buffer)
                buffer.append(1)
                time.sleep(0.5)
                print(before == buffer[:-1])
            """,
            fs.path("data"),
        )
        fs.hold()
        assert line_of(program) == "ready"
        fs.wait_held(4)
        program.send_signal(signal.SIGINT)
        time.sleep(0.2)
        fs.fill_reads(1)
        fs.unhold()
        assert end_of(program) == "True\n"


@pytest.mark.parametrize("direct", ["auto", False])
def test_an_interrupt_in_the_middle(direct: Direct, tmp_path: Path) -> None:
    path = tmp_path / "data"
    with path.open("wb") as file:
        file.truncate(1 << 32)
    program = start_program(
        """
        import sys, signal, threading, time
        from linux_aio.bulk import load_into
        from linux_aio import aligned_buffer

        buffer = aligned_buffer(1 << 24)
        main = threading.main_thread().ident
        threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
        direct = {"auto": "auto", "False": False}[sys.argv[2]]
        try:
            load_into(sys.argv[1], [((i % 200) << 24, buffer) for i in range(100_000)],
                      direct=direct)
        except KeyboardInterrupt:
            print("interrupted")
        """,
        path,
        direct,
    )
    assert end_of(program) == "interrupted\n"


def test_a_file_that_changes_meanwhile(path: Path) -> None:
    """It shrinks and grows: either all is read, or the end is met; never anything else."""
    done = threading.Event()

    def change() -> None:
        while not done.is_set():
            os.truncate(path, SIZE // 3)
            with path.open("r+b") as file:
                file.seek(SIZE // 3)
                file.write(DATA[SIZE // 3 :])

    writer = start(change)
    try:
        for turn in range(60):
            buffer = bytearray(SIZE)
            with contextlib.suppress(ShortFileError):
                load_into(path, [(0, buffer)], direct="auto" if turn % 2 else False, chunk=16384)
            assert buffer[: SIZE // 3] == DATA[: SIZE // 3]
    finally:
        done.set()
        finish(writer)


def test_from_many_threads(path: Path) -> None:
    def load(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(10):
            offset = dice.randrange(SIZE)
            buffer = bytearray(dice.randrange(SIZE - offset))
            load_into(path, [(offset, buffer)], direct=dice.choice(("auto", False)))
            assert buffer == DATA[offset : offset + len(buffer)]

    for worker in [start(lambda seed=seed: load(seed)) for seed in range(6)]:  # type: ignore[misc]
        finish(worker)


def test_a_child_process_that_is_forked_in_the_middle(path: Path) -> None:
    """It gets an error, leaves the parent alone, and has no descriptor of the parent's ring."""
    children: list[int] = []

    def fork_once(done: int, total: int) -> None:
        if not children and done < total:
            children.append(os.fork())

    buffer = bytearray(SIZE)
    forget(path)
    try:
        rounds = 400
        while not children:  # unless all was read before the first report
            load_into(path, [(0, buffer)] * rounds, direct=False, chunk=4096, progress=fork_once)
            rounds *= 4
    except RuntimeError:
        if children == [0]:
            os._exit(0 if not ring_descriptors() else 2)
        raise
    if children == [0]:
        os._exit(3)
    assert buffer == DATA
    for child in children:
        assert os.waitpid(child, 0)[1] == 0


def ring_descriptors() -> list[str]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return [target for target in found if "io_uring" in target]


def test_no_descriptor_stays(path: Path) -> None:
    load_into(path, [(0, bytearray(100))])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        forget(path)
        load_into(path, [(0, bytearray(SIZE))])
    assert len(os.listdir("/proc/self/fd")) <= before + 1


# --- awaited


@pytest.mark.parametrize("factory", LOOP_FACTORIES)
def test_awaited(path: Path, factory: LoopFactory) -> None:
    async def main() -> None:
        buffers = [bytearray(SIZE // 2) for _ in range(6)]
        calls: list[tuple[int, int]] = []

        def progress(done: int, total: int) -> None:
            assert threading.current_thread() is threading.main_thread()
            calls.append((done, total))

        forget(path)
        transfers = await asyncio.gather(
            *(
                aload_into(path, [(i, buffer)], progress=progress)
                for i, buffer in enumerate(buffers)
            )
        )
        for i, buffer in enumerate(buffers):
            assert buffer == DATA[i : i + len(buffer)]
        assert all(transfer.nbytes == SIZE // 2 for transfer in transfers)
        assert calls.count((SIZE // 2, SIZE // 2)) == 6

    run(main(), factory)


def test_awaited_errors(path: Path) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            await aload_into(path.parent / "missing", [(0, bytearray(1))])
        with pytest.raises(ShortFileError):
            await aload_into(path, [(SIZE, bytearray(1))])
        with pytest.raises(ValueError, match="depth"):
            await aload_into(path, [], depth=0)

    run(main())


@needs_fuse
def test_cancelling_gives_the_buffers_back(tmp_path: Path) -> None:
    """When the task has ended, nothing writes to the buffer any more."""
    with mounted(tmp_path) as fs:
        fs.create("data", bytes(SIZE))

        async def main() -> None:
            buffer = bytearray(SIZE)
            fs.hold()
            task = asyncio.create_task(
                aload_into(fs.path("data"), [(0, buffer)], direct=True, chunk=65536, depth=4)
            )
            await asyncio.to_thread(fs.wait_held, 4)
            task.cancel()
            await asyncio.sleep(0.1)
            task.cancel()  # again
            await asyncio.sleep(0.1)
            assert not task.done()
            with pytest.raises(BufferError):
                buffer.append(1)
            await asyncio.to_thread(fs.unhold)
            with pytest.raises(asyncio.CancelledError):
                await task
            before = bytes(buffer)
            buffer.append(1)
            fs.fill_reads(1)
            await asyncio.sleep(0.1)
            assert buffer[:-1] == before

        run(main())


def test_cancelled_at_any_moment(path: Path) -> None:
    async def main() -> None:
        dice = random.Random(3)
        for _ in range(30):
            buffer = bytearray(SIZE)
            segments = [(0, buffer)] * 20
            task = asyncio.create_task(aload_into(path, segments, direct=False, chunk=8192))
            await asyncio.sleep(dice.random() * 0.02)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            buffer.append(1)

    run(main())
    gc.collect()


def test_a_loop_that_goes_away(path: Path) -> None:
    """The thread ends by itself."""

    async def main() -> None:
        loading = aload_into(path, [(0, bytearray(SIZE))] * 3000, direct=False, chunk=4096)
        tasks.append(asyncio.get_running_loop().create_task(loading))
        await asyncio.sleep(0.01)

    tasks: list[asyncio.Task[Transfer]] = []
    run(main())
    deadline = time.monotonic() + 20
    while any(thread.name == "linux_aio bulk" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    yield
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("linux_aio")]


def test_addresses_are_what_the_tests_think() -> None:
    assert PAGE == 4096


@pytest.mark.parametrize(
    "wrong",
    [
        (1 << 63, 1),
        ((1 << 63) - 1, 1),
        (1 << 64, 0),
        (1 << 200, 1),
        (0, 1 << 63),
        (1 << 62, 1 << 62),
        (-1, 1),
        (1, -1),
        (-(1 << 200), 1),
    ],
)
def test_ranges_that_no_file_has(tmp_path: Path, wrong: tuple[int, int]) -> None:
    (tmp_path / "file").write_bytes(b"contents")

    async def main() -> None:
        for ranges in ([wrong], [(0, 3), wrong, (1, 1)]):
            for ordered in (False, True):
                with pytest.raises(ValueError, match=str(wrong[0])):
                    async for _ in read_many(tmp_path / "file", ranges, ordered=ordered):
                        pass

    run(main())


@pytest.mark.parametrize("start", [(1 << 63) - 2, (1 << 63) - 5000, 1 << 62])
def test_ranges_that_are_too_far_behind_the_end(tmp_path: Path, start: int) -> None:
    (tmp_path / "file").write_bytes(b"contents")

    async def main() -> None:
        with pytest.raises((ShortFileError, OSError)):
            async for _ in read_many(tmp_path / "file", [(start, 1)]):
                pass

    run(main())


def test_an_error_can_be_pickled() -> None:
    error = ShortFileError("it ended", Transfer(1, 2.0, "threads", False, 3, 4))
    copied = pickle.loads(pickle.dumps(error))
    assert (type(copied), str(copied), copied.transfer) == (
        ShortFileError,
        "it ended",
        error.transfer,
    )


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "uint64"])
def test_ranges_of_numpys_numbers(path: Path, kind: str) -> None:
    numpy = pytest.importorskip("numpy")
    largest = min(numpy.iinfo(kind).max, SIZE - 200)
    starts = numpy.array([0, largest // 3, largest // 2, largest - 5], kind)
    lengths = numpy.array([3, 5, min(100, largest), 5], kind)
    ranges = list(zip(starts, lengths, strict=True))

    async def main(ordered: bool) -> dict[int, bytes]:
        return {
            index: bytes(data) async for index, data in read_many(path, ranges, ordered=ordered)
        }

    wanted = {
        index: DATA[int(start) : int(start) + int(length)]
        for index, (start, length) in enumerate(ranges)
    }
    for ordered in (False, True):
        assert run(main(ordered)) == wanted


@pytest.mark.parametrize("ending", ["dropped", "kept"])
def test_a_program_ends_though_nobody_takes_the_rest(tmp_path: Path, ending: str) -> None:
    (tmp_path / "file").write_bytes(bytes(20 << 20))
    program = """
        import asyncio, sys
        from linux_aio.bulk import read_many

        kept = []

        async def main():
            ranges = [(i << 20, 1 << 20) for i in range(20)]
            reading = read_many(sys.argv[1], ranges, memory=1 << 20, max_gap=0, max_merge=0)
            if sys.argv[2] == "kept":
                kept.append(reading)
            async for _ in reading:
                break

        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)
        loop.run_until_complete(main())
        loop.close()
    """
    process = start_program(program, tmp_path / "file", ending)
    process.communicate(timeout=60)
    assert process.returncode == 0
