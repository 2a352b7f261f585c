# SPDX-License-Identifier: Apache-2.0
"""Counts the words of many files at once, and shows the most frequent."""

import asyncio
import sys
from collections import Counter

import linux_aio


async def count(path: str, words: Counter[str]) -> None:
    async with linux_aio.open(path, encoding="utf-8", errors="replace") as file:
        async for line in file:
            words.update(line.split())


async def main(paths: list[str]) -> None:
    words: Counter[str] = Counter()
    await asyncio.gather(*(count(path, words) for path in paths))
    for word, number in words.most_common(5):
        await linux_aio.stdout.write(f"{number:6} {word}\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or [__file__]))
