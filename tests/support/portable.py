# SPDX-License-Identifier: Apache-2.0
"""LINUX_AIO_TESTS=portable: only the tests that pass on any machine.

It is for the build machines of distributions. They run the files that tests/portable.txt names, and
of those only tests that need no root and mount nothing: they use memory and temporary folders.
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
    """The files of a portable run, as paths relative to tests/."""
    lines = _LIST.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@functools.cache
def aio_refused() -> str | None:
    """Why there is no kernel AIO here, or None if there is."""
    from linux_aio import AIOContext  # not at the top: the file system's server doesn't need it

    try:
        AIOContext(1, engine="aio").close()
    except OSError as error:
        return f"no kernel AIO here: {error}"
    return None
