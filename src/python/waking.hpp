// SPDX-License-Identifier: Apache-2.0
// Waking the tasks whose operations have completed, or never will. With the context locked.
#pragma once

#include "python/context.hpp"
#include "python/refs.hpp"

namespace python {

// What the task of the first ready operation waits for; the operation leaves the list. Null if no
// task waits, or only one of a loop that was closed: nobody will step that again.
Ref take_ready(LoopBinding& binding) noexcept;

// Has all of them called back by the loop, in its next turn. In the loop's thread.
void wake_all_soon(ContextObject* context) noexcept;

// Has those called back, by the loop, whose operations have completed. From any thread.
void wake_ready(ContextObject* context) noexcept;

// The awaited operation can't be submitted: takes the exception that is set, and has the task woken
// with it.
void fail_awaited(ContextObject* context, OperationObject* operation) noexcept;

// Before the context is closed: those that are queued fail with ValueError.
void fail_queued(ContextObject* context) noexcept;

}  // namespace python
