// SPDX-License-Identifier: Apache-2.0
// linux_aio.AIOOperation: one request and its result. The methods and attributes that Python sees
// are in operation_methods.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "engine/request.hpp"
#include "engine/unread_bytes.hpp"
#include "python/call_details.hpp"
#include "python/descriptor.hpp"
#include "python/operation_memory.hpp"
#include "python/operation_state.hpp"
#include "python/refs.hpp"
#include "python/state.hpp"

namespace python {

// The class method that made the operation.
enum class OperationKind : std::uint8_t {
    read,
    readinto,
    readv,
    write,
    writev,
    fsync,
    fdsync,
    poll,
    call
};

constexpr bool reads(OperationKind kind) noexcept {
    return kind == OperationKind::read || kind == OperationKind::readinto ||
           kind == OperationKind::readv;
}
constexpr bool writes(OperationKind kind) noexcept {
    return kind == OperationKind::write || kind == OperationKind::writev;
}
// Whether the program provides the memory.
constexpr bool has_payload(OperationKind kind) noexcept {
    return writes(kind) || kind == OperationKind::readinto || kind == OperationKind::readv;
}
constexpr bool is_vectored(OperationKind kind) noexcept {
    return kind == OperationKind::readv || kind == OperationKind::writev;
}

struct OperationObject;
struct AwaitableObject;

struct Operation {
    PyObject* weak_references = nullptr;  // first, for weak_references_offset

    OperationKind kind{};
    LifeOwned<OperationState> state{OperationState::created};
    LifeOwned<Listing> listing{Listing::none};
    std::int64_t result = 0;  // of the last completion: the system call's return value, or -errno
    std::uint64_t offset = 0;
    std::size_t nbytes = 0;

    engine::Request request;
    File file;
    OperationMemory memory;
    std::unique_ptr<CallDetails> details;  // of OperationKind::call

    Ref eventfd;                          // the EventFD or int that the program named
    Ref context;                          // the context of the last submission
    OperationObject* previous = nullptr;  // in the OperationList that it is in
    OperationObject* next = nullptr;

    // The result goes to an awaitable and is not returned by getevents(): to `awaiter`, or to no
    // object if the awaitable was cancelled.
    LifeOwned<bool> is_awaited;
    LifeOwned<bool> is_counted_as_cancelled;  // by statistics()
    // An awaited read whose task was cancelled: the bytes that it reads from a stream go to the
    // next read.
    bool keeps_bytes = false;
    LifeOwned<bool> is_borrowed;             // counted in LoopBinding::borrowed
    LifeOwned<std::uint32_t> flight_period;  // see RecentFlights
    LifeOwned<AwaitableObject*> awaiter;     // suspended; owns a reference to the operation
};

struct OperationObject : PyObject, Operation {};

// Whether a thread is submitting the operation, or the engine has it.
inline bool is_busy(const Operation* operation) noexcept {
    return operation->state == OperationState::submitting ||
           operation->state == OperationState::in_flight;
}

// Returns the operation that contains the request, for completions.
OperationObject* operation_of(engine::Request* request) noexcept;

// The functions below are called with the operation locked (operation_lock.hpp).

// Releases the buffers that only the kernel needed. May run Python code. Does nothing if the
// operation is being submitted or in flight: the buffers then belong to that submission.
void release_buffers(OperationObject* operation) noexcept;

// Returns a text such as "read of 32 bytes at offset 0 of fd 7": a new str, or null.
PyObject* describe(const OperationObject* operation);

}  // namespace python
