# SPDX-License-Identifier: Apache-2.0
"""AioStore beside zarr's LocalStore."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("zarr")

from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import LocalStore

from linux_aio.zarr import AioStore

DATA = bytes(range(10))
POINTS = [-(1 << 70), -11, -10, -3, -1, 0, 1, 3, 9, 10, 11, 15, 1 << 40]

REQUESTS: list[Any] = [None]
REQUESTS += [RangeByteRequest(start, end) for start in POINTS for end in POINTS]
REQUESTS += [kind(point) for kind in (OffsetByteRequest, SuffixByteRequest) for point in POINTS]
REQUESTS += [(0, 1), "no request"]


def outcome(call: Callable[[], Any]) -> Any:
    """The bytes, or the type of the exception."""
    try:
        found = call()
    except Exception as error:
        return type(error)
    return None if found is None else found.to_bytes()


@pytest.mark.parametrize("request_", REQUESTS, ids=repr)
def test_parts_of_a_value(tmp_path: Path, request_: Any) -> None:
    """Each way to ask gives the same, which is LocalStore's."""
    (tmp_path / "key").write_bytes(DATA)
    prototype = default_buffer_prototype()
    store, local = AioStore(tmp_path), LocalStore(tmp_path)
    answers = [
        outcome(lambda: sync(store.get("key", prototype, request_))),
        outcome(lambda: sync(store.get_partial_values(prototype, [("key", request_)]))[0]),
        outcome(lambda: store.get_sync("key", prototype=prototype, byte_range=request_)),
        outcome(lambda: sync(store.get_partial_values(prototype, [("key", request_)] * 20))[19]),
    ]
    wanted = outcome(lambda: sync(local.get("key", prototype, request_)))
    if isinstance(request_, RangeByteRequest):
        if 0 <= request_.start == request_.end + 1:
            wanted = ValueError  # LocalStore takes the length -1 for "all that follows"
        elif wanted is MemoryError:
            wanted = DATA[request_.start :]  # LocalStore makes room for all that is asked for
        elif wanted == DATA[max(request_.start, 0) :] and request_.end < request_.start:
            wanted = ValueError
    if isinstance(request_, SuffixByteRequest) and request_.suffix < 0:
        wanted = b""  # also of a number that LocalStore can't seek to
    if not isinstance(wanted, bytes) and wanted is not None:
        # which is found out first may differ: a number that is too large, or negative
        assert all(isinstance(answer, type) for answer in answers), answers
        assert len(set(answers)) == 1
    else:
        assert answers == [wanted] * 4


def test_a_missing_key(tmp_path: Path) -> None:
    prototype = default_buffer_prototype()
    store = AioStore(tmp_path)
    for asked in (None, RangeByteRequest(0, 3), OffsetByteRequest(1), SuffixByteRequest(2)):
        assert sync(store.get("no/key", prototype, asked)) is None
        assert sync(store.get_partial_values(prototype, [("key", asked)])) == [None]
        assert store.get_sync("key", prototype=prototype, byte_range=asked) is None


@pytest.mark.parametrize("how", ["set", "set_if_not_exists", "get", "get_partial_values"])
def test_a_new_store_is_used_by_many_tasks_at_once(how: str, tmp_path: Path) -> None:
    """The first of them opens it."""
    prototype = default_buffer_prototype()

    def use(store: AioStore, number: int) -> Any:
        if how == "get":
            return store.get(f"k{number}", prototype)
        if how == "get_partial_values":
            return store.get_partial_values(prototype, [(f"k{number}", None)])
        return getattr(store, how)(f"k{number}", prototype.buffer.from_bytes(b"1"))

    async def main() -> list[Any]:
        store = AioStore(tmp_path / "store")
        return await asyncio.gather(*[use(store, number) for number in range(8)])

    asyncio.run(main())
    wanted = {f"k{number}" for number in range(8)} if how.startswith("set") else set()
    assert set(os.listdir(tmp_path / "store")) == wanted


@pytest.mark.parametrize(
    "key", ["key", "no", "folder", "key/below", "loop", "nul\0", "\ud800", "k" * 300, "k/" * 3000]
)
@pytest.mark.parametrize("call", ["exists", "delete", "delete_dir"])
def test_a_key_that_can_not_be_looked_for(tmp_path: Path, call: str, key: str) -> None:
    """An error that is not for want of the key is not hidden, as in LocalStore."""

    def ask(kind: Any) -> Any:
        folder = tmp_path / kind.__name__
        (folder / "folder").mkdir(parents=True)
        (folder / "key").touch()
        (folder / "loop").symlink_to("loop")
        try:
            return asyncio.run(getattr(kind(folder), call)(key)), sorted(os.listdir(folder))
        except OSError as error:
            return error.errno
        except ValueError as error:
            return type(error)

    assert ask(AioStore) == ask(LocalStore)
