# SPDX-License-Identifier: Apache-2.0
"""New arrays of NumPy that direct reads can fill without a copy. Needs NumPy when it is called."""

from __future__ import annotations

import functools
import math
from typing import Any, Literal

from . import _core

# Smaller arrays are copied: that costs less than a separate mapping.
_LEAST_BYTES = 1 << 16


@functools.cache
def _api() -> Any:
    """Return NumPy's C API table; None if this version has it under another name."""
    import numpy as np

    core = getattr(np, "_core", None) or getattr(np, "core", None)  # NumPy 2, NumPy 1
    return getattr(getattr(core, "_multiarray_umath", None), "_ARRAY_API", None)


def empty(shape: tuple[int, ...], dtype: Any, offset: int, order: Literal["C", "F"] = "C") -> Any:
    """Like numpy.empty, for data that begins at `offset` of a file.

    Each byte has the same place within a memory page as within a page of the file, so that a direct
    read needs no copy. Where elements would not be aligned so, the memory is numpy.empty's.
    """
    import numpy as np

    def make() -> Any:
        return np.empty(shape, dtype, order=order)

    api = _api()
    dtype = np.dtype(dtype)
    is_small = math.prod(shape) * dtype.itemsize < _LEAST_BYTES
    if api is None or is_small or offset % dtype.alignment:
        return make()
    return _core._numpy_memory(api, offset % 4096, make)
