// SPDX-License-Identifier: Apache-2.0
// What AIOContext.read() and its like return, and `await operation`: a coroutine in all but its
// code.
//
// It submits at its first step. If the operation has completed by then, that step returns the
// result and nobody is suspended. Else it yields a future, which run_turn() wakes when the
// operation has completed; the result is taken from the operation in the next step.
#pragma once

#include <cstdint>

#include "python/context.hpp"
#include "python/refs.hpp"

namespace python {

struct Awaitable {
    enum class Stage : std::uint8_t { created, suspended, finished };

    PyObject* weak_references = nullptr;  // first, for weak_references_offset

    Stage stage = Stage::created;
    bool submits = false;              // made by a method of the context, not by `await operation`
    std::uint64_t binding_number = 0;  // of the binding that counts it among its suspended, or 0
    bool was_awaited = false;
    bool is_running = false;  // in one of its methods, which may run Python code
    const char* name = "";    // for people
    Ref context;
    Ref operation;
    Ref wake_future;  // what the task waits for while it is suspended
    Ref failure;      // the exception that ended it before the operation was submitted
    Ref deferred;     // the exception to raise once the kernel has let go of the program's memory
};

struct AwaitableObject : PyObject, Awaitable {};

PyTypeObject* make_awaitable_type(PyObject* module);

// A new awaitable for the operation, or null with an exception set.
PyObject* make_awaitable(ContextObject* context, OperationObject* operation, bool submits,
                         const char* name);

}  // namespace python
