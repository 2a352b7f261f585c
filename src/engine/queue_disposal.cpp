// SPDX-License-Identifier: Apache-2.0
#include "engine/queue_disposal.hpp"

#include <pthread.h>

#include <condition_variable>
#include <cstddef>
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
    bool take_over(io_context_t context) noexcept;
    bool wait() noexcept;

private:
    using Lock = std::unique_lock<std::mutex>;

    bool start_thread() noexcept;
    void run() noexcept;

    std::mutex mutex_;
    std::condition_variable one_is_gone_;
    std::vector<io_context_t> waiting_;  // the kernel bounds how many: fs.aio-max-nr
    unsigned threads_ = 0;
};

// Null for lack of memory.
Disposal* disposal() noexcept {
    static PerProcess<Disposal> disposals;
    return disposals.get();
}

bool Disposal::take_over(io_context_t context) noexcept {
    const Lock lock(mutex_);
    try {
        waiting_.push_back(context);
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
        auto* const context = waiting_.back();
        waiting_.pop_back();
        lock.unlock();
        libaio::calls.destroy(context);
        lock.lock();
        one_is_gone_.notify_all();
    }
    --threads_;
    one_is_gone_.notify_all();
}

bool Disposal::wait() noexcept {
    Lock lock(mutex_);
    if (threads_ == 0) {
        return false;
    }
    one_is_gone_.wait(lock, [this] { return threads_ == 0; });
    return true;
}

}  // namespace

void destroy_soon(io_context_t context) noexcept {
    auto* threads = disposal();
    if (threads == nullptr || !threads->take_over(context)) {
        libaio::calls.destroy(context);
    }
}

bool wait_for_destroyed() noexcept {
    auto* threads = disposal();
    return threads != nullptr && threads->wait();
}

}  // namespace engine
