// SPDX-License-Identifier: Apache-2.0
#include "engine/completion_queue.hpp"

#include <mutex>
#include <utility>

#include "engine/brief_lock.hpp"
#include "engine/eventfd_signal.hpp"
#include "engine/futex.hpp"

namespace engine {

// Holds the lock. Threads that sleep are woken when the lock was given back: they need it at once.
class CompletionQueue::Change {
public:
    explicit Change(CompletionQueue& queue, std::unique_lock<std::mutex> lock) noexcept
        : queue_(queue), lock_(std::move(lock)) {}
    explicit Change(CompletionQueue& queue) noexcept
        : Change(queue, std::unique_lock(queue.mutex_)) {}
    Change(const Change&) = delete;
    Change& operator=(const Change&) = delete;
    ~Change() {
        const bool wakes = std::exchange(queue_.has_sleepers_to_wake_, false);
        lock_.unlock();
        if (wakes) {
            futex_wake_all(queue_.changes_);
        }
    }

private:
    CompletionQueue& queue_;
    std::unique_lock<std::mutex> lock_;
};

void CompletionQueue::push(Request& request, std::int64_t result) noexcept {
    const Change change(*this);
    add(request, result);
}

void CompletionQueue::push_and_signal(Request& request, std::int64_t result) noexcept {
    const Change change(*this);
    add(request, result);
    if (request.eventfd >= 0) {
        signal_any_eventfd(request.eventfd, 1, request.eventfd_may_block);
    }
}

void CompletionQueue::push_all(RequestList& requests, std::size_t count) noexcept {
    const Change change(*this);
    requests_.append(requests);
    note_added(count);
}

// With the lock held.
void CompletionQueue::add(Request& request, std::int64_t result) noexcept {
    request.result = result;
    requests_.push_back(request);
    note_added(1);
}

// With the lock held.
void CompletionQueue::note_added(std::size_t count) noexcept {
    count_.fetch_add(count, std::memory_order_release);
    note_change();
    if (listeners_ != 0) {
        waker_->wake();
    }
}

std::size_t CompletionQueue::reap(std::span<Completion> completions) noexcept {
    // A thread that was told of a completion, by an eventfd or by wait(), sees it counted.
    if (count_.load(std::memory_order_acquire) == 0) {
        return 0;
    }
    const Change change(*this, lock_briefly(mutex_));
    std::size_t count = 0;
    while (!requests_.empty() && count < completions.size()) {
        auto* request = requests_.pop_front();
        completions[count++] = {.request = request, .result = request->result};
    }
    if (count != 0) {
        count_.fetch_sub(count, std::memory_order_relaxed);
        note_change();
    }
    return count;
}

// With the lock held. Both this and the steps of a thread that goes to sleep are sequentially
// consistent: either that thread sees the change, or this function sees the sleeper.
void CompletionQueue::note_change() noexcept {
    changes_.fetch_add(1);
    has_sleepers_to_wake_ = sleepers_.load() != 0;
}

int CompletionQueue::wait(Engine::Ticket ticket, Timeout timeout) noexcept {
    sleepers_.fetch_add(1);
    const int status = futex_wait(changes_, static_cast<std::uint32_t>(ticket), timeout);
    sleepers_.fetch_sub(1);
    return status;
}

bool CompletionQueue::listen(Engine::Ticket ticket, Waker& waker) noexcept {
    const std::lock_guard lock(mutex_);
    if (changes_.load() != static_cast<std::uint32_t>(ticket)) {
        return false;
    }
    waker_ = &waker;
    ++listeners_;
    return true;
}

void CompletionQueue::wake_waiters() noexcept {
    const Change change(*this);
    note_change();
}

void CompletionQueue::stop_listening() noexcept {
    const std::lock_guard lock(mutex_);
    --listeners_;
}

}  // namespace engine
