// SPDX-License-Identifier: Apache-2.0
// For programs that use O_DIRECT: aligned_buffer(), direct_alignment(), and error texts that say
// what was misaligned.
#pragma once

#include <string>

#include "engine/aligned_memory.hpp"
#include "python/operation.hpp"
#include "python/state.hpp"

namespace python {

PyTypeObject* add_aligned_buffer_type(PyObject* module);

// Returns a memoryview of the memory, which is freed with the last view of it.
PyObject* wrap_aligned_memory(ModuleState& state, engine::AlignedMemory memory);

PyObject* aligned_buffer(PyObject* module, PyObject* const* arguments, Py_ssize_t count,
                         PyObject* names);
PyObject* direct_alignment(PyObject* module, PyObject* fd);

extern const char aligned_buffer_doc[];
extern const char direct_alignment_doc[];

// Says in words which part of the operation is not aligned for direct I/O on its file. Returns an
// empty string if all is aligned, or if the file is not open for direct I/O.
std::string describe_misalignment(const Operation& operation);

}  // namespace python
