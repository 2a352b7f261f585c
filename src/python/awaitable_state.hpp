// SPDX-License-Identifier: Apache-2.0
// What an awaitable (awaitable.hpp) knows of its operation and of its task.
#pragma once

#include <cstdint>

#include "python/event_loop.hpp"
#include "python/refs.hpp"

namespace python {

struct Awaitable {
    enum class Phase : std::uint8_t {
        created,
        started,    // submitted or queued by start(), and nobody waits for it
        suspended,  // a task waits for it
        finished,
    };

    PyObject* weak_references = nullptr;  // first, for weak_references_offset

    Phase phase = Phase::created;
    bool submits = false;              // made by a method of the context, not by `await operation`
    bool was_started = false;          // by start(): cancelling who waits for it leaves it alone
    std::uint64_t binding_number = 0;  // of the binding that counts it among its suspended, or 0
    bool was_awaited = false;
    bool cannot_take = false;  // a stream that its step can't read without waiting
    bool is_running = false;   // in one of its methods, which may run Python code
    const char* name = "";     // for people
    Ref context;
    Ref operation;
    Ref wake;  // what the task waits for while it is suspended, and of which kind it is:
    const LoopKind* wake_kind = nullptr;
    bool was_cancelled = false;  // before it began: it suspends only for the loop to end it
    Ref failure;                 // the exception that ended it before the operation was submitted
    Ref shield;                  // of the wait for that: LoopKind::begin_shield()
    Ref deferred;  // the exception to raise once the kernel has let go of the program's memory
};

struct AwaitableObject : PyObject, Awaitable {};

}  // namespace python
