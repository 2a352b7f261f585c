// SPDX-License-Identifier: Apache-2.0
// Kernel AIO exactly as the kernel does it, through the libaio API.
//
// Completions are taken from the ring in user space. To wait, a thread calls io_getevents(2) with
// an address that can't be written to: the call sleeps until the ring holds an event, answers
// EFAULT and takes nothing. So every event is taken in one place, under one lock, and several
// threads may sleep at once. Two rules make sure that no thread misses its event and sleeps on:
//  - While a thread is inside io_getevents, the ring keeps the places of the events that were
//    taken. So the ring is not empty: the kernel has woken the thread and does not let it sleep
//    again.
//  - A thread does not go to sleep if events were taken since it drew its ticket.
// Where the ring can't be read in user space, io_getevents takes the events without waiting, and a
// thread that waits polls, at growing intervals. This is slow, but never wrong.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>

#include "engine/completion_queue.hpp"
#include "engine/engine.hpp"
#include "engine/fork_guard.hpp"
#include "engine/submit_classifier.hpp"
#include "libaio/calls.hpp"
#include "libaio/ring.hpp"

namespace engine {

class AioEngine final : public Engine, public Waker {
public:
    // Throws std::system_error with what io_setup(2) says.
    AioEngine(unsigned max_requests, AtLimit at_limit);
    AioEngine(const AioEngine&) = delete;
    AioEngine& operator=(const AioEngine&) = delete;
    ~AioEngine() override;

    const char* name() const noexcept override { return "aio"; }
    Pace guess(const Request& request) noexcept override;
    void plan(std::span<Request* const> requests, std::optional<Pace> guessed) noexcept override;
    Submission submit(std::span<Request* const> requests) noexcept override;
    std::size_t reap(std::span<Completion> completions) noexcept override;
    Ticket ticket() noexcept override;
    int wait(Ticket ticket, Timeout timeout) noexcept override;
    CancelAnswer post_cancellation(Request& request) noexcept override;

    // Names the eventfd that wake() polls, for an engine that also has completions from elsewhere.
    // wake() ends the wait() of all threads that drew their tickets before: it submits a poll of
    // the eventfd, which completes at once, and whose event is not given out as a completion. The
    // poll takes a place of the queue. The atomic is read at each wake(), so it must outlive this
    // engine, and its number must mean the same eventfd to all threads that call wake().
    void set_waker(const std::atomic<int>& eventfd) noexcept { waker_number_.store(&eventfd); }
    void wake() noexcept override;

private:
    int set_up(AtLimit at_limit) noexcept;
    int set_up_queue() noexcept;
    std::size_t drop_wake_event(std::span<Completion> completions) noexcept;
    std::size_t take_from_ring(std::span<Completion> completions) noexcept;
    std::size_t take_by_system_call(std::span<Completion> completions) noexcept;
    void release_places() noexcept;
    bool wait_for_places(std::uint64_t released_before) noexcept;
    bool fall_asleep(Ticket ticket) noexcept;
    int sleep(Timeout timeout) noexcept;
    void wake_up() noexcept;
    int poll(Ticket ticket, Timeout timeout) noexcept;

    const unsigned max_requests_;
    io_context_t context_ = nullptr;
    io_event* unwritable_;
    ForkGuard fork_guard_;
    SubmitClassifier classifier_;
    std::atomic<Ticket> submitted_ = 0;  // requests that the kernel took so far

    std::mutex
        mutex_;  // guards the members below; held briefly, never across a system call that waits
    libaio::Ring ring_;
    Ticket seen_ = 0;                          // events taken so far
    int sleepers_ = 0;                         // threads inside io_getevents
    std::atomic<std::uint64_t> released_ = 0;  // how often places were given back to the ring

    std::atomic<const std::atomic<int>*> waker_number_ = nullptr;
    Request waker_;
    std::atomic<bool> wake_is_pending_ = false;  // the waker's event has not been taken yet

    // Taken by a thread that polled in wait(), and given out by the next reap().
    Completion polled_{};
};

}  // namespace engine
