// SPDX-License-Identifier: Apache-2.0
// linux_aio._core._PieceReader: reads parts of a file in a thread that never needs the GIL.
#pragma once

#include "python/refs.hpp"

namespace python {

// Adds the type to the module; false with an exception set.
bool add_piece_reader_type(PyObject* module);

}  // namespace python
