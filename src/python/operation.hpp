// SPDX-License-Identifier: Apache-2.0
// linux_aio.AIOOperation: one request, and what became of it.
#pragma once

#include <cstdint>

#include "engine/request.hpp"
#include "python/buffer_view.hpp"
#include "python/descriptor.hpp"
#include "python/refs.hpp"
#include "python/state.hpp"

namespace python {

// The class method that made the operation.
enum class Kind : std::uint8_t { read, write, fsync, fdsync, poll };

enum class State : std::uint8_t {
    created,     // never submitted
    submitting,  // a thread has claimed it for a submission
    in_flight,   // the engine has it
    completed,   // `result` is there
};

// Where the operation stands with its context.
enum class Listing : std::uint8_t {
    none,
    in_flight,  // in Context::in_flight; the list owns a reference
    kept,       // in Context::collectable; the list owns a reference
    noted,      // in Context::collectable without a reference: gone when nobody else holds it
};

struct OperationObject;

struct OperationLinks {
    OperationObject* previous = nullptr;
    OperationObject* next = nullptr;
};

struct Operation {
    PyObject* weak_references = nullptr;  // first, for weak_references_offset

    Kind kind{};
    State state = State::created;
    Listing listing = Listing::none;
    std::int64_t result = 0;  // of the last completion: what the system call returned, or -errno
    std::size_t nbytes = 0;

    engine::Request request;
    File file;

    // What the program gave to a write; what a read returned the last time.
    Ref payload;
    // The bytes object that a read in flight lands in.
    Ref landing;
    BufferView view;

    Ref eventfd;  // the EventFD or int that the program named
    Ref context;  // that of the last submission
    OperationLinks links;
};

struct OperationObject : PyObject, Operation {};

PyTypeObject* add_operation_type(PyObject* module);

// The object with the request in it, for completions.
OperationObject* operation_of(engine::Request* request) noexcept;

// Makes everything ready that the kernel will use: asks for the fd, exports the buffer, allocates
// the memory of a read. May run Python code. False with an exception set; then nothing has changed
// that shows.
bool prepare_memory(OperationObject* operation);

// The result arrived. Runs no Python code; release_memory() is left to do.
void complete(OperationObject* operation, std::int64_t result) noexcept;

// Gives back what only the kernel needed. May run Python code; does nothing for an operation that
// is in flight (again).
void release_memory(OperationObject* operation) noexcept;

// "read of 32 bytes at offset 0 of fd 7"; a new str or null.
PyObject* describe(const OperationObject* operation);

// The operation's result as a new reference, or null with its OSError.
PyObject* take_result(OperationObject* operation);

}  // namespace python
