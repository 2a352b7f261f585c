// SPDX-License-Identifier: Apache-2.0
// What AIOContext.read() and its like return, and `await operation`: a coroutine in all but its
// code.
//
// It submits at its first step. If the operation has completed by then, that step returns the
// result and nobody is suspended. Else it yields what its kind of loop waits for, which run_turn()
// wakes when the operation has completed; the result is taken from the operation in the next step.
#pragma once

#include "python/awaitable_state.hpp"
#include "python/context.hpp"
#include "python/refs.hpp"

namespace python {

PyTypeObject* make_awaitable_type(PyObject* module);

// A new awaitable for the operation, or null with an exception set.
PyObject* make_awaitable(ContextObject* context, OperationObject* operation, bool submits,
                         const char* name);

// Submits or queues the operation of an awaitable that was never stepped, without a task that waits
// for it: for read-ahead and for writing behind. The operation then goes on whatever becomes of
// tasks; but one that is dropped while it is still queued leaves the queue. Who needs the result
// awaits it; if that task is cancelled, another one can await it again.
// False with an exception set.
bool start(PyObject* awaitable);

// Whether what start() began is over, so that awaiting it will not suspend. Takes in completions.
bool is_over(PyObject* awaitable);

}  // namespace python
