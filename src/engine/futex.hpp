// SPDX-License-Identifier: Apache-2.0
// Sleeping until a number changes: futex(2). Unlike std::atomic::wait it ends for a signal, too,
// whose handler Python may have to run.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>

namespace engine {

// Sleeps while `word` holds `expected`. Returns 0 if it no longer does, or too early; ETIMEDOUT;
// EINTR after a signal. Without a time-out, sleeps without end.
int futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
               std::optional<std::chrono::nanoseconds> timeout) noexcept;

// Wakes all that sleep.
void futex_wake_all(const std::atomic<std::uint32_t>& word) noexcept;

}  // namespace engine
