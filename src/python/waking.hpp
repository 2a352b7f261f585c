// SPDX-License-Identifier: Apache-2.0
// Wakes the tasks whose operations have completed, or never will. With the context locked.
#pragma once

#include "python/context.hpp"
#include "python/refs.hpp"

namespace python {

// Takes the first ready operation out of its list. Returns the object that wakes its task. Returns
// null if no task waits, or only a task of an earlier loop, which is closed and never steps it
// again.
Ref take_ready(LoopBinding& binding) noexcept;

// Takes the operations of tasks that the loop has cancelled out of the queue's front, and returns
// the first of those that are left, or null. A cancelled task is stepped only in the next turn: its
// file may be closed by then, and the number be another file's.
OperationObject* first_queued(LoopBinding& binding) noexcept;

// Returns the next one in the queue behind that one.
OperationObject* next_queued(LoopBinding& binding, const OperationObject* operation) noexcept;

// Has the loop wake the tasks of all ready operations in its next turn. In the loop's thread.
void wake_all_soon(ContextObject* context) noexcept;

// Has the loop wake the tasks of all ready operations. From any thread.
void wake_ready(ContextObject* context) noexcept;

// The awaited operation can't be submitted: takes the exception that is set, and wakes the task
// with it.
void fail_awaited(ContextObject* context, OperationObject* operation) noexcept;

// Called before the context is closed: the queued operations fail with ValueError.
void fail_queued(ContextObject* context) noexcept;

}  // namespace python
