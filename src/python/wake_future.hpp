// SPDX-License-Identifier: Apache-2.0
// What a suspended awaitable yields: a future, as far as tasks and their like look at it.
//
// It carries no result: who waits takes that from the operation. Of asyncio.Future, whose callbacks
// always go through loop.call_soon(), it differs in that run_turn() can call back at once, from
// where the loop would do the same a turn later: in a callback of the loop's, while no task runs.
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
    // Who is to be called back, and in which of Python's contexts: commonly one task.
    Ref callback;
    Ref callback_contextvars;
    Ref more_callbacks;  // a list of pairs of these, or null
    Ref cancel_message;
};

struct WakeFutureObject : PyObject, WakeFuture {};

PyTypeObject* make_wake_future_type(PyObject* module);

// A new one, marked as what a task waits for. Null with an exception set.
Ref make_wake_future(ModuleState& state, PyObject* loop);

// The wait is over: whoever waits is called back by way of the loop, in its next turn. Nothing if
// it is over already, or the loop is closed. In the loop's thread.
void wake_soon(PyObject* future) noexcept;

// The same, but who waits is called back at once; what that raises goes to the loop's exception
// handler. For callbacks of the loop's. False with SystemExit, KeyboardInterrupt or what the
// handler raised.
bool wake_now(PyObject* future);

// In which of Python's contexts the first who waits is to be called back; null if nobody waits.
Ref callback_contextvars_of(PyObject* future) noexcept;

// Python's context (of contextvars) that the caller runs in; borrowed, null for the thread's first.
PyObject* current_contextvars() noexcept;

}  // namespace python
