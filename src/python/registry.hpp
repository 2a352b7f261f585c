// SPDX-License-Identifier: Apache-2.0
// The list of an interpreter's contexts, so that contexts that the program dropped are still
// reaped.
//
// While an operation is in flight, the kernel uses its memory, so the garbage collector must not
// finalize the operation or anything that it owns. Therefore the operations in flight hold
// references that the collector can't account for, which also keep their context alive. If the
// program drops the context and its operations, no code is left to reap the completions. Hence all
// contexts are swept whenever a context is made, and before each collection of more than the
// youngest objects.
#pragma once

#include "python/context.hpp"
#include "python/state.hpp"

namespace python {

void enter_registry(ModuleState& state, ContextObject* context) noexcept;
// Does nothing for a context that has left already.
void leave_registry(ModuleState& state, ContextObject* context) noexcept;

// Reaps every context, and starts to close those that only their own operations still hold. May run
// Python code.
void sweep_registry(ModuleState& state) noexcept;

// Adds a function to gc.callbacks that sweeps before a collection. Returns false with an exception
// set.
bool sweep_before_collections(PyObject* module);

}  // namespace python
