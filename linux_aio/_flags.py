# SPDX-License-Identifier: Apache-2.0
"""The RWF_* flags of preadv2(2) that the os module does not name yet; see <linux/fs.h>."""

from typing import Final

RWF_NOAPPEND: Final = 0x20
"""Write at the offset given, although the file is open with O_APPEND (Linux 6.9)."""

RWF_ATOMIC: Final = 0x40
"""Write all or, should the power fail, nothing, on hardware that can (Linux 6.11)."""

RWF_DONTCACHE: Final = 0x80
"""Buffered I/O that does not leave the data in the page cache (Linux 6.14)."""
