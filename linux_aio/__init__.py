# SPDX-License-Identifier: Apache-2.0
"""Linux asynchronous I/O: kernel AIO (io_submit(2)) for Python programs that keep a disk busy."""

from ._core import AIOContext, AIOOperation, EventFD, __version__, build_info

__all__ = ["AIOContext", "AIOOperation", "EventFD", "__version__", "build_info"]
