// SPDX-License-Identifier: Apache-2.0
// The binding between a context and the event loop that it serves.
//
// The loop watches an eventfd of the binding's, which awaited operations signal, so that the
// context's own is the program's to watch. (An operation that was submitted first and then awaited
// signals that one: while there are such, the loop watches a duplicate of it.) What it calls is a
// small object, the watcher, which knows the context without owning it: the loop keeps no context
// alive. Everything that touches the loop or a future happens in the loop's thread; a foreign
// thread that finds a completion only lists it, and the eventfd brings the loop to it.
#pragma once

#include "python/context.hpp"

namespace python {

// Ties the context to the loop that runs in this thread. False with RuntimeError if there is none,
// or somebody in another loop awaits something of the context.
bool bind_to_running_loop(ContextObject* context);

// The tasks of a loop that is closed: nobody will step them again. With the context locked.
void drop_suspended(ContextObject* context) noexcept;

// What the loop calls finds the context no longer. For a context that ends.
void hide_from_loop(ContextObject* context) noexcept;

// All that follows is called with the context locked.

// Ends the binding; from another thread, the loop is asked to. Never fails.
void unbind(ContextObject* context) noexcept;

// The number of the eventfd that awaited operations signal, or -1 if there is no binding.
int eventfd_of_binding(const ContextObject* context) noexcept;

// Has the loop watch the context's own eventfd, too, for operations that signal that. False with an
// exception set.
bool borrow_eventfd(ContextObject* context);

// Ends that. Returns whether the loop watched it.
bool stop_borrowing_eventfd(ContextObject* context) noexcept;

// Makes the binding's eventfd readable: the loop will call run_turn(). From any thread.
void tell_loop(const ContextObject* context) noexcept;

// Whether run_turn() is on the caller's stack, and will look at the queue before the loop goes on.
bool comes_to_queue(const ContextObject* context) noexcept;

}  // namespace python
