// SPDX-License-Identifier: Apache-2.0
// A queue of the completions that don't come from kernel AIO's ring: those of requests that our
// threads or the submitting thread have carried out. Any thread may push, reap and wait.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "engine/engine.hpp"
#include "engine/request_list.hpp"

namespace engine {

// Wakes a thread that waits elsewhere than in CompletionQueue::wait().
class Waker {
public:
    Waker() = default;
    Waker(const Waker&) = delete;
    Waker& operator=(const Waker&) = delete;
    virtual void wake() noexcept = 0;

protected:
    ~Waker() = default;
};

class CompletionQueue {
public:
    // Adds the completion of a request. From then on the request belongs to the thread that reaps
    // it.
    void push(Request& request, std::int64_t result) noexcept;

    // As push(), but signals the request's eventfd, if it has one, before any thread can reap the
    // completion.
    void push_and_signal(Request& request, std::int64_t result) noexcept;

    // Adds completions whose requests have their results already, and leaves the list empty.
    void push_all(RequestList& requests, std::size_t count) noexcept;

    std::size_t reap(std::span<Completion> completions) noexcept;

    // How many completions were not reaped yet. The number may be out of date.
    std::size_t size() const noexcept { return count_.load(std::memory_order_relaxed); }

    // See Engine::ticket() and Engine::wait().
    Engine::Ticket ticket() const noexcept { return changes_.load(std::memory_order_acquire); }
    int wait(Engine::Ticket ticket, Timeout timeout) noexcept;

    // For a thread that is about to sleep elsewhere. False if completions were pushed or reaped
    // since the ticket was drawn. Else each push calls the waker, until stop_listening().
    bool listen(Engine::Ticket ticket, Waker& waker) noexcept;
    void stop_listening() noexcept;

    // Ends the wait() of all threads that drew their tickets before.
    void wake_waiters() noexcept;

private:
    class Change;

    void add(Request& request, std::int64_t result) noexcept;
    void note_added(std::size_t count) noexcept;
    void note_change() noexcept;

    std::mutex mutex_;
    RequestList requests_;
    Waker* waker_ = nullptr;
    unsigned listeners_ = 0;
    bool has_sleepers_to_wake_ = false;  // by the thread that has the lock, when it gives it back

    std::atomic<std::size_t> count_ = 0;      // atomic, so that size() need not take the lock
    std::atomic<std::uint32_t> changes_ = 0;  // pushes and reaps
    std::atomic<std::uint32_t> sleepers_ = 0;
};

}  // namespace engine
