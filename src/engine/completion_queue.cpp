// SPDX-License-Identifier: Apache-2.0
#include "engine/completion_queue.hpp"

#include "engine/brief_lock.hpp"
#include "engine/eventfd_signal.hpp"
#include "engine/futex.hpp"

namespace engine {

void CompletionQueue::push(Request& request, std::int64_t result) noexcept {
    bool has_sleepers = false;
    {
        const std::lock_guard lock(mutex_);
        has_sleepers = add(request, result);
    }
    wake(has_sleepers);
}

void CompletionQueue::push_and_signal(Request& request, std::int64_t result) noexcept {
    bool has_sleepers = false;
    {
        const std::lock_guard lock(mutex_);
        has_sleepers = add(request, result);
        if (request.eventfd >= 0) {
            signal_any_eventfd(request.eventfd, 1, request.eventfd_may_block);
        }
    }
    wake(has_sleepers);
}

void CompletionQueue::push_all(RequestList& requests, std::size_t count) noexcept {
    bool has_sleepers = false;
    {
        const std::lock_guard lock(mutex_);
        requests_.append(requests);
        has_sleepers = note_added(count);
    }
    wake(has_sleepers);
}

// With the lock held.
bool CompletionQueue::add(Request& request, std::int64_t result) noexcept {
    request.result = result;
    requests_.push_back(request);
    return note_added(1);
}

// With the lock held.
bool CompletionQueue::note_added(std::size_t count) noexcept {
    count_.fetch_add(count, std::memory_order_release);
    const bool has_sleepers = note_change();
    if (listeners_ != 0) {
        waker_->wake();
    }
    return has_sleepers;
}

std::size_t CompletionQueue::reap(std::span<Completion> completions) noexcept {
    // A thread that was told of a completion, by an eventfd or by wait(), sees it counted.
    if (count_.load(std::memory_order_acquire) == 0) {
        return 0;
    }
    std::size_t count = 0;
    bool has_sleepers = false;
    {
        const auto lock = lock_briefly(mutex_);
        while (!requests_.empty() && count < completions.size()) {
            auto* request = requests_.pop_front();
            completions[count++] = {.request = request, .result = request->result};
        }
        if (count != 0) {
            count_.fetch_sub(count, std::memory_order_relaxed);
            has_sleepers = note_change();
        }
    }
    wake(has_sleepers);
    return count;
}

// With the lock held. Returns whether threads sleep that have to be woken. Both this and the steps
// of a thread that goes to sleep are sequentially consistent: either that thread sees the change,
// or this function sees the sleeper.
bool CompletionQueue::note_change() noexcept {
    changes_.fetch_add(1);
    return sleepers_.load() != 0;
}

// Without the lock, which those that wake up need at once.
void CompletionQueue::wake(bool has_sleepers) noexcept {
    if (has_sleepers) {
        futex_wake_all(changes_);
    }
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
    bool has_sleepers = false;
    {
        const std::lock_guard lock(mutex_);
        has_sleepers = note_change();
    }
    wake(has_sleepers);
}

void CompletionQueue::stop_listening() noexcept {
    const std::lock_guard lock(mutex_);
    --listeners_;
}

}  // namespace engine
