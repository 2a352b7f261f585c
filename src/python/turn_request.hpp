// SPDX-License-Identifier: Apache-2.0
// Asking the event loop to call run_turn() (loop_turn.hpp). With the context locked.
#pragma once

#include "python/context.hpp"

namespace python {

// Has the loop call run_turn() in its next turn, from any thread.
void request_turn(ContextObject* context) noexcept;

// Has the loop call run_turn() in its next turn, or after a while, if operations are queued and no
// awaited completion is sure to make the loop call it.
void attend_to_queue(ContextObject* context) noexcept;

}  // namespace python
