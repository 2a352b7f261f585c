# SPDX-License-Identifier: Apache-2.0
"""Asynchronous file I/O for Python on Linux, by kernel AIO (io_submit(2)) and io_uring(7).

Programs with an event loop (asyncio, uvloop, Trio) use open(), File and TextFile, whose methods
are awaited. AIOContext is the layer below: a queue of operations in flight, awaited or collected by
hand. linux_aio.fs has os and shutil, awaited. linux_aio.bulk reads, copies and hashes whole files,
with and without an event loop.

open() is not in __all__, so that `import *` leaves Python's own: see help(linux_aio.open), and
help(linux_aio.fs) and help(linux_aio.bulk) for the modules.
"""

from typing import TYPE_CHECKING, Any

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
    from ._whole_files import read_bytes, read_text, write_bytes, write_text
    from .files import File, TextFile
    from .files import open as open  # noqa: A004

if TYPE_CHECKING:
    from . import bulk as bulk
    from . import fs as fs
    from ._standard_streams import stderr as stderr
    from ._standard_streams import stderr_bytes as stderr_bytes
    from ._standard_streams import stdin as stdin
    from ._standard_streams import stdin_bytes as stdin_bytes
    from ._standard_streams import stdout as stdout
    from ._standard_streams import stdout_bytes as stdout_bytes
else:

    def __getattr__(name: str) -> Any:
        """Make the standard streams, and import `bulk` and `fs`, when they are first asked for."""
        if name in {"bulk", "fs"}:
            from importlib import import_module

            return import_module(f".{name}", __name__)
        if name.removesuffix("_bytes") in {"stdin", "stdout", "stderr"}:
            from . import _standard_streams

            return getattr(_standard_streams, name)
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message, name=name, obj=__import__("sys").modules[__name__])


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
    "read_bytes",
    "read_text",
    "write_bytes",
    "write_text",
]
