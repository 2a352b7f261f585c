// SPDX-License-Identifier: Apache-2.0
// The thread of ours that waits for many requests at once. It never waits for a single one.
#pragma once

#include <chrono>
#include <cstdint>

#include "engine/request.hpp"

namespace engine {

// What a reactor, with the lock of its owner held or not, has its owner do.
class ReactorOwner {
public:
    ReactorOwner() = default;
    ReactorOwner(const ReactorOwner&) = delete;
    ReactorOwner& operator=(const ReactorOwner&) = delete;

    // The request is over: this completes it once its file is closed. With the lock held.
    virtual void finish(Request& request, std::int64_t result) noexcept = 0;

    // The request would block this thread. With the lock held.
    virtual void leave_to_workers(Request& request) noexcept = 0;

    // The file of the request that is over has been closed. With the lock held.
    virtual void closed(Request& request) noexcept = 0;

    // A cancellation has its answer. With the lock held.
    virtual void answered() noexcept = 0;

protected:
    ~ReactorOwner() = default;
};

// What asks whether a request can be cancelled; on the stack of the thread that asks.
struct Cancellation {
    enum class Answer : std::uint8_t { none, yes, no };

    Request* request = nullptr;
    bool only_if_stream = false;
    Answer answer = Answer::none;
    Cancellation* next = nullptr;
};

class Reactor {
public:
    Reactor() = default;
    Reactor(const Reactor&) = delete;
    Reactor& operator=(const Reactor&) = delete;
    virtual ~Reactor() = default;

    // All is called in the reactor's own thread.

    // Returns 0, or the errno for which it can't be.
    virtual int open() noexcept = 0;

    // With the owner's lock held.
    virtual void start(Request& request) noexcept = 0;

    // Answers at once or later, with the lock held. The request is running.
    virtual void cancel(Cancellation& cancellation) noexcept = 0;

    // Sleeps until something happens, somebody writes to the eventfd that it was given to be woken,
    // or the time is over. Without the lock.
    virtual void wait(std::chrono::nanoseconds timeout) noexcept = 0;

    // What has happened. With the lock held.
    virtual void handle() noexcept = 0;

    // A request that was left to the workers with `is_reactors` comes back, maybe since it was
    // cancelled before. False if a worker found that it is to be started again. With the lock held.
    virtual bool take_back(Request& request) noexcept = 0;

    // Takes the file of a request that is over, and whose closing may take its time. False if this
    // reactor could not but wait for it. With the lock held.
    virtual bool close_file(Request& request) noexcept = 0;
};

}  // namespace engine
