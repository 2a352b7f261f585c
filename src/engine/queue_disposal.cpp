// SPDX-License-Identifier: Apache-2.0
#include "engine/queue_disposal.hpp"

#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <vector>

#include "engine/detached_thread.hpp"
#include "engine/per_process.hpp"
#include "libaio/calls.hpp"

namespace engine {
namespace {

constexpr std::size_t stack_size = std::size_t{128} * 1024;

// The threads wait for the same grace periods side by side.
constexpr unsigned most_threads = 8;

class Disposal {
public:
    // False if the caller has to destroy it.
    bool take_over(const ClosedQueue& queue) noexcept;
    io_context_t give_back(unsigned max_requests) noexcept;
    std::uint64_t destroyed() noexcept;
    bool is_busy() noexcept;
    bool wait_for_more(std::uint64_t count) noexcept;

private:
    using Lock = std::unique_lock<std::mutex>;

    bool start_thread() noexcept;
    void run() noexcept;

    std::mutex mutex_;
    std::condition_variable one_is_gone_;
    std::vector<ClosedQueue> waiting_;  // the kernel bounds how many: fs.aio-max-nr
    std::uint64_t destroyed_ = 0;
    unsigned threads_ = 0;
};

// Null for lack of memory.
Disposal* disposal() noexcept {
    static PerProcess<Disposal> disposals;
    return disposals.get();
}

bool Disposal::take_over(const ClosedQueue& queue) noexcept {
    const Lock lock(mutex_);
    try {
        waiting_.push_back(queue);
    } catch (const std::bad_alloc&) {
        return false;
    }
    if (threads_ < most_threads) {
        threads_ += start_thread() ? 1 : 0;
    }
    if (threads_ == 0) {
        waiting_.pop_back();
        return false;
    }
    return true;
}

io_context_t Disposal::give_back(unsigned max_requests) noexcept {
    const Lock lock(mutex_);
    const auto found = std::ranges::find_if(waiting_, [max_requests](const ClosedQueue& queue) {
        return queue.is_reusable && queue.max_requests == max_requests;
    });
    if (found == waiting_.end()) {
        return nullptr;
    }
    auto* const context = found->context;
    *found = waiting_.back();
    waiting_.pop_back();
    return context;
}

bool Disposal::start_thread() noexcept {
    const auto body = [](void* argument) -> void* {
        pthread_setname_np(pthread_self(), "aio-destroy");
        static_cast<Disposal*>(argument)->run();
        return nullptr;
    };
    return start_detached_thread(stack_size, body, this) == 0;
}

void Disposal::run() noexcept {
    Lock lock(mutex_);
    while (!waiting_.empty()) {
        auto* const context = waiting_.back().context;
        waiting_.pop_back();
        lock.unlock();
        libaio::calls.destroy(context);
        lock.lock();
        ++destroyed_;
        one_is_gone_.notify_all();
    }
    --threads_;
    one_is_gone_.notify_all();
}

std::uint64_t Disposal::destroyed() noexcept {
    const Lock lock(mutex_);
    return destroyed_;
}

bool Disposal::is_busy() noexcept {
    const Lock lock(mutex_);
    return threads_ != 0;
}

bool Disposal::wait_for_more(std::uint64_t count) noexcept {
    Lock lock(mutex_);
    one_is_gone_.wait(lock, [&] { return destroyed_ > count || threads_ == 0; });
    return destroyed_ > count;
}

}  // namespace

void destroy_soon(const ClosedQueue& queue) noexcept {
    auto* threads = disposal();
    if (threads == nullptr || !threads->take_over(queue)) {
        libaio::calls.destroy(queue.context);
    }
}

io_context_t take_closed_queue(unsigned max_requests) noexcept {
    auto* threads = disposal();
    return threads == nullptr ? nullptr : threads->give_back(max_requests);
}

std::uint64_t destroyed_queues() noexcept {
    auto* threads = disposal();
    return threads == nullptr ? 0 : threads->destroyed();
}

bool is_destroying_queues() noexcept {
    auto* threads = disposal();
    return threads != nullptr && threads->is_busy();
}

bool wait_for_more_destroyed(std::uint64_t count) noexcept {
    auto* threads = disposal();
    return threads != nullptr && threads->wait_for_more(count);
}

}  // namespace engine
