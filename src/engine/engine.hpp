// SPDX-License-Identifier: Apache-2.0
// What every engine does: take requests, give back completions, wait for them, cancel.
//
// Engines are safe to use from any number of threads at once. They don't count: that no more than
// max_requests are in flight is the caller's to keep.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "engine/request.hpp"

namespace engine {

// How far a submission came: `taken` requests, from the front, are in flight. Where it stopped
// before the first, `error` is the errno; where it stopped later, the kernel does not say why.
struct Submission {
    std::size_t taken = 0;
    int error = 0;
};

struct Completion {
    Request* request = nullptr;
    std::int64_t result = 0;  // what the system call would return, or a negative errno
};

// How many requests went which way, in engines that have several; and of those that did not go the
// shortest, why.
struct RouteCounts {
    std::uint64_t inside = 0;  // done by the submitting thread, without waiting
    std::uint64_t aio = 0;
    std::uint64_t uring = 0;
    std::uint64_t threads = 0;

    std::uint64_t uncached = 0;     // a read that would have waited for the disk
    std::uint64_t unsupported = 0;  // a file that can't tell whether it would wait
    std::uint64_t large = 0;        // so large that copying it takes long
    std::uint64_t write = 0;        // a write that might wait
    std::uint64_t stream = 0;       // a pipe, socket or terminal
    std::uint64_t other = 0;
};

// No value: without end.
using Timeout = std::optional<std::chrono::nanoseconds>;

class Engine {
public:
    Engine() = default;
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    // Nothing may be in flight, and no thread inside a call, except in a child process after
    // fork(2): there it lets go of what is the child's own and touches nothing of the parent's.
    virtual ~Engine() = default;

    virtual const char* name() const noexcept = 0;

    // What to expect of submit() of this request, by what is known of its number: costs nothing,
    // but the number may be another file's by now.
    virtual Pace guess(const Request& request) noexcept = 0;

    // Sets `pace`, and for reads `is_direct`, of requests that are about to be submitted: no other
    // code of the program's comes between. Given what guess() said of all of them, it need not look
    // again where looking costs more than being wrong.
    virtual void plan(std::span<Request* const> requests, std::optional<Pace> guessed) noexcept = 0;

    // Whether a request that was not planned is likely to be carried out by try_at_once(): whoever
    // asks then makes its memory ready.
    virtual bool is_worth_trying(const Request& /*request*/) noexcept { return false; }

    // Carries out a request that was not planned, if that does not wait, and returns its result:
    // it is over, no completion follows, and no eventfd is signalled. No value: nothing was done,
    // and the request is to be planned and submitted. `now` is the time before, then the time
    // after.
    virtual std::optional<std::int64_t> try_at_once(
        Request& /*request*/, std::chrono::steady_clock::time_point& /*now*/) noexcept {
        return std::nullopt;
    }

    // Of requests that were planned.
    virtual Submission submit(std::span<Request* const> requests) noexcept = 0;

    // Completions not given out so far. Never blocks; each comes out exactly once.
    virtual std::size_t reap(std::span<Completion> completions) noexcept = 0;

    // Drawn by a thread that has reaped, found too little and means to wait.
    using Ticket = std::uint64_t;
    virtual Ticket ticket() noexcept = 0;

    // Blocks until there is something to reap, or something was reaped (by whomever) since the
    // ticket was drawn: so no thread sleeps on what another one took. Returns 0 then, ETIMEDOUT,
    // EINTR after a signal, or the errno of a wait that failed. May return 0 too early.
    virtual int wait(Ticket ticket, Timeout timeout) noexcept = 0;

    // Asks for the cancellation of a request in flight, and waits for nobody. The request completes
    // once, through reap(), whatever the answer; with -ECANCELED if that is `yes`.
    virtual CancelAnswer post_cancellation(Request& request) noexcept = 0;

    // For closing: the same for requests that may never end by themselves, such as polls and reads
    // of pipes. Writes go on. A request may turn out to be of that sort later; it is cancelled
    // then.
    virtual CancelAnswer post_cancellation_if_endless(Request& request) noexcept {
        return post_cancellation(request);
    }

    // Waits for the answer to a cancellation that is pending since the request's `flight` was this,
    // or until the time is over. The memory of the request must stay; it may be submitted again.
    virtual CancelAnswer wait_for_answer(Request& /*request*/, std::uint32_t /*flight*/,
                                         std::chrono::nanoseconds /*time*/) noexcept {
        return CancelAnswer::no;
    }

    // Waits until the eventfds of what was reaped are signalled, where that may come later.
    virtual void wait_for_signals() noexcept {}

    // Cancels, waits for the answer, and returns whether the request ends with -ECANCELED.
    bool cancel(Request& request) noexcept;

    // Which ways requests took.
    virtual RouteCounts routes() const noexcept { return {}; }
};

// The engine of that name for at least `max_requests` in flight; null if there is none of that
// name, or, with its errno in `error`, if the system refuses it.
std::unique_ptr<Engine> open_engine(std::string_view name, unsigned max_requests,
                                    int& error) noexcept;

// All there are, and what AIOContext() uses.
inline constexpr std::array<std::string_view, 4> engine_names{"auto", "aio", "uring", "threads"};
inline constexpr std::string_view default_engine = "auto";

// 0 if the engine can be used here and now, or the errno for which not; ENOTSUP if it was not built
// in.
int probe_engine(std::string_view name) noexcept;

// Why, in a few words for people.
void explain_refusal(std::string_view name, int error, std::span<char> text) noexcept;

}  // namespace engine
