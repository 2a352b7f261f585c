# SPDX-License-Identifier: Apache-2.0
"""What programs do that are tested with anyio's pytest plugin, on each of its backends."""

from __future__ import annotations

import os
import select
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import linux_aio
from linux_aio import AIOContext
from support import any_loop

anyio: Any = pytest.importorskip("anyio")

pytestmark = pytest.mark.anyio

BACKENDS: dict[str, tuple[str, dict[str, Any]]] = {
    "asyncio": ("asyncio", {"use_uvloop": False}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    reason = any_loop.reason_unavailable(request.param)
    if reason is not None:
        pytest.skip(reason)
    return BACKENDS[request.param]


@pytest.fixture
async def context() -> AsyncIterator[AIOContext]:
    """A context that an asynchronous fixture opens and closes: each in a step of its own."""
    async with AIOContext(8) as context:
        yield context
    assert context.closed


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[linux_aio.File]:
    async with linux_aio.open(tmp_path / "file", "w+b") as file:
        await file.write(b"0123456789" * 1000)
        await file.flush()
        yield file


async def test_a_context(context: AIOContext, file: linux_aio.File) -> None:
    assert await context.read(4, file.fileno(), 12) == b"2345"


async def test_a_file(file: linux_aio.File) -> None:
    await file.seek(0)
    assert await file.read(12) == b"012345678901"
    assert await file.pread(3, 9) == b"901"


async def test_a_task_group(context: AIOContext, file: linux_aio.File) -> None:
    results: dict[int, bytes] = {}

    async def read(offset: int) -> None:
        results[offset] = await context.read(1, file.fileno(), offset)

    async with anyio.create_task_group() as group:
        for offset in range(100):
            group.start_soon(read, offset)
    assert results == {offset: b"%d" % (offset % 10) for offset in range(100)}


@pytest.mark.engine("auto", "uring", "threads")
async def test_scopes(context: AIOContext, file: linux_aio.File) -> None:
    reader, writer = os.pipe()
    with anyio.move_on_after(0.02) as scope:
        await context.poll(reader, select.POLLIN)
    assert scope.cancelled_caught
    with pytest.raises(TimeoutError), anyio.fail_after(0.02):
        await context.read(1, reader)
    with anyio.CancelScope() as outer:
        outer.cancel()
        with anyio.CancelScope(shield=True):
            assert await file.pread(2, 0) == b"01"
    os.close(reader)
    os.close(writer)


async def test_threads(context: AIOContext, file: linux_aio.File) -> None:
    def in_thread() -> bytes:
        data: bytes = anyio.from_thread.run(context.read, 2, file.fileno(), 3)
        return data

    assert await anyio.to_thread.run_sync(in_thread) == b"34"


async def test_as_one_of_its_files(tmp_path: Path) -> None:
    """`async for`, aclose() and the names of anyio's AsyncFile."""
    theirs = await anyio.open_file(tmp_path / "theirs", "w")
    ours = await linux_aio.open(tmp_path / "ours", "w")
    for file in (theirs, ours):
        await file.write("first\n")
        await file.writelines(["second\n"])
        await file.flush()
        assert await file.tell() == 13
        await file.aclose()
    for name in ("theirs", "ours"):
        assert (tmp_path / name).read_text() == "first\nsecond\n"
    async with linux_aio.open(tmp_path / "ours") as file:
        assert [line async for line in file] == ["first\n", "second\n"]
