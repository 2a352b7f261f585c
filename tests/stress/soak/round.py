# SPDX-License-Identifier: Apache-2.0
"""What the threads of a round share."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from linux_aio import AIOContext
from support.fusefs import HoldingFS


@dataclass
class Round:
    """Where to work, for how long, and what was done."""

    seed: int
    seconds: float
    engines: list[str]
    folder: Path
    small_disk: Path | None
    fuse: HoldingFS | None
    began: float = field(default_factory=time.monotonic)
    figures: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def is_over(self) -> bool:
        return time.monotonic() - self.began > self.seconds

    def chance(self, name: str) -> Random:
        """Chance for one of the threads."""
        return Random(f"{self.seed}:{name}")

    def count(self, **figures: int) -> None:
        """Add to the figures; names with _ for a space."""
        with self._lock:
            for name, figure in figures.items():
                self.figures[name.replace("_", " ")] += figure

    def context(self, chance: Random, max_requests: int) -> AIOContext:
        """A context of any engine."""
        self.count(contexts=1)
        return AIOContext(max_requests, engine=chance.choice(self.engines))
