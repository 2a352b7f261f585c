# SPDX-License-Identifier: Apache-2.0
"""Linux asynchronous I/O for Python programs that keep a disk busy: io_submit(2), io_uring(7)."""

try:
    from ._core import (
        AIOContext,
        AIOOperation,
        EventFD,
        __version__,
        aligned_buffer,
        build_info,
        direct_alignment,
        engines,
    )
except ModuleNotFoundError as error:
    if error.name != f"{__name__}._core":
        raise
    from ._source_tree import import_installed

    import_installed(__name__)
else:
    from . import _asyncio, _trio  # noqa: F401  # needed later, where nothing may be importable
    from ._flags import RWF_ATOMIC, RWF_DONTCACHE, RWF_NOAPPEND
    from ._priority import IOPriorityClass, ioprio
    from .files import File, TextFile
    from .files import open as open  # noqa: A004

__all__ = [
    "RWF_ATOMIC",
    "RWF_DONTCACHE",
    "RWF_NOAPPEND",
    "AIOContext",
    "AIOOperation",
    "EventFD",
    "File",
    "IOPriorityClass",
    "TextFile",
    "__version__",
    "aligned_buffer",
    "build_info",
    "direct_alignment",
    "engines",
    "ioprio",
]
