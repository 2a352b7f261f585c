// SPDX-License-Identifier: Apache-2.0
// Completions that don't come from the kernel's ring of events: of requests that threads of ours,
// or the submitting thread itself, have carried out. Any thread may push, reap and wait.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "engine/engine.hpp"

namespace engine {

// Wakes a thread that waits somewhere else than in the queue.
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
    // The request is over: from now on it is the reaper's.
    void push(Request& request, std::int64_t result) noexcept;

    // The same, and adds to the counter of the request's eventfd before anybody can reap it.
    void push_and_signal(Request& request, std::int64_t result) noexcept;

    std::size_t reap(std::span<Completion> completions) noexcept;

    // How many nobody has reaped yet. May be old.
    std::size_t size() const noexcept { return count_.load(std::memory_order_relaxed); }

    // See Engine::ticket() and Engine::wait().
    Engine::Ticket ticket() const noexcept { return changes_.load(std::memory_order_acquire); }
    int wait(Engine::Ticket ticket, Timeout timeout) noexcept;

    // For one who is about to sleep elsewhere. False if completions were pushed or reaped since the
    // ticket was drawn; else the waker wakes at each push, until stop_listening().
    bool listen(Engine::Ticket ticket, Waker& waker) noexcept;
    void stop_listening() noexcept;

    // Has all threads look again that drew their tickets before and wait in the queue.
    void wake_waiters() noexcept;

private:
    void add(Request& request, std::int64_t result) noexcept;
    void note_change() noexcept;

    std::mutex mutex_;
    Request* first_ = nullptr;
    Request* last_ = nullptr;
    Waker* waker_ = nullptr;
    unsigned listeners_ = 0;

    std::atomic<std::size_t> count_ = 0;      // spares a look from taking the lock
    std::atomic<std::uint32_t> changes_ = 0;  // pushes and reaps
    std::atomic<std::uint32_t> sleepers_ = 0;
};

}  // namespace engine
