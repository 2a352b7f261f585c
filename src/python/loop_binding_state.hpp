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

#include <cstdint>

#include "python/event_loop.hpp"
#include "python/operation_list.hpp"
#include "python/refs.hpp"
#include "python/state.hpp"

namespace python {

struct ContextObject;
class ContextLock;

struct LoopBinding {
    EventLoop loop;
    Ref watcher;  // what the loop calls

    OperationList queued;       // awaited, and waiting for room or for the next turn of the loop
    OperationList ready;        // awaited and completed: whoever waits for it has to be woken
    std::size_t suspended = 0;  // awaitables that have begun and not finished
    // Whether some in flight signal the eventfd of another loop that was served before.
    bool earlier_loop_in_flight = false;
    std::uint64_t number = 0;  // of the binding: those of an earlier one don't count
    LifeCount borrowed;        // operations in flight that were submitted first, then awaited
    bool turn_is_requested = false;
    bool turn_comes_by_eventfd = false;  // the requested one; and in which of TurnBudget's
    std::uint64_t requested_in_turn = 0;
    bool look_is_requested = false;  // a turn after a while
    bool is_running = false;         // in run_turn(), which comes to the queue by itself
    // In the callback that run_turn() makes: the Python context that it made it in, not owned.
    PyObject* waking = nullptr;
    std::uint64_t last_turn = 0;  // of TurnBudget's, when the loop last came for an eventfd
};

PyTypeObject* make_watcher_type(PyObject* module);

// Ties the context to the loop that runs in this thread. False with RuntimeError if there is none,
// or somebody in another loop awaits something of the context.
bool bind_to_running_loop(ContextObject* context);

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

// Makes the binding's eventfd readable: the loop will call run_turn(). From any thread.
void tell_loop(const ContextObject* context) noexcept;

// Where tasks are stepped in a row, submits what they have queued once that is a batch.
void submit_full_batch(ContextObject* context) noexcept;

// Has the loop call run_turn() when it may make a difference to the queue, if no completion that is
// awaited will bring it there: in its next turn, or after a while.
void attend_to_queue(ContextObject* context) noexcept;

// Has the loop call run_turn() in its next turn, from any thread.
void request_turn(ContextObject* context) noexcept;

// In a callback of the loop's: reaps, submits what is queued as far as there is room and time,
// calls back whoever waits for what has completed, and submits what these queue. False with an
// exception that is to end the loop: SystemExit and its like.
bool run_turn(ContextObject* context, ContextLock& lock);

// Whether run_turn() is on the caller's stack, and will look at the queue before the loop goes on.
bool comes_to_queue(const ContextObject* context) noexcept;

// Has those called back, by the loop, whose operations have completed. From any thread.
void wake_ready(ContextObject* context) noexcept;

// Before the context is closed: those that are queued fail with ValueError.
void fail_queued(ContextObject* context) noexcept;

}  // namespace python
