# SPDX-License-Identifier: Apache-2.0
"""What `import linux_aio` imports, and when."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.engine_independent


def test_fs_and_bulk_are_imported_when_first_used() -> None:
    program = """
import sys, linux_aio
assert not {"linux_aio.fs", "linux_aio.bulk", "numpy"} & set(sys.modules)
assert linux_aio.fs.stat and linux_aio.bulk.copy
assert linux_aio.fs is sys.modules["linux_aio.fs"]
try:
    linux_aio.numpy
except AttributeError as error:
    assert str(error) == "module 'linux_aio' has no attribute 'numpy'"
else:
    raise AssertionError("it was imported unasked")
"""
    subprocess.run([sys.executable, "-P", "-c", program], check=True, timeout=100)
