// SPDX-License-Identifier: Apache-2.0
// The kind of asyncio's loops: its own, uvloop's, and all others with the methods of asyncio's
// loops.
//
// The functions of asyncio that this file uses are looked up once for each interpreter, when a
// program first awaits an operation in such a loop.
#pragma once

#include "python/event_loop.hpp"
#include "python/refs.hpp"
#include "python/state.hpp"

namespace python {

const LoopKind& asyncio_loop() noexcept;

// Whether a task of asyncio's runs in this thread.
bool is_in_asyncio_task(ModuleState& state) noexcept;

}  // namespace python
