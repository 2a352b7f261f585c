// SPDX-License-Identifier: Apache-2.0
#include "engine/fork_guard.hpp"

#include <pthread.h>

#include <atomic>

namespace engine {
namespace {

// How many forks lie between the first process and this one. getpid(2) would cost a system call at
// every look; a handler that runs in each child costs nothing.
std::atomic<std::uint64_t> current_generation{0};

void count_fork() { current_generation.fetch_add(1, std::memory_order_relaxed); }

// Registered when the library is loaded. A fork that has begun by then does not run the handler.
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, count_fork);

}  // namespace

ForkGuard::ForkGuard() noexcept : generation_(current_generation.load(std::memory_order_relaxed)) {}

bool ForkGuard::is_inherited() const noexcept {
    return generation_ != current_generation.load(std::memory_order_relaxed);
}

}  // namespace engine
