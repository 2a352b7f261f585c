// SPDX-License-Identifier: Apache-2.0
// The fields of the binding between a context and its event loop (loop_binding.hpp).
#pragma once

#include <cstdint>

#include "python/event_loop.hpp"
#include "python/operation_list.hpp"
#include "python/refs.hpp"
#include "python/state.hpp"

namespace python {

struct LoopBinding {
    EventLoop loop;
    Ref watcher;  // the object that the loop calls

    OperationList queued;  // awaited operations that wait for room or for the loop's next turn
    OperationList ready;   // awaited operations that have completed: their tasks are to be woken
    std::size_t suspended = 0;  // awaitables that have begun and not finished
    // Whether operations in flight signal the eventfd of an earlier loop's binding.
    bool earlier_loop_in_flight = false;
    std::uint64_t number = 0;  // of the binding; awaitables of earlier ones have another
    LifeCount borrowed;        // operations in flight that were submitted first, then awaited
    bool turn_is_requested = false;
    bool turn_comes_by_eventfd = false;  // the requested turn; requested in this one:
    std::uint64_t requested_in_turn = 0;
    bool look_is_requested = false;  // a turn after a while is requested
    bool is_refused = false;         // the engine has no room for the queue, though the context has
    bool is_running = false;         // in run_turn(), which will submit from the queue by itself
    // While run_turn() makes a callback: the contextvars context of the callback, not owned.
    PyObject* waking = nullptr;
    std::uint64_t last_turn = 0;  // in which the loop last called for an eventfd
};

}  // namespace python
