// SPDX-License-Identifier: Apache-2.0
// Sleeps until a number changes, by futex(2). Unlike std::atomic::wait, the sleep also ends when a
// signal arrives: Python may have to run its handler.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>

namespace engine {

// Sleeps while `word` holds `expected`. Returns 0 if it no longer does, and sometimes too early;
// ETIMEDOUT; or EINTR after a signal. `timeout` without a value: no limit.
int futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
               std::optional<std::chrono::nanoseconds> timeout) noexcept;

// Wakes all threads that sleep on `word`.
void futex_wake_all(const std::atomic<std::uint32_t>& word) noexcept;

}  // namespace engine
