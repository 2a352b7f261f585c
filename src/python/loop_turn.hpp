// SPDX-License-Identifier: Apache-2.0
// The work that a context does in a turn of its event loop.
#pragma once

#include "python/context.hpp"
#include "python/context_lock.hpp"

namespace python {

// Called in a callback of the loop: reaps, submits queued operations as far as there is room and
// time, wakes the tasks whose operations have completed, and submits the operations that these
// tasks queue. Returns false with an exception that is to end the loop: SystemExit and the like.
bool run_turn(ContextObject* context, ContextLock& lock);

// For loops that step tasks in a row: submits the queued operations once they fill a batch.
void submit_full_batch(ContextObject* context) noexcept;

}  // namespace python
