# SPDX-License-Identifier: Apache-2.0
"""The switch that cuts the power of the test file system at a chosen moment."""

from __future__ import annotations

from collections.abc import Callable


class PowerSwitch:
    """Counts moments in the lives of requests, and cuts the power at one of them.

    Each read, write and fsync has three moments: it has arrived; it is carried out, but not
    answered; it is answered. So a random moment can be any that matters, however fast the machine.
    """

    def __init__(self, cut: Callable[[], None]) -> None:
        self._cut = cut
        self._remaining: int | None = None
        self.is_off = False

    def arm(self, moments: int) -> None:
        """Cut the power after so many moments."""
        self._remaining = moments

    def moment(self) -> bool:
        """Count a moment. Return whether there is still power after it."""
        if self._remaining is not None and not self.is_off:
            self._remaining -= 1
            if self._remaining <= 0:
                self.cut()
        return not self.is_off

    def cut(self) -> None:
        """Cut the power now."""
        if not self.is_off:
            self.is_off = True
            self._cut()
