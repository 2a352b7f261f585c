// SPDX-License-Identifier: Apache-2.0
// What an event loop does for a context in one of its turns.
#pragma once

#include "python/context.hpp"
#include "python/context_lock.hpp"

namespace python {

// In a callback of the loop's: reaps, submits what is queued as far as there is room and time,
// calls back whoever waits for what has completed, and submits what these queue. False with an
// exception that is to end the loop: SystemExit and its like.
bool run_turn(ContextObject* context, ContextLock& lock);

// Where tasks are stepped in a row, submits what they have queued once that is a batch.
void submit_full_batch(ContextObject* context) noexcept;

}  // namespace python
