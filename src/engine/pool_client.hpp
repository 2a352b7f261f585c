// SPDX-License-Identifier: Apache-2.0
// A worker pool that an engine has, from its first use to the engine's end.
#pragma once

#include <memory>

#include "engine/fork_guard.hpp"
#include "engine/worker_pool.hpp"

namespace engine {

class PoolClient {
public:
    PoolClient(CompletionQueue& completions, WorkerPool::MakeReactor make_reactor,
               WorkerPool::MakeReactor second_choice)
        : pool_(std::make_shared<WorkerPool>(completions, make_reactor, second_choice)) {}
    PoolClient(const PoolClient&) = delete;
    PoolClient& operator=(const PoolClient&) = delete;

    ~PoolClient() {
        if (fork_guard_.is_inherited()) {
            pool_->abandon();
        } else {
            pool_->close();
        }
    }

    WorkerPool& operator*() const noexcept { return *pool_; }
    WorkerPool* operator->() const noexcept { return pool_.get(); }

private:
    std::shared_ptr<WorkerPool> pool_;
    ForkGuard fork_guard_;
};

}  // namespace engine
