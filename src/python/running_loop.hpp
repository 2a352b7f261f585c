// SPDX-License-Identifier: Apache-2.0
// Which event loop runs in this thread, and of which kind it is.
#pragma once

#include "python/event_loop.hpp"
#include "python/state.hpp"

namespace python {

// The kind of the loop whose task or callback this thread runs; asyncio's if there is none. An
// asyncio loop that hosts a Trio run in guest mode runs in the same thread, but not its tasks.
const LoopKind& running_kind(ModuleState& state) noexcept;

// The loop whose task or callback this thread runs. Null, with RuntimeError, if there is none.
EventLoop running_loop(ModuleState& state);

}  // namespace python
