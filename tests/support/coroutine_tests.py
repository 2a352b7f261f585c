# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin for modules whose tests are coroutines, as zarr's tests of stores are.

It runs only the coroutines of modules that set `COROUTINES = True`.
"""

from __future__ import annotations

import asyncio
import inspect

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    asked = getattr(pyfuncitem.module, "COROUTINES", False)
    if not asked or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True
