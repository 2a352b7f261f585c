# SPDX-License-Identifier: Apache-2.0
"""Prints the SHA-256 of each file below a folder, as sha256sum does: many files at once.

python examples/hash_tree.py [FOLDER]
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import linux_aio
from linux_aio import fs

AT_ONCE = 32
CHUNK = 1024 * 1024


async def digest_of(path: str) -> str:
    """The file is read ahead while the last chunk is hashed."""
    digest = hashlib.sha256()
    async with linux_aio.open(path, "rb") as file:
        while chunk := await file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


async def files_below(folder: str) -> AsyncIterator[str]:
    async for directory, _, names in fs.walk(folder):
        for name in sorted(names):
            path = f"{directory}/{name}"
            if await fs.isfile(path):
                yield path


async def hash_tree(folder: str) -> dict[str, str]:
    digests: dict[str, str] = {}
    paths = files_below(folder)
    turn = asyncio.Lock()  # an asynchronous generator has one caller at a time

    async def work() -> None:
        while True:
            async with turn:
                path = await anext(paths, None)
            if path is None:
                return
            try:
                digests[path] = await digest_of(path)
            except OSError as error:
                print(error, file=sys.stderr)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return digests


def main() -> None:
    folder = sys.argv[1] if len(sys.argv) > 1 else str(Path(__file__).resolve().parent)
    for path, digest in sorted(asyncio.run(hash_tree(folder)).items()):
        print(f"{digest}  {path}")


if __name__ == "__main__":
    main()
