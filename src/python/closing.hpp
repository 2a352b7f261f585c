// SPDX-License-Identifier: Apache-2.0
// The end of a context.
#pragma once

#include "python/context.hpp"

namespace python {

// The first part of close(), which does not wait: nothing new gets in, what is queued fails, what
// can be cancelled is. Called with the context locked.
void start_closing(ContextObject* context) noexcept;

// After that: whether close() has nothing to wait for. Called with the context locked.
bool closes_at_once(const ContextObject* context) noexcept;

// Cancels what can be cancelled, waits for the rest without the GIL, reaps, and lets the engine go.
// In a child process only lets go of what is the child's own. False with an exception set if a
// signal's handler raised one; the context is closed for everyone else, and close() can go on.
bool close(ContextObject* context);

// ResourceWarning, as Python gives it for files.
void warn_if_open(ContextObject* context) noexcept;

// For a context that nobody can reach any more. Never waits: nothing but polls is in flight, for
// all else would hold it.
void abandon(ContextObject* context) noexcept;

// For an inherited context in a child process: lets go of the operations that were in flight.
void release_inherited(ContextObject* context) noexcept;

}  // namespace python
