// SPDX-License-Identifier: Apache-2.0
// What a context knows of the event loop that it serves (loop_binding.hpp).
#pragma once

#include <cstdint>

#include "python/event_loop.hpp"
#include "python/operation_list.hpp"
#include "python/refs.hpp"
#include "python/state.hpp"

namespace python {

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

}  // namespace python
