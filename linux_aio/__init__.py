# SPDX-License-Identifier: Apache-2.0
"""Linux asynchronous I/O: kernel AIO (io_submit(2)) for Python programs that keep a disk busy."""

from ._core import (
    AIOContext,
    AIOOperation,
    EventFD,
    __version__,
    aligned_buffer,
    build_info,
    direct_alignment,
)
from ._flags import RWF_ATOMIC, RWF_DONTCACHE, RWF_NOAPPEND
from ._priority import IOPriorityClass, ioprio

__all__ = [
    "RWF_ATOMIC",
    "RWF_DONTCACHE",
    "RWF_NOAPPEND",
    "AIOContext",
    "AIOOperation",
    "EventFD",
    "IOPriorityClass",
    "__version__",
    "aligned_buffer",
    "build_info",
    "direct_alignment",
    "ioprio",
]
