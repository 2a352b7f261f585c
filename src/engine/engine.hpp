// SPDX-License-Identifier: Apache-2.0
// What every engine does: take requests, give back completions, wait for them, cancel.
//
// Engines are safe to use from any number of threads at once. They don't count: that no more than
// max_requests are in flight is the caller's to keep.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "engine/pace.hpp"
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

    // What to expect of submit() of this request.
    virtual Pace expect(const Request& request) noexcept = 0;

    // To be called where blocking is allowed, for a request whose pace is unknown: the next answer
    // may be better.
    virtual void learn(const Request& request) noexcept = 0;

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

    // Whether the kernel took the cancellation of a request in flight. Either way the request
    // completes once, through reap(); a cancelled poll with -ECANCELED.
    virtual bool cancel(Request& request) noexcept = 0;
};

// The engine of that name for at least `max_requests` in flight; null if there is none of that
// name, or, with its errno in `error`, if the system refuses it.
std::unique_ptr<Engine> open_engine(std::string_view name, unsigned max_requests,
                                    int& error) noexcept;

// What AIOContext() uses.
inline constexpr std::string_view default_engine = "aio";

}  // namespace engine
