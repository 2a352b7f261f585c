// SPDX-License-Identifier: Apache-2.0
// Loops of asyncio: its own, uvloop's, and all others with the methods of asyncio's loops.
//
// What is used of asyncio is found once for each interpreter, when a program first awaits something
// there.
#pragma once

#include "python/event_loop.hpp"
#include "python/refs.hpp"
#include "python/state.hpp"

namespace python {

const LoopKind& asyncio_loop() noexcept;

// Whether a task of asyncio's runs in this thread.
bool is_in_asyncio_task(ModuleState& state) noexcept;

}  // namespace python
