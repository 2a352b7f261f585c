// SPDX-License-Identifier: Apache-2.0
// The worker pools of the process: one for each kind of reactor, for all engines that use it. A
// pool is made for the first engine that joins, and retired when the last has left. A child process
// makes its own.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/worker_pool.hpp"

namespace engine {

enum class PoolKind : std::uint8_t {
    uring,  // io_uring, or epoll where it can't be had
    epoll,
};

// Null, with an errno in `error`, if there is none to be had.
std::shared_ptr<WorkerPool> join_pool(PoolKind kind, int& error) noexcept;

// One engine less uses the pool. Waits for no thread of the pool.
void leave_pool(PoolKind kind, std::shared_ptr<WorkerPool> pool) noexcept;

}  // namespace engine
