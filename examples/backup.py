# SPDX-License-Identifier: Apache-2.0
"""A backup that verifies: copies files into a folder, compares them, and says at what speed.

    python examples/backup.py FILE... FOLDER

Without arguments it backs up a file of its own making.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from linux_aio.bulk import copy


def back_up(files: list[str], folder: str) -> int:
    status = 0
    for file in files:
        try:
            transfer = copy(file, folder, verify="sha256")
        except OSError as error:
            print(f"{file}: {error}", file=sys.stderr)
            status = 1
        else:
            rate = transfer.nbytes / transfer.seconds / 1e6
            print(f"{file}: {transfer.nbytes} bytes, {rate:.0f} MB/s, by {transfer.engine}")
    return status


def main() -> int:
    if len(sys.argv) > 2:
        return back_up(sys.argv[1:-1], sys.argv[-1])
    with tempfile.TemporaryDirectory() as work:
        file, folder = Path(work, "data"), Path(work, "backup")
        file.write_bytes(bytes(10_000_000))
        folder.mkdir()
        return back_up([str(file)], str(folder))


if __name__ == "__main__":
    sys.exit(main())
