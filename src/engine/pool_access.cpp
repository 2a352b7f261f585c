// SPDX-License-Identifier: Apache-2.0
#include "engine/pool_access.hpp"

#include <cerrno>
#include <utility>

namespace engine {

PoolAccess::PoolAccess(PoolKind kind, bool needs_first_choice)
    : client_(std::make_unique<PoolClient>()), kind_(kind), is_own_(false) {
    client_->needs_first_choice = needs_first_choice;
}

PoolAccess::PoolAccess(std::shared_ptr<WorkerPool> own)
    : client_(std::make_unique<PoolClient>()),
      kind_(PoolKind::epoll),
      is_own_(true),
      pool_(std::move(own)),
      joined_(pool_.get()) {}

PoolAccess::~PoolAccess() {
    if (pool_ == nullptr) {
        return;
    }
    if (fork_guard_.is_inherited()) {
        // at the fork, the parent's threads may have been anywhere in the pool's code
        pool_->abandon();
        return;
    }
    pool_->leave(std::move(client_));
    if (is_own_) {
        pool_->close();
    } else {
        leave_pool(kind_, std::move(pool_));
    }
}

Submission PoolAccess::submit(std::span<Request* const> requests,
                              const std::function<void(const Request&)>& note) noexcept {
    auto* pool = get();
    if (pool == nullptr) {
        const auto count = WorkerPool::count_open(requests);
        if (count == 0 && !requests.empty()) {
            return {.taken = 0, .error = EBADF};
        }
        requests = requests.first(count);
        int error = 0;
        pool = join(error);
        if (pool == nullptr) {
            return {.taken = 0, .error = error};
        }
    }
    return pool->submit(*client_, requests, note);
}

CancelAnswer PoolAccess::post_cancellation(Request& request) noexcept {
    auto* pool = get();
    return pool != nullptr ? pool->post_cancellation(request) : CancelAnswer::no;
}

CancelAnswer PoolAccess::post_cancellation_if_endless(Request& request) noexcept {
    auto* pool = get();
    return pool != nullptr ? pool->post_cancellation_if_endless(*client_, request)
                           : CancelAnswer::no;
}

CancelAnswer PoolAccess::wait_for_answer(Request& request, std::uint32_t flight,
                                         std::chrono::nanoseconds time) noexcept {
    auto* pool = get();
    return pool != nullptr ? pool->wait_for_answer(request, flight, time) : CancelAnswer::no;
}

void PoolAccess::wait_for_signals() noexcept {
    if (auto* pool = get(); pool != nullptr) {
        pool->wait_for_signals();
    }
}

WorkerPool* PoolAccess::join(int& error) noexcept {
    if (auto* pool = get(); pool != nullptr) {
        return pool;
    }
    const std::lock_guard lock(mutex_);
    if (pool_ == nullptr) {
        pool_ = join_pool(kind_, error);
        joined_.store(pool_.get(), std::memory_order_release);
    }
    return pool_.get();
}

}  // namespace engine
