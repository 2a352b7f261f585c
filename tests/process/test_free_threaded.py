# SPDX-License-Identifier: Apache-2.0
"""The module under free-threaded Python: it leaves the GIL off."""

from __future__ import annotations

import os
import sysconfig

import pytest

from support.programs import run_program

pytestmark = pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has a GIL"
)


def test_importing_it_does_not_switch_the_gil_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHON_GIL", raising=False)
    assert "PYTHON_GIL" not in os.environ
    source = """
        import sys, warnings
        warnings.simplefilter("error")
        import linux_aio
        print(sys._is_gil_enabled())
    """
    assert run_program(source) == "False\n"
