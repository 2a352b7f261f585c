// SPDX-License-Identifier: Apache-2.0
#include "engine/worker_pools.hpp"

#include <array>
#include <cerrno>
#include <mutex>
#include <new>
#include <system_error>
#include <utility>

#include "engine/per_process.hpp"
#include "engine/reactors.hpp"

namespace engine {
namespace {

struct Entry {
    std::shared_ptr<WorkerPool> pool;
    unsigned members = 0;
};

struct Process {
    std::mutex mutex;
    std::array<Entry, 2> entries;
};

// Null for lack of memory.
Process* process() noexcept {
    static PerProcess<Process> processes;
    return processes.get();
}

std::shared_ptr<WorkerPool> make(PoolKind kind) {
    const auto uring = kind == PoolKind::uring ? uring_reactor() : nullptr;
    return uring != nullptr ? std::make_shared<WorkerPool>(uring, make_epoll_reactor)
                            : std::make_shared<WorkerPool>(make_epoll_reactor, nullptr);
}

}  // namespace

std::shared_ptr<WorkerPool> join_pool(PoolKind kind, int& error) noexcept {
    auto* all = process();
    if (all == nullptr) {
        error = ENOMEM;
        return nullptr;
    }
    const std::lock_guard lock(all->mutex);
    auto& entry = all->entries[static_cast<std::size_t>(kind)];
    try {
        if (entry.pool == nullptr) {
            entry.pool = make(kind);
        }
    } catch (const std::system_error& refusal) {
        error = refusal.code().value();
        return nullptr;
    } catch (const std::bad_alloc&) {
        error = ENOMEM;
        return nullptr;
    }
    ++entry.members;
    return entry.pool;
}

void leave_pool(PoolKind kind, std::shared_ptr<WorkerPool> pool) noexcept {
    {
        auto* all = process();
        const std::lock_guard lock(all->mutex);
        auto& entry = all->entries[static_cast<std::size_t>(kind)];
        if (--entry.members != 0) {
            return;
        }
        entry.pool.reset();
    }
    pool->retire();
}

}  // namespace engine
