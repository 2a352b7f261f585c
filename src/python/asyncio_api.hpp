// SPDX-License-Identifier: Apache-2.0
// What is used of asyncio, found once for each interpreter, when a program first awaits something.
#pragma once

#include "python/refs.hpp"
#include "python/state.hpp"

namespace python {

// False with an exception set.
bool import_asyncio(ModuleState& state);

// The loop that runs in this thread: a new reference, or null with RuntimeError if none does.
Ref running_loop(ModuleState& state);

// Whether the loop runs in this thread.
bool runs_here(ModuleState& state, PyObject* loop);

// Whether this thread may call the loop's methods: the loop runs here, or nowhere.
bool may_touch(ModuleState& state, PyObject* loop);

bool is_closed(PyObject* loop);

// Whether the loop is in debug mode, or can't tell: then everything is to go through call_soon(),
// where it looks for what takes long.
bool is_debugging(const ModuleState& state, PyObject* loop) noexcept;

// Calls a method of the loop with two or three arguments, none of the caller's context variables
// kept by it. False with an exception set.
bool call_without_context(PyObject* loop, const char* method, PyObject* first, PyObject* second,
                          PyObject* third = nullptr);

}  // namespace python
