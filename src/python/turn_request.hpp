// SPDX-License-Identifier: Apache-2.0
// Asks the event loop to call run_turn() (loop_turn.hpp). The caller holds the context's lock.
#pragma once

#include "python/context.hpp"

namespace python {

// Makes the loop call run_turn() in its next turn. May be called from any thread.
void request_turn(ContextObject* context) noexcept;

// Has the loop call run_turn() for the queued operations: in its next turn, if they can go on then;
// or a millisecond later, if no completion is sure to make the loop call it. Else does nothing.
void attend_to_queue(ContextObject* context) noexcept;

}  // namespace python
