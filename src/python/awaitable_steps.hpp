// SPDX-License-Identifier: Apache-2.0
// The steps of an awaitable: the first one submits the operation, the others take its result.
#pragma once

#include "python/awaitable_wait.hpp"

namespace python {

// Marks that a method of the coroutine runs, so that Python code which it runs can't call another
// method.
class Running {
public:
    explicit Running(AwaitableObject* self) noexcept : self_(self) { self_->is_running = true; }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    ~Running() { self_->is_running = false; }

private:
    AwaitableObject* self_;
};

// False with an exception set if another method of the coroutine runs.
bool check_not_running(const AwaitableObject* self);

// False with an exception set if the coroutine is over.
bool check_not_finished(const AwaitableObject* self);

// Returns the object to yield (the phase is then `suspended`), or the result, or null with an
// exception set.
PyObject* step(AwaitableObject* self);

// The step of a task whose wait is over, or that finds the operation completed.
PyObject* next_step(AwaitableObject* self);

// Submits or queues the operation. Returns false with an exception set, which is to end the
// awaitable.
bool submit_for_loop(AwaitableObject* self);

// Requests a turn for an operation that signals no eventfd, since nothing else tells the loop of
// its completion.
void have_it_looked_for(AwaitableObject* self) noexcept;

// Whether an operation that start() began has a result, or failed before it was submitted.
bool is_completed(AwaitableObject* self);

}  // namespace python
