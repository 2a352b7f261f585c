// SPDX-License-Identifier: Apache-2.0
// The worker pools of the process: one for each kind of reactor, shared by all engines that use
// this kind. A pool is made when the first engine joins, and retired when the last has left. A
// child process makes its own pools.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/worker_pool.hpp"

namespace engine {

enum class PoolKind : std::uint8_t {
    uring,  // io_uring, or epoll if the system refuses io_uring
    epoll,
};

// Joins the pool of this kind. Null, with an errno in `error`, if no pool can be made.
std::shared_ptr<WorkerPool> join_pool(PoolKind kind, int& error) noexcept;

// An engine leaves the pool. Does not wait for the pool's threads.
void leave_pool(PoolKind kind, std::shared_ptr<WorkerPool> pool) noexcept;

}  // namespace engine
