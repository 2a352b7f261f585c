// SPDX-License-Identifier: Apache-2.0
// What AIOContext.read() and its like return, and `await operation`: a coroutine in all but its
// code.
//
// It submits at its first step. If the operation has completed by then, that step returns the
// result and nobody is suspended. Else it yields what its kind of loop waits for, which run_turn()
// wakes when the operation has completed; the result is taken from the operation in the next step.
#pragma once

#include <cstdint>

#include "python/context.hpp"
#include "python/refs.hpp"

namespace python {

struct Awaitable {
    enum class Stage : std::uint8_t {
        created,
        started,    // submitted or queued by start(), and nobody waits for it
        suspended,  // a task waits for it
        finished,
    };

    PyObject* weak_references = nullptr;  // first, for weak_references_offset

    Stage stage = Stage::created;
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

PyTypeObject* make_awaitable_type(PyObject* module);

// A new awaitable for the operation, or null with an exception set.
PyObject* make_awaitable(ContextObject* context, OperationObject* operation, bool submits,
                         const char* name);

// Submits or queues the operation of an awaitable that was never stepped, without a task that waits
// for it: for read-ahead and for writing behind. The operation then goes on whatever becomes of
// tasks; but one that is dropped while it is still queued leaves the queue. Who needs the result
// awaits it; if that task is cancelled, another one can await it again.
// False with an exception set.
bool start(PyObject* awaitable);

// Whether what start() began is over, so that awaiting it will not suspend. Takes in completions.
bool is_over(PyObject* awaitable);

}  // namespace python
