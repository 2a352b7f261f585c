// SPDX-License-Identifier: Apache-2.0
// Who the memory of a buffer belongs to.
#pragma once

#include "python/refs.hpp"

namespace python {

// Whether the memory is known to be the allocator's, and not mapped from a file: that of bytes,
// bytearray, array.array, NumPy arrays that own their data, and views of these. Costs little.
bool owns_plain_memory(PyObject* buffer);

}  // namespace python
