// SPDX-License-Identifier: Apache-2.0
// The `aio` engine: kernel AIO exactly as the kernel does it, through the libaio API.
//
// Completions are taken from the ring in user space. To wait, a thread calls io_getevents(2) with
// an address that can't be written to: the call sleeps until the ring holds an event, answers
// EFAULT and takes nothing. So every event is taken in one place, under one lock, and several
// threads may sleep at once. Two rules keep them from sleeping on:
//  - While a thread is inside io_getevents, the places of seen events are not given back: the ring
//    is not empty, the kernel has woken the sleeper, and it can't go to sleep again.
//  - Who finds that events were seen since it drew its ticket does not go to sleep at all.
// Where the ring can't be read in user space, io_getevents takes the events without waiting, and
// waiting is polling in growing steps: slow, but never wrong.
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
    explicit AioEngine(unsigned max_requests);
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

    // For an engine that has completions from elsewhere, too: ends the wait() of all threads that
    // drew their tickets before. The waker is the event of a poll that completes at once, of which
    // nobody hears. It takes a request more than the others, and an eventfd, to be known by that
    // number in the descriptor table of whoever wakes it.
    void set_waker(const std::atomic<int>& eventfd) noexcept { waker_number_.store(&eventfd); }
    void wake() noexcept override;

private:
    int set_up(unsigned max_requests) noexcept;
    std::size_t drop_wake_event(std::span<Completion> completions) noexcept;
    std::size_t take_from_ring(std::span<Completion> completions) noexcept;
    std::size_t take_by_system_call(std::span<Completion> completions) noexcept;
    void release_places() noexcept;
    bool wait_for_places(std::uint64_t released_before) noexcept;
    bool fall_asleep(Ticket ticket) noexcept;
    int sleep(Timeout timeout) noexcept;
    void wake_up() noexcept;
    int poll(Ticket ticket, Timeout timeout) noexcept;

    io_context_t context_ = nullptr;
    io_event* unwritable_;
    ForkGuard fork_guard_;
    SubmitClassifier classifier_;

    std::mutex
        mutex_;  // for all that follows; held for short, never across a system call that waits
    libaio::Ring ring_;
    Ticket seen_ = 0;                          // events, ever
    int sleepers_ = 0;                         // threads inside io_getevents
    std::atomic<std::uint64_t> released_ = 0;  // times that places were given back

    std::atomic<const std::atomic<int>*> waker_number_ = nullptr;
    Request waker_;
    std::atomic<bool> wake_is_pending_ = false;  // its event has not been taken yet

    // Found by a thread that polled, for the next reap.
    Completion polled_{};
};

}  // namespace engine
