// SPDX-License-Identifier: Apache-2.0
// The future that a suspended awaitable yields. It has what tasks and similar code use of a future.
//
// A WakeFuture carries no result: the waiting task takes that from the operation. asyncio.Future
// always calls back through loop.call_soon(), one turn later. A WakeFuture can be called back by
// run_turn() at once, since that runs where the loop would call back too: in a callback of the
// loop, while no task runs.
#pragma once

#include <cstdint>

#include "python/refs.hpp"
#include "python/state.hpp"

namespace python {

struct WakeFuture {
    enum class WaitState : std::uint8_t { pending, over, cancelled };

    WaitState wait = WaitState::pending;
    bool is_blocking = true;  // `_asyncio_future_blocking`: yielded, and no task has seen it yet
    Ref loop;
    // The function to call back, and the contextvars context to call it in: commonly of one task.
    Ref callback;
    Ref callback_contextvars;
    Ref more_callbacks;  // a list of pairs of these, or null
    Ref cancel_message;
};

struct WakeFutureObject : PyObject, WakeFuture {};

PyTypeObject* make_wake_future_type(PyObject* module);

// Returns a new future, marked as awaited by a task. Returns null with an exception set.
Ref make_wake_future(ModuleState& state, PyObject* loop);

// Whether the wait was cancelled.
bool is_cancelled_wait(PyObject* future) noexcept;

// Ends the wait: the loop calls back the waiting tasks in its next turn. Does nothing if the wait
// is over already, or if the loop is closed. Called in the loop's thread.
void wake_soon(PyObject* future) noexcept;

// Ends the wait, and calls back at once; exceptions of the callbacks go to the loop's exception
// handler. Called in callbacks of the loop. Returns false with SystemExit, KeyboardInterrupt or an
// exception of the handler.
bool wake_now(PyObject* future);

// Returns the contextvars context in which the first callback is to be called; null if there is no
// callback.
Ref callback_contextvars_of(PyObject* future) noexcept;

// Returns the contextvars context that the caller runs in; borrowed, null for the thread's first.
PyObject* current_contextvars() noexcept;

}  // namespace python
