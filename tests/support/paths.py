# SPDX-License-Identifier: Apache-2.0
"""Where the project's files are, for tests in any folder."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
TOP = TESTS.parent
STRESS = TESTS / "stress"  # has the packages fuzz, soak and durability
