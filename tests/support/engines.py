# SPDX-License-Identifier: Apache-2.0
"""The engines that tests and tools go through."""

from __future__ import annotations

import linux_aio


def available_engines() -> list[str]:
    """The names of those that work here."""
    return [name for name, state in linux_aio.engines().items() if state == "available"]
