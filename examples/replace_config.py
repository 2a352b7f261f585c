# SPDX-License-Identifier: Apache-2.0
"""Changes a setting in a JSON file. Whoever reads it, and after any crash, finds a whole file.

    python examples/replace_config.py FILE NAME VALUE

Without arguments it changes a file of its own making.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path

import linux_aio


async def change(path: str, name: str, value: object) -> None:
    settings = json.loads(await linux_aio.read_text(path, "utf-8"))
    settings[name] = value
    text = json.dumps(settings, indent=2) + "\n"
    # atomic: the old file or the new one. durable: the new one, once this has returned.
    await linux_aio.write_text(path, text, "utf-8", atomic=True, durable=True)


def main() -> None:
    if len(sys.argv) > 1:
        path, name, value = sys.argv[1:]
        asyncio.run(change(path, name, value))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "settings.json")
        file.write_text('{"port": 80}\n', "utf-8")
        file.chmod(0o640)
        asyncio.run(change(str(file), "port", 8080))
        print(file.read_text("utf-8"), end="")


if __name__ == "__main__":
    main()
