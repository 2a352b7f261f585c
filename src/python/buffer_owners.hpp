// SPDX-License-Identifier: Apache-2.0
// Finds out which object owns the memory of a buffer.
#pragma once

#include "python/refs.hpp"

namespace python {

// Returns whether the memory is known to come from the allocator, and not to be mapped from a file.
// That is so for bytes, bytearray, array.array, NumPy arrays that own their data, and views of
// these. The check is cheap.
bool owns_plain_memory(PyObject* buffer);

}  // namespace python
