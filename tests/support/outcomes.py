# SPDX-License-Identifier: Apache-2.0
"""The result or error of a call, with its file names, to be compared with another call's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def outcome(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except Exception as error:
        return _described(error)


async def awaited_outcome(function: Callable[[], Any]) -> Any:
    try:
        return await function()
    except Exception as error:
        return _described(error)


def _described(error: Exception) -> Any:
    names = (getattr(error, "filename", None), getattr(error, "filename2", None))
    return type(error), str(error), names
