// SPDX-License-Identifier: Apache-2.0
// The end of a context.
#pragma once

#include "python/context.hpp"

namespace python {

// The first part of close(), which does not wait: the context refuses new operations, queued
// operations fail, and operations that may never end by themselves are cancelled. Called with the
// context locked.
void start_closing(ContextObject* context) noexcept;

// Returns whether close(), after start_closing(), has nothing to wait for. Called with the context
// locked.
bool closes_at_once(const ContextObject* context) noexcept;

// Cancels the operations that may never end by themselves, waits for the others without the GIL,
// reaps them, and closes the engine. In a child process, releases only what belongs to the child.
// Returns false with an exception set if a signal handler raised one; the context then refuses
// operations, and close() can be called again to go on.
bool close(ContextObject* context);

// Gives a ResourceWarning if the context is open, as Python does for files.
void warn_if_open(ContextObject* context) noexcept;

// Ends a context that the program can't reach any more. Never waits: only polls can be in flight,
// because all other operations would keep the context alive.
void abandon(ContextObject* context) noexcept;

// For an inherited context in a child process: releases the operations that were in flight.
void release_inherited(ContextObject* context) noexcept;

}  // namespace python
