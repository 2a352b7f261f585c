// SPDX-License-Identifier: Apache-2.0
// For programs that use O_DIRECT: aligned_buffer(), direct_alignment(), and what was misaligned.
#pragma once

#include <string>

#include "engine/aligned_memory.hpp"
#include "python/operation.hpp"
#include "python/state.hpp"

namespace python {

PyTypeObject* add_aligned_buffer_type(PyObject* module);

// A memoryview of the memory, which goes with the last view of it.
PyObject* wrap_aligned_memory(ModuleState& state, engine::AlignedMemory memory);

PyObject* aligned_buffer(PyObject* module, PyObject* const* arguments, Py_ssize_t count,
                         PyObject* names);
PyObject* direct_alignment(PyObject* module, PyObject* fd);

extern const char aligned_buffer_doc[];
extern const char direct_alignment_doc[];

// What of the operation does not suit direct I/O on its file, in words; empty if nothing, or if the
// file is not open for direct I/O.
std::string describe_misalignment(const Operation& operation);

}  // namespace python
