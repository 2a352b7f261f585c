// SPDX-License-Identifier: Apache-2.0
// An engine's access to a worker pool: joins the pool when it is first used, and leaves it in the
// destructor. Neither waits for a thread of the pool.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>

#include "engine/fork_guard.hpp"
#include "engine/pool_client.hpp"
#include "engine/worker_pool.hpp"
#include "engine/worker_pools.hpp"

namespace engine {

class PoolAccess {
public:
    // Access to the process's pool of this kind. Throws std::bad_alloc.
    explicit PoolAccess(PoolKind kind, bool needs_first_choice = false);

    // Access to a pool that only this engine uses. The destructor waits for the pool's threads.
    explicit PoolAccess(std::shared_ptr<WorkerPool> own);

    PoolAccess(const PoolAccess&) = delete;
    PoolAccess& operator=(const PoolAccess&) = delete;
    ~PoolAccess();

    // Joins the pool if need be, and submits: see WorkerPool.
    Submission submit(std::span<Request* const> requests,
                      const std::function<void(const Request&)>& note = {}) noexcept;

    // Joins the pool. Null, with an errno in `error`, if no pool can be made.
    WorkerPool* join(int& error) noexcept;

    // Null before the first join().
    WorkerPool* get() const noexcept { return joined_.load(std::memory_order_acquire); }

    // See WorkerPool. Before the first join() there is nothing to cancel or to wait for.
    CancelAnswer post_cancellation(Request& request) noexcept;
    CancelAnswer post_cancellation_if_endless(Request& request) noexcept;
    CancelAnswer wait_for_answer(Request& request, std::uint32_t flight,
                                 std::chrono::nanoseconds time) noexcept;
    void wait_for_signals() noexcept;

    PoolClient& client() noexcept { return *client_; }
    CompletionQueue& completions() noexcept { return client_->completions; }

private:
    // If a thread of the pool is still posting a completion when the engine ends, the pool frees
    // the client.
    std::unique_ptr<PoolClient> client_;
    const PoolKind kind_;
    const bool is_own_;
    ForkGuard fork_guard_;

    std::mutex mutex_;  // held while joining
    std::shared_ptr<WorkerPool> pool_;
    std::atomic<WorkerPool*> joined_ = nullptr;
};

}  // namespace engine
