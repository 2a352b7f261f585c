// SPDX-License-Identifier: Apache-2.0
// The fields of an awaitable (awaitable.hpp): its operation, and the task that waits for it.
#pragma once

#include <cstdint>

#include "python/event_loop.hpp"
#include "python/refs.hpp"

namespace python {

struct Awaitable {
    enum class Phase : std::uint8_t {
        created,
        started,    // submitted or queued by start(), and no task waits for it
        suspended,  // a task waits for it
        finished,
    };

    PyObject* weak_references = nullptr;  // first, for weak_references_offset

    Phase phase = Phase::created;
    bool submits = false;              // made by a method of the context, not by `await operation`
    bool was_started = false;          // by start(): the operation outlives cancelled tasks
    std::uint64_t binding_number = 0;  // of the binding that counts this awaitable, or 0
    bool was_awaited = false;
    bool cannot_take = false;  // the step could not read the stream without waiting
    bool is_running = false;   // one of its methods runs, which may run Python code
    const char* name = "";     // the name that repr() and messages show
    Ref context;
    Ref operation;
    Ref wake;  // while suspended: the object that wakes the task, and its loop's kind
    const LoopKind* wake_kind = nullptr;
    bool was_cancelled = false;  // before it began: suspends once, to be ended by the loop
    Ref failure;                 // the exception that ended it before the operation was submitted
    Ref shield;    // from LoopKind::begin_shield(), while the task waits in spite of a cancellation
    Ref deferred;  // the exception to raise once the kernel no longer uses the program's memory
};

struct AwaitableObject : PyObject, Awaitable {};

}  // namespace python
