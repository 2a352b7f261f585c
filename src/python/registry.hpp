// SPDX-License-Identifier: Apache-2.0
// The contexts of an interpreter, so that those that were dropped are not forgotten.
//
// While an operation is in flight, its memory is the kernel's. The garbage collector must not even
// finalize what belongs to it: so to the collector, what is in flight is held from outside, and
// with it the context that it belongs to. If the program drops all of that, nobody is left to take
// the completions. Hence, whenever a context is made, and before the collector looks further than
// at the youngest objects, all contexts are looked through.
#pragma once

#include "python/context.hpp"
#include "python/state.hpp"

namespace python {

void enter_registry(ModuleState& state, ContextObject* context) noexcept;
// Does nothing for one that has left.
void leave_registry(ModuleState& state, ContextObject* context) noexcept;

// Reaps every context; starts to close those that nobody holds any more but their own operations.
// May run Python code.
void sweep_registry(ModuleState& state) noexcept;

// Adds to gc.callbacks what sweeps before a collection. False with an exception set.
bool sweep_before_collections(PyObject* module);

}  // namespace python
