# SPDX-License-Identifier: Apache-2.0
"""Sub-interpreters with their own GIL, for each version of Python that has them."""

from __future__ import annotations

import contextlib
import importlib
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

# Before Python 3.12 all interpreters share one GIL.
AVAILABLE = sys.version_info >= (3, 12)


def _module() -> Any:
    name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    return importlib.import_module(name)


class Interpreter:
    """One of them, which can import what this one can."""

    def __init__(self) -> None:
        self._module = _module()
        self._id = self._module.create()
        self.run(f"import sys; sys.path[:] = {sys.path!r}")

    def run(self, source: str) -> None:
        """Run the source in the interpreter's __main__. Fail if it raises."""
        failure = self._module.run_string(self._id, textwrap.dedent(source))
        assert failure is None, getattr(failure, "errdisplay", failure)

    def end(self) -> None:
        self._module.destroy(self._id)


@contextlib.contextmanager
def interpreter() -> Iterator[Interpreter]:
    """Make an interpreter that is ended after the block."""
    made = Interpreter()
    try:
        yield made
    finally:
        made.end()
