# SPDX-License-Identifier: Apache-2.0
"""LINUX_AIO_TESTS=portable: the tests that hold on a machine of which nothing is known.

Such are a distribution's build machines. They run the files that tests/portable.txt names, and in
those nothing that needs root or mounts anything: all is done in memory and in temporary folders.
Where the kernel or a sandbox refuses kernel AIO, all tests are skipped.
"""

from __future__ import annotations

import functools
import os

from support.paths import TESTS

PORTABLE = os.environ.get("LINUX_AIO_TESTS") == "portable"
REASON = "left out of portable runs"

_LIST = TESTS / "portable.txt"


def portable_files() -> list[str]:
    """The paths, from tests/ on, of the files that a portable run has."""
    lines = _LIST.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@functools.cache
def aio_refused() -> str | None:
    """Why there is no kernel AIO here, or None if there is."""
    from linux_aio import AIOContext  # not where only a file system is served

    try:
        AIOContext(1, engine="aio").close()
    except OSError as error:
        return f"no kernel AIO here: {error}"
    return None
