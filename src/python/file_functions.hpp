// SPDX-License-Identifier: Apache-2.0
// Functions that block, for programs without an event loop: what _read_part and _replace_file of
// AIOContext do, in the calling thread and without the GIL.
#pragma once

#include "python/refs.hpp"

namespace python {

// _core._read_part_now(path, offset, length) -> bytes
PyObject* read_part_now(PyObject* module, PyObject* const* arguments, Py_ssize_t count);

// _core._replace_file_now(path, data, exclusive, durable, makes_parents) -> int
PyObject* replace_file_now(PyObject* module, PyObject* const* arguments, Py_ssize_t count);

// _core._new_bytes(lengths) -> (list of bytes, list of writable memoryviews on them). Whoever calls
// it fills the bytes before anybody else sees them, and lets go of the views first.
PyObject* new_bytes(PyObject* module, PyObject* lengths);

}  // namespace python
