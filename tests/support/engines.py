# SPDX-License-Identifier: Apache-2.0
"""The engines that tests and tools go through."""

from __future__ import annotations

from collections.abc import Callable

import linux_aio


def available_engines() -> list[str]:
    """The names of those that work here."""
    ask: Callable[[], dict[str, str]] | None = getattr(linux_aio, "engines", None)
    if ask is None:
        return ["aio"]
    return [name for name, state in ask().items() if state == "available"]
