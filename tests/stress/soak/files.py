# SPDX-License-Identifier: Apache-2.0
"""Files to work on: in memory, on the disk, and there with O_DIRECT."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

from soak.blocks import BLOCK


@contextlib.contextmanager
def some_file(folder: Path, blocks: int, chance: Random) -> Iterator[int]:
    """The number of a file of zeros, of any kind."""
    kind = chance.choice(["memory", "disk", "direct"])
    if kind == "memory":
        fd = os.memfd_create("soak")
    else:
        fd, name = tempfile.mkstemp(dir=folder)
        if kind == "direct":
            with contextlib.suppress(OSError):
                direct = os.open(name, os.O_RDWR | os.O_DIRECT)
                os.close(fd)
                fd = direct
        os.unlink(name)
    try:
        os.ftruncate(fd, blocks * BLOCK)
        yield fd
    finally:
        os.close(fd)
