// SPDX-License-Identifier: Apache-2.0
// Finds the event loop that runs in this thread, and its kind.
#pragma once

#include "python/event_loop.hpp"
#include "python/state.hpp"

namespace python {

// Returns the kind of the loop whose task or callback this thread runs; asyncio's if there is none.
// When an asyncio loop hosts a Trio run in guest mode, both share a thread: the answer is the one
// whose code runs now.
const LoopKind& running_kind(ModuleState& state) noexcept;

// Returns the loop whose task or callback this thread runs, or null with RuntimeError if there is
// none.
EventLoop running_loop(ModuleState& state);

}  // namespace python
