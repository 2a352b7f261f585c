// SPDX-License-Identifier: Apache-2.0
#include "python/moving_positions.hpp"

#include <pthread.h>

#include <array>
#include <atomic>
#include <cstddef>

namespace python {
namespace {

// How many requests there are, by the last digits of the number.
std::array<std::atomic<unsigned>, 64> counts{};

std::atomic<unsigned>& count_of(int fd) noexcept {
    return counts[static_cast<std::size_t>(static_cast<unsigned>(fd)) % counts.size()];
}

// The requests of the parent are none of the child's.
void forget() {
    for (auto& count : counts) {
        count.store(0, std::memory_order_relaxed);
    }
}

[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, forget);

}  // namespace

void begin_moving(int fd) noexcept { count_of(fd).fetch_add(1, std::memory_order_relaxed); }

void end_moving(int fd) noexcept {
    auto& count = count_of(fd);
    auto before = count.load(std::memory_order_relaxed);
    // 0: the request began before a fork
    while (before != 0 && !count.compare_exchange_weak(before, before - 1)) {
    }
}

bool may_be_moving(int fd) noexcept { return count_of(fd).load(std::memory_order_relaxed) != 0; }

}  // namespace python
