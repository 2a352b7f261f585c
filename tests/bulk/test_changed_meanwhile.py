# SPDX-License-Identifier: Apache-2.0
"""Files that other programs replace, cut or lengthen in the middle of a transfer."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from linux_aio import _copying, _core, bulk
from linux_aio.bulk import ShortFileError, copy, load_into
from support.mounts import loop_mount, loop_mount_reason

MIB = 1 << 20
DATA = random.Random(7).randbytes(4 * MIB)


def cut_at_the_start(monkeypatch: pytest.MonkeyPatch, path: Path, length: int) -> None:
    """Cut or lengthen the source after copy() has learnt its size."""
    clone = _copying.clone

    def first_cut(source: int, target: int) -> bool:
        os.truncate(path, length)
        return clone(source, target)

    monkeypatch.setattr(_copying, "clone", first_cut)


@pytest.mark.parametrize("kind", ["data", "a hole at the end"])
@pytest.mark.parametrize("copies_itself", [False, True])
def test_a_source_that_is_cut(
    copies_itself: bool, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_core, "_bulk_copies_itself", lambda _: copies_itself)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(DATA if kind == "data" else b"a" * 4096)
    os.truncate(source, len(DATA))
    cut_at_the_start(monkeypatch, source, 4096)
    with pytest.raises(ShortFileError, match="got shorter"):
        copy(source, target)
    assert not target.exists()


@pytest.mark.needs_root
@pytest.mark.xdist_group("loop devices")
@pytest.mark.parametrize("length", [95_000, 105_000])
def test_a_source_whose_blocks_are_shared(
    length: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reason = loop_mount_reason("btrfs")
    if reason is not None:
        pytest.skip(reason)
    with loop_mount(tmp_path, "btrfs", 128) as folder:
        source, target = folder / "source", folder / "target"
        source.write_bytes(DATA[:100_000])
        cut_at_the_start(monkeypatch, source, length)
        if length < 100_000:
            with pytest.raises(ShortFileError, match="got shorter"):
                copy(source, target)
            assert not target.exists()
        else:
            assert copy(source, target).nbytes == 100_000
            assert target.read_bytes() == DATA[:100_000]


def test_a_source_that_grows_is_copied_by_the_file_system_as_far_as_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_core, "_bulk_copies_itself", lambda _: True)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(DATA[:100_000])
    cut_at_the_start(monkeypatch, source, 200_000)
    transfer = copy(source, target)
    assert (transfer.engine, transfer.nbytes) == ("copy_file_range", 100_000)
    assert target.read_bytes() == DATA[:100_000]


def test_a_source_that_grows_is_verified_as_far_as_it_was_copied(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source, target = tmp_path / "log", tmp_path / "copy"
    source.write_bytes(DATA)
    copy_data = bulk._copy_data

    def append(*arguments: Any) -> Any:
        result = copy_data(*arguments)
        with source.open("ab") as file:
            file.write(b"more")
        return result

    monkeypatch.setattr(bulk, "_copy_data", append)
    assert copy(source, target, verify="sha256").nbytes == len(DATA)
    assert target.read_bytes() == DATA


def test_what_was_read_of_a_file_that_is_cut_is_its_beginning(tmp_path: Path) -> None:
    """`nbytes` tells where the end was met, and all before it was read."""
    path = tmp_path / "file"
    dice = random.Random(3)
    for _ in range(60):
        path.write_bytes(DATA)
        buffer = bytearray(len(DATA))
        length = dice.randrange(len(DATA))

        def cut(length: int = length, pause: float = dice.random() * 0.001) -> None:
            time.sleep(pause)
            os.truncate(path, length)

        thread = threading.Thread(target=cut)
        thread.start()
        try:
            load_into(path, [(0, buffer)], chunk=65536)
        except ShortFileError as error:
            nbytes = error.transfer.nbytes
            # behind the new end the kernel may have given zeros, if it cut while it copied
            assert buffer[:length] == DATA[:length]
            assert nbytes >= length
        thread.join()


def test_a_full_disk_names_the_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(DATA)
    target.write_bytes(b"old")

    def fill(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(bulk, "_copy_data", fill)
    with pytest.raises(OSError, match="No space left") as caught:
        copy(source, target)
    assert (caught.value.filename, caught.value.filename2) == (str(source), str(target))
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("chunk", [None, 1 << 30])
@pytest.mark.parametrize("depth", [None, 1024])
def test_memory_for_a_copy_is_bounded_by_the_file(
    chunk: int | None, depth: int | None, tmp_path: Path
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(DATA)
    assert copy(source, target, chunk=chunk, depth=depth).nbytes == len(DATA)
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("direct", [1, 0])
def test_numbers_are_taken_for_true_and_false(direct: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA[:8192])
    transfer = load_into(path, [(0, bytearray(8192))], direct=direct)
    assert transfer.direct is bool(direct)


@pytest.mark.parametrize("direct", ["auto", True, False])
@pytest.mark.parametrize("start", [2**63 - 100, 2**63 - 4096 - 50, 2**63 - 8192])
def test_far_beyond_the_end(direct: Any, start: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA[:8192])
    with pytest.raises(ShortFileError) as caught:
        load_into(path, [(0, bytearray(100)), (start, bytearray(50))], direct=direct)
    assert caught.value.transfer.nbytes == 100
