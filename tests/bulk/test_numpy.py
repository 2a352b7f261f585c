# SPDX-License-Identifier: Apache-2.0
"""linux_aio.numpy beside NumPy itself."""

from __future__ import annotations

import errno
import io
import os
import pickle
import resource
import stat
import struct
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import pytest

np = pytest.importorskip("numpy")

import linux_aio.numpy as fast  # noqa: E402
from linux_aio._core import _numpy_memory  # noqa: E402
from support.files import let_others_pass  # noqa: E402
from support.forked import give_up_root, in_child  # noqa: E402
from support.mounts import tmpfs_mount, tmpfs_mount_reason  # noqa: E402

pytestmark = pytest.mark.engine_independent

TYPES: list[Any] = ["f8", "i1", ">i4", "c8", "M8[s]", "U5", "?", [("a", "f4"), ("b", "i2")]]
SHAPES: list[tuple[int, ...]] = [(), (0,), (1,), (1000,), (300, 77), (3, 0, 4), (40, 50, 60)]


def array_of(shape: tuple[int, ...], dtype: Any, order: Literal["C", "F"]) -> Any:
    numbers = np.random.default_rng(0).integers(0, 100, shape)
    if isinstance(dtype, list):
        made = np.zeros(shape, dtype)
        made["a"] = numbers
        return np.array(made, order=order)
    return np.array(np.asarray(numbers).astype("i4").astype(dtype), order=order)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", ["C", "F"])
def test_same_as_numpys(
    dtype: Any, shape: tuple[int, ...], order: Literal["C", "F"], tmp_path: Path
) -> None:
    path, copied = tmp_path / "a.npy", tmp_path / "b.npy"
    array = array_of(shape, dtype, order)
    np.save(path, array)
    loaded = fast.load(path)
    assert loaded.dtype == array.dtype
    assert loaded.flags.owndata
    assert loaded.flags.f_contiguous == np.load(path).flags.f_contiguous
    np.testing.assert_array_equal(loaded, array)
    out = np.empty_like(np.load(path))
    assert fast.load(path, out=out) is out
    np.testing.assert_array_equal(out, array)
    fast.save(copied, array)
    assert copied.read_bytes() == path.read_bytes()
    if shape and shape[0]:
        for rows in (
            slice(2, 7),
            slice(-5, None),
            slice(1, 1),
            slice(None, None, -1),
            slice(1, None, 2),
            range(0, shape[0], 3),
            range(shape[0]),
            range(shape[0] - 1, -1, -1),
            range(-1, 1),
            range(5, 5),
            [0, -1, 0],
            [],
        ):
            picked = rows if isinstance(rows, slice) else np.array(list(rows), dtype=int)
            np.testing.assert_array_equal(fast.load(path, rows=rows), array[picked])


def test_files_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    for junk in (b"", b"\x93NUMPY", b"junk" * 100):
        path.write_bytes(junk)
        with pytest.raises(ValueError, match="magic"):
            fast.load(path)
    np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="pickle"):
        fast.load(path)
    with pytest.raises(ValueError, match="pickle"):
        fast.save(path, np.array([{}], object))
    np.save(path, np.zeros(100))
    os.truncate(path, 500)
    with pytest.raises(EOFError):
        fast.load(path)
    with pytest.raises(FileNotFoundError):
        fast.load(tmp_path / "missing")


def test_wrong_arguments(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((4, 3)))
    for out in (np.zeros((3, 4)), np.zeros((4, 3), "f4"), np.zeros((3, 4)).T):
        with pytest.raises(ValueError, match="out must"):
            fast.load(path, out=out)
    with pytest.raises(IndexError):
        fast.load(path, rows=[4])
    np.save(path, np.array(1.0))
    with pytest.raises(ValueError, match="no rows"):
        fast.load(path, rows=[0])


def test_a_saved_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros(3))
    mode = path.stat().st_mode
    fast.save(path, np.ones(3), durable=True)
    assert path.stat().st_mode == mode
    path.chmod(0o600)
    fast.save(path, np.ones(4))
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["a.npy"]


def test_a_file_that_may_not_be_written_to_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros(3))
    path.chmod(0o444)
    let_others_pass(tmp_path)
    tmp_path.chmod(0o777)

    def save() -> str:
        give_up_root()
        with pytest.raises(PermissionError):
            fast.save(path, np.ones(5))
        return ""

    in_child(save)
    assert np.load(path).tolist() == [0, 0, 0]
    assert os.listdir(tmp_path) == ["a.npy"]


def handler_of(array: Any) -> str | None:
    name: str | None = np._core.multiarray.get_handler_name(array)
    return name


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rows", [None, slice(1, None)])
@pytest.mark.parametrize("odd", [0, 1, 4])
def test_elements_are_aligned_wherever_they_lie_in_the_file(
    odd: int, rows: slice | None, dtype: Any, tmp_path: Path
) -> None:
    path = tmp_path / "a.npy"
    array = array_of((70_000, 2), dtype, "C")
    np.save(path, array)
    saved = path.read_bytes()
    header = saved[10 : -array.nbytes].replace(b"\n", b" " * odd + b"\n")
    length = struct.pack("<H", len(header))
    path.write_bytes(saved[:8] + length + header + saved[-array.nbytes :])
    loaded = fast.load(path, rows=rows)
    assert loaded.flags.aligned
    np.testing.assert_array_equal(loaded, array[rows or slice(None)])


@pytest.mark.skipif(not hasattr(np, "_core"), reason="NumPy 1 has no name for it")
def test_arrays_have_memory_for_direct_reads(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    for size in (65536, 100_001, 5 << 20):
        array = np.random.default_rng(1).integers(0, 255, size, "u1")
        np.save(path, array)
        start = path.stat().st_size - size
        loaded = fast.load(path)
        assert loaded.ctypes.data % 4096 == start % 4096
        assert handler_of(loaded) == "linux_aio"
        assert handler_of(np.empty(size)) == "default_allocator"
        copied = pickle.loads(pickle.dumps(loaded))
        loaded.resize(size + 70_000, refcheck=False)
        np.testing.assert_array_equal(loaded[:size], array)
        assert not loaded[size:].any()
        loaded.resize(1000, refcheck=False)
        np.testing.assert_array_equal(loaded, array[:1000])
        part = loaded[10:]
        del loaded
        np.testing.assert_array_equal(part, array[10:1000])
        np.testing.assert_array_equal(copied, array)


@pytest.mark.skipif(not hasattr(np, "_core"), reason="NumPy 1 has no name for it")
def test_the_programs_own_handler_comes_back() -> None:
    api = np._core._multiarray_umath._ARRAY_API

    def fail() -> None:
        assert handler_of(np.zeros((10, 7))) == "linux_aio"
        assert handler_of(_numpy_memory(api, 0, lambda: np.zeros(10))) == "linux_aio"
        raise KeyError("x")

    with pytest.raises(KeyError):
        _numpy_memory(api, 4095, fail)
    with pytest.raises(ValueError, match="shift"):
        _numpy_memory(api, 4096, fail)
    assert handler_of(np.empty(10)) == "default_allocator"
    with pytest.raises(MemoryError):
        _numpy_memory(api, 64, lambda: np.empty(1 << 62, "u1"))


def test_arrays_of_many_threads(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    array = np.arange(300_000)
    np.save(path, array)

    def load_and_drop(_: int) -> bool:
        return all(np.array_equal(fast.load(path), array) for _ in range(20))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(load_and_drop, range(8)))


def test_what_is_no_regular_file_stays_what_it_is(tmp_path: Path) -> None:
    device = tmp_path / "device"
    device.symlink_to("/dev/null")
    fast.save(device, np.zeros(3))
    assert stat.S_ISCHR(device.stat().st_mode)
    os.mkfifo(tmp_path / "fifo")
    end = os.open(tmp_path / "fifo", os.O_RDWR)
    fast.save(tmp_path / "fifo", np.arange(3))
    np.testing.assert_array_equal(np.load(io.BytesIO(os.read(end, 4096))), np.arange(3))
    os.close(end)
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)
    with pytest.raises(IsADirectoryError):
        fast.save(tmp_path, np.zeros(3))
    assert sorted(os.listdir(tmp_path)) == ["device", "fifo"]


@pytest.mark.parametrize("rows", [[1.0], ["1"], [np.True_], [True, False, True, False]])
def test_rows_that_are_no_numbers_of_rows(tmp_path: Path, rows: Any) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 3)))
    with pytest.raises(TypeError):
        fast.load(tmp_path / "a.npy", rows=rows)
    assert fast.load(tmp_path / "a.npy", rows=iter([1, 3])).shape == (2, 3)  # type: ignore[arg-type]


def lines_run_by(call: Callable[[], object]) -> int:
    """How many lines of linux_aio.numpy are run."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        if frame.f_code.co_filename != fast.__file__:
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("rows", [slice(5, None), range(5, 3000)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_that_lie_together_are_not_counted_one_by_one(
    order: Literal["C", "F"], rows: slice | range, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", array_of((3000, 20), "i4", order))
    assert lines_run_by(lambda: fast.load(tmp_path / "a.npy", rows=rows)) < 1000


def test_rows_of_a_range_that_reaches_too_far(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 3)))
    for rows, wrong in ((range(5), 4), (range(3, -6, -1), -5), (range(-5, 2), -5)):
        with pytest.raises(IndexError, match=f"row {wrong} of"):
            fast.load(tmp_path / "a.npy", rows=rows)


def test_names_of_fields_that_are_no_latin1(tmp_path: Path) -> None:
    """Version 3.0 of the format."""
    path = tmp_path / "a.npy"
    array = np.array([(1, 2.5)], dtype=[("жук", "i4"), ("日本", "f8")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy warns that only new versions read it
        np.save(path, array)
    assert fast.load(path).dtype == array.dtype
    assert fast.load(path, out=np.empty_like(array)).tolist() == array.tolist()


@pytest.mark.parametrize("rows", [None, slice(0, 1), [0, 1]])
def test_elements_that_are_arrays(rows: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(8, dtype="f4"))
    header = path.read_bytes()
    path.write_bytes(header.replace(b"'<f4'", b"('<f4',(2,))").replace(b"      ", b"", 1)[:128])
    with path.open("ab") as file:
        file.write(bytes(64))
    with pytest.raises(ValueError):  # noqa: PT011 - NumPy's own words in some versions
        fast.load(path, rows=rows)


@pytest.mark.needs_root
def test_a_full_disk_says_so(tmp_path: Path) -> None:
    reason = tmpfs_mount_reason()
    if reason is not None:
        pytest.skip(reason)
    with tmpfs_mount(tmp_path, 1024) as folder:
        with pytest.raises(OSError, match="No space left") as caught:
            fast.save(folder / "a.npy", np.zeros(1 << 20))
        assert caught.value.errno == errno.ENOSPC
        assert os.listdir(folder) == []


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(8300, dtype="u1"),
        np.ones((4150, 2), "u1", order="F"),
        np.ones((4150, 4), "u1")[:, ::2],
        np.array(["x" * 2075]),
    ],
)
def test_the_last_bytes_do_not_fit(array: Any, durable: bool, tmp_path: Path) -> None:
    """NumPy takes them, and ignores that fclose(3) can't write them."""
    path = tmp_path / "a.npy"
    path.write_bytes(b"old")

    def save() -> tuple[int | None, Any]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (128 + 8192, resource.RLIM_INFINITY))
        try:
            fast.save(path, array, durable=durable)
        except OSError as error:
            return error.errno, error.filename
        return None, None

    assert in_child(save) == (errno.EFBIG, str(path))
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.npy"]


@pytest.mark.needs_root
@pytest.mark.skipif(tmpfs_mount_reason() is not None, reason="no tmpfs can be mounted")
def test_the_last_bytes_do_not_fit_on_the_disk(tmp_path: Path) -> None:
    with tmpfs_mount(tmp_path, 12) as folder:
        with pytest.raises(OSError, match="No space left"):
            fast.save(folder / "a.npy", np.ones(8192 + 4000, "u1"))
        assert os.listdir(folder) == []


@pytest.mark.parametrize("size", [1, 8300, 100_000])
def test_a_stream_that_takes_nothing(size: int, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        fast.save("/dev/full", np.ones(size, "u1"))
    read_end, write_end = os.pipe()
    os.close(read_end)
    with pytest.raises(BrokenPipeError):
        fast.save(f"/proc/self/fd/{write_end}", np.ones(size, "u1"))
    os.close(write_end)


def test_an_array_with_a_mask(tmp_path: Path) -> None:
    for path in (tmp_path / "a.npy", Path("/dev/null")):
        with pytest.raises(NotImplementedError):
            fast.save(path, np.ma.masked_array([1, 2], [True, False]))
    assert os.listdir(tmp_path) == []


def test_a_file_that_is_cut_short_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(1000))
    os.truncate(path, 1000)
    with pytest.raises(EOFError, match=str(path)):
        fast.load(path)
