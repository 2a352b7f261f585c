// SPDX-License-Identifier: Apache-2.0
// The way of operations into a context.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <span>

#include "python/context.hpp"

namespace python {

// Submits objects of type AIOOperation. Each signals `eventfd`; if that is null, the eventfd that
// it was prepared with. Returns how many the engine took, or -1 with an exception set.
Py_ssize_t submit(ContextObject* context, std::span<PyObject* const> operations, PyObject* eventfd);

// Carries out an operation that is awaited and was never submitted, if it is a read of what is
// known to be in memory: then it has completed, and release_buffers() is left to do. False if it is
// to be submitted; no exception is set. `now` is the time before, then after. Runs no Python code.
bool complete_at_once(ContextObject* context, OperationObject* operation,
                      std::chrono::steady_clock::time_point& now) noexcept;

// Whether it is likely to.
bool may_complete_at_once(const ContextObject* context, OperationObject* operation) noexcept;

// So many at once, for which no memory is allocated.
inline constexpr std::size_t most_awaited = 32;

// Submits operations that are awaited, and puts those back at the head of the queue for which there
// is no room. An operation that can't be submitted fails. Returns whether any was submitted, or
// failed. A pace that is given is not guessed again.
bool submit_awaited(ContextObject* context, std::span<PyObject* const> operations,
                    std::optional<engine::Pace> pace = std::nullopt);

}  // namespace python
