// SPDX-License-Identifier: Apache-2.0
// How operations get into a context.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <span>

#include "python/context.hpp"

namespace python {

// Submits objects of type AIOOperation. Each signals `eventfd`; if `eventfd` is null, each signals
// the eventfd that it was made with. Returns how many operations the engine took, or -1 with an
// exception set.
Py_ssize_t submit(ContextObject* context, std::span<PyObject* const> operations, PyObject* eventfd);

// Carries out an awaited operation that was never submitted, if it is a read of data that are known
// to be in memory. Returns true if the operation has completed; the caller then calls
// release_buffers(). Returns false if the operation is to be submitted. Sets no exception. `now` is
// the time before the call, and is set to the time after it. Runs no Python code.
bool complete_at_once(ContextObject* context, OperationObject* operation,
                      std::chrono::steady_clock::time_point& now) noexcept;

// Whether complete_at_once() is likely to complete the operation.
bool may_complete_at_once(const ContextObject* context, OperationObject* operation) noexcept;

// How many awaited operations one submission takes at most. Up to this many, it allocates no
// memory.
inline constexpr std::size_t most_awaited = 32;

// Submits awaited operations. Those that have no room go back to the head of the queue. An
// operation that can't be submitted fails. Returns whether any was submitted or failed. If `pace`
// is given, the engine does not guess it again.
bool submit_awaited(ContextObject* context, std::span<PyObject* const> operations,
                    std::optional<engine::Pace> pace = std::nullopt);

}  // namespace python
