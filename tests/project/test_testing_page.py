# SPDX-License-Identifier: Apache-2.0
"""The tests that docs/testing.rst shows. They use nothing of this project but linux_aio."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from unittest import mock

import pytest

import linux_aio

pytestmark = pytest.mark.engine_independent


async def count_words(path: Path | int | str) -> int:
    count = 0
    async with linux_aio.open(path) as file:
        async for line in file:
            count += len(line.split())
    return count


def test_words_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("two words\nand three more\n")
    assert asyncio.run(count_words(tmp_path / "text")) == 5


def test_words_of_a_file_in_memory() -> None:
    fd = os.memfd_create("text")
    os.write(fd, b"two words\n")
    os.lseek(fd, 0, os.SEEK_SET)
    assert asyncio.run(count_words(fd)) == 2  # which closes the descriptor


async def save(path: str, data: bytes) -> None:
    async with linux_aio.open(path, "wb") as file:
        await file.write(data)


def test_a_full_disk() -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        asyncio.run(save("/dev/full", b"data"))
    assert caught.value.errno == errno.ENOSPC


def test_data_that_never_comes() -> None:
    async def main() -> None:
        source, sink = os.pipe()
        try:
            async with asyncio.timeout(0.1):
                await count_words(source)
        finally:
            os.close(sink)

    with pytest.raises(TimeoutError):
        asyncio.run(main())


def test_a_disk_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    file = mock.AsyncMock(spec=linux_aio.TextFile)
    file.__aiter__.side_effect = OSError(errno.EIO, os.strerror(errno.EIO))

    @contextlib.asynccontextmanager
    async def open_broken(*_args: object, **_options: object) -> AsyncIterator[mock.AsyncMock]:
        yield file

    monkeypatch.setattr(linux_aio, "open", open_broken)
    with pytest.raises(OSError, match="Input/output error"):
        asyncio.run(count_words("some file"))
