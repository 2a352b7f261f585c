// SPDX-License-Identifier: Apache-2.0
// The interface of every engine: submit requests, reap their completions, wait, and cancel.
//
// Engines are safe to use from any number of threads at once. They don't count requests: the caller
// sees to it that no more than max_requests are in flight.
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

// The result of a submission: the first `taken` requests are in flight. If none was taken, `error`
// is the errno; if some were, the kernel does not say why it refused the next.
struct Submission {
    std::size_t taken = 0;
    int error = 0;
};

struct Completion {
    Request* request = nullptr;
    std::int64_t result = 0;  // as the system call returns it, or a negative errno
};

// How many requests an engine sent by each of its routes; and for the requests that could not take
// the shortest route, how many there were for each reason.
struct RouteCounts {
    std::uint64_t inside = 0;  // carried out by the submitting thread, without waiting
    std::uint64_t aio = 0;
    std::uint64_t uring = 0;
    std::uint64_t threads = 0;

    std::uint64_t uncached = 0;     // a read that would have waited for the disk
    std::uint64_t unsupported = 0;  // a file whose reads can't be told not to wait
    std::uint64_t large = 0;        // so many bytes that to copy them takes long
    std::uint64_t write = 0;        // a write that might wait
    std::uint64_t stream = 0;       // a pipe, socket or terminal
    std::uint64_t other = 0;
};

// No value: no limit.
using Timeout = std::optional<std::chrono::nanoseconds>;

class Engine {
public:
    Engine() = default;
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    // No request may be in flight, and no thread may be in a call of the engine. A child process is
    // an exception: there the destructor frees what belongs to the child, and leaves alone what the
    // parent still uses.
    virtual ~Engine() = default;

    virtual const char* name() const noexcept = 0;

    // Guesses the pace of a request from what is known of its file descriptor. This makes no system
    // call, so the guess may be stale: the number may belong to another file by now.
    virtual Pace guess(const Request& request) noexcept = 0;

    // Sets `pace`, and for reads `is_direct`, of requests. The caller submits them next, before any
    // other code of the program runs. `guessed` is what guess() said of all of them: the engine may
    // trust it where to check costs more than to be wrong.
    virtual void plan(std::span<Request* const> requests, std::optional<Pace> guessed) noexcept = 0;

    // Whether try_at_once() is likely to carry out this request, which was not planned. If so, the
    // caller prepares the request's memory before the try.
    virtual bool is_worth_trying(const Request& /*request*/) noexcept { return false; }

    // Carries out a request that was not planned, if that does not wait, and returns its result:
    // the request is over, no completion follows, and no eventfd is signalled. No value: nothing
    // was done, and the caller has to plan and submit the request. `now` is the time at the call,
    // and is set to the time of the return.
    virtual std::optional<std::int64_t> try_at_once(
        Request& /*request*/, std::chrono::steady_clock::time_point& /*now*/) noexcept {
        return std::nullopt;
    }

    // Submits requests that were planned.
    virtual Submission submit(std::span<Request* const> requests) noexcept = 0;

    // Takes completions, each exactly once, and returns how many. Never blocks.
    virtual std::size_t reap(std::span<Completion> completions) noexcept = 0;

    // A thread that wants to wait draws a ticket, then reaps, and waits with the ticket if it found
    // too few completions.
    using Ticket = std::uint64_t;
    virtual Ticket ticket() noexcept = 0;

    // Blocks until there are completions to reap, or any thread has reaped some since the ticket
    // was drawn: so no thread sleeps on because another took the completion it waited for. Returns
    // 0 then, ETIMEDOUT, EINTR after a signal, or the errno of a wait that failed. May return 0 too
    // early.
    virtual int wait(Ticket ticket, Timeout timeout) noexcept = 0;

    // Asks for the cancellation of a request in flight, and does not wait for the answer. Whatever
    // the answer, the request completes once, through reap(); after `yes` with -ECANCELED.
    virtual CancelAnswer post_cancellation(Request& request) noexcept = 0;

    // For the end of a context: cancels the request only if it may never end by itself, as a poll
    // or a read of a pipe. Writes go on. If the request turns out later to be of that sort, it is
    // cancelled then.
    virtual CancelAnswer post_cancellation_if_endless(Request& request) noexcept {
        return post_cancellation(request);
    }

    // Waits, for at most `time`, for the answer to a pending cancellation. `flight` is the value of
    // Request::flight when the cancellation was asked for: the request may be submitted again
    // meanwhile, but its memory must stay.
    virtual CancelAnswer wait_for_answer(Request& /*request*/, std::uint32_t /*flight*/,
                                         std::chrono::nanoseconds /*time*/) noexcept {
        return CancelAnswer::no;
    }

    // Waits until the eventfds of all reaped requests are signalled. An engine may signal an
    // eventfd after the completion can be reaped.
    virtual void wait_for_signals() noexcept {}

    // Cancels the request, waits for the answer, and returns whether it ends with -ECANCELED.
    bool cancel(Request& request) noexcept;

    // How many requests took each route.
    virtual RouteCounts routes() const noexcept { return {}; }
};

// What to do where fs.aio-max-nr is used up. The kernel takes some milliseconds to give back what a
// closed queue took: `wait` for queues that this process has closed, one after the other, or `fail`
// with EAGAIN.
enum class AtLimit : std::uint8_t { wait, fail };

// Makes the engine of that name, for at least `max_requests` in flight. Returns null with `error` 0
// if no engine has that name, and null with the errno in `error` if the system refuses the engine.
std::unique_ptr<Engine> open_engine(std::string_view name, unsigned max_requests, int& error,
                                    AtLimit at_limit = AtLimit::wait) noexcept;

// The names of all engines, and the one that AIOContext() uses by default.
inline constexpr std::array<std::string_view, 4> engine_names{"auto", "aio", "uring", "threads"};
inline constexpr std::string_view default_engine = "auto";

// 0 if the engine can be used here and now, else the errno that says why not: ENOTSUP if the engine
// was not built in.
int probe_engine(std::string_view name) noexcept;

// Writes into `text`, in a few words for people, why the engine was refused with this error.
void explain_refusal(std::string_view name, int error, std::span<char> text) noexcept;

}  // namespace engine
