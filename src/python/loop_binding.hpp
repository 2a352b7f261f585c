// SPDX-License-Identifier: Apache-2.0
// The binding between a context and the event loop that it serves.
//
// The loop watches an eventfd of the binding, which awaited operations signal. The context's own
// eventfd remains for the program to watch. (An operation that was submitted first and awaited
// later signals the context's own eventfd: while there are such operations, the loop also watches a
// duplicate of that.) When an eventfd is readable, the loop calls a small object, the watcher,
// which does not own the context: so the loop does not keep the context alive. All code that
// touches the loop or a future runs in the loop's thread. Another thread that finds a completion
// only lists the operation and signals the eventfd, which makes the loop call.
#pragma once

#include "python/context.hpp"

namespace python {

// Binds the context to the loop that runs in this thread. Returns false with RuntimeError if no
// loop runs, or if a task of another loop awaits an operation of the context.
bool bind_to_running_loop(ContextObject* context);

// Forgets the tasks that wait in a loop that is closed, since it never steps them again. Called
// with the context locked.
void drop_suspended(ContextObject* context) noexcept;

// Hides the context, which is about to end, from the watcher that the loop calls.
void hide_from_loop(ContextObject* context) noexcept;

// All functions below are called with the context locked.

// Ends the binding. In another thread than the loop's, asks the loop to stop watching. Never fails.
void unbind(ContextObject* context) noexcept;

// Returns the number of the eventfd that awaited operations signal, or -1 if there is no binding.
int eventfd_of_binding(const ContextObject* context) noexcept;

// Has the loop also watch the context's own eventfd, for operations that signal that one. Returns
// false with an exception set.
bool borrow_eventfd(ContextObject* context);

// Has the loop no longer watch the context's own eventfd. Returns whether it did.
bool stop_borrowing_eventfd(ContextObject* context) noexcept;

// Makes the binding's eventfd readable: the loop will call run_turn(). From any thread.
void tell_loop(const ContextObject* context) noexcept;

// Whether run_turn() is on the caller's stack, and will submit from the queue before the loop goes
// on.
bool comes_to_queue(const ContextObject* context) noexcept;

}  // namespace python
