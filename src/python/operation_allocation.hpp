// SPDX-License-Identifier: Apache-2.0
// Where operation objects come from and go to: a free list, for programs that make one for each
// request.
#pragma once

#include "python/operation.hpp"

namespace python {

// A new operation that the garbage collector does not track yet, or null with MemoryError.
OperationObject* allocate_operation(PyTypeObject* type);

// For tp_dealloc: the operation's fields are ended, its memory is kept or freed.
void deallocate_operation(ModuleState& state, OperationObject* operation) noexcept;

// Frees what is kept.
void free_operation_memory(ModuleState& state) noexcept;

}  // namespace python
