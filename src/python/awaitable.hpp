// SPDX-License-Identifier: Apache-2.0
// The awaitable that AIOContext.read() and the like return, and that `await operation` makes. It
// behaves as a coroutine, but has no code object.
//
// The first step of the awaitable submits the operation. If the operation has completed by then,
// that step returns the result and the task is not suspended. Else the step yields the object that
// this kind of loop waits for. When the operation has completed, run_turn() wakes that object, and
// the next step takes the result from the operation.
#pragma once

#include "python/awaitable_state.hpp"
#include "python/context.hpp"
#include "python/refs.hpp"

namespace python {

PyTypeObject* make_awaitable_type(PyObject* module);

// A new awaitable for the operation, or null with an exception set.
PyObject* make_awaitable(ContextObject* context, OperationObject* operation, bool submits,
                         const char* name);

// Submits or queues the operation of an awaitable that was never stepped, while no task waits for
// it. Used for read-ahead and for writing behind. The operation goes on even if tasks are
// cancelled; but if the awaitable is dropped while the operation is queued, the operation leaves
// the queue. Code that needs the result awaits the awaitable; if its task is cancelled, another
// task can await it again. Returns false with an exception set.
bool start(PyObject* awaitable);

// Returns whether the operation that start() began is over, so that awaiting it will not suspend.
// Reaps completions first.
bool is_over(PyObject* awaitable);

}  // namespace python
