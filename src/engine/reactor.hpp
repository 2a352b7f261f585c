// SPDX-License-Identifier: Apache-2.0
// The reactor: how the I/O thread waits for many requests at once. It never waits for a single one.
#pragma once

#include <chrono>
#include <cstdint>

#include "engine/request.hpp"

namespace engine {

// The functions of its owner that a reactor calls. It holds the owner's lock when it calls them.
class ReactorOwner {
public:
    ReactorOwner() = default;
    ReactorOwner(const ReactorOwner&) = delete;
    ReactorOwner& operator=(const ReactorOwner&) = delete;

    // The request is over: the owner closes its file and then completes it. With the lock held.
    virtual void finish(Request& request, std::int64_t result) noexcept = 0;

    // The request would block the I/O thread: a worker has to carry it out. With the lock held.
    virtual void leave_to_workers(Request& request) noexcept = 0;

    // The reactor has closed the file of a request that is over. With the lock held.
    virtual void closed(Request& request) noexcept = 0;

    // The reactor could not close the file of a request that is over without waiting: a worker has
    // to close Request::closing_fd. With the lock held.
    virtual void not_closed(Request& request) noexcept = 0;

    // The request could not be cancelled: it ends by itself. With the lock held.
    virtual void not_cancelled(Request& request) noexcept = 0;

protected:
    ~ReactorOwner() = default;
};

class Reactor {
public:
    Reactor() = default;
    Reactor(const Reactor&) = delete;
    Reactor& operator=(const Reactor&) = delete;
    virtual ~Reactor() = default;

    // All functions are called in the I/O thread. Those that are called with the owner's lock held
    // make no system call that may wait: they put requests on a list, and wait() begins them.

    // Makes the reactor ready for requests. Returns 0, or an errno that says why it can't be.
    virtual int open() noexcept = 0;

    // Takes a request, which the next wait() begins. With the owner's lock held.
    virtual void start(Request& request) noexcept = 0;

    // Cancels a request that this reactor runs: calls the owner's finish() or not_cancelled() for
    // it, at once or later. With the lock held.
    virtual void cancel(Request& request) noexcept = 0;

    // Begins the requests that start() took. Then sleeps until a request makes progress, a thread
    // writes to the eventfd that wakes the reactor, or the time is over. Without the lock.
    virtual void wait(std::chrono::nanoseconds timeout) noexcept = 0;

    // Handles what wait() has found, and calls the owner's functions. With the lock held.
    virtual void handle() noexcept = 0;

    // A request that was left to the workers with `is_reactors` comes back, perhaps because it was
    // cancelled before a worker took it. False if a worker found that it has to be started again.
    // With the lock held.
    virtual bool take_back(Request& request) noexcept = 0;

    // Takes over the descriptor of the file of a request that is over, to close it in the
    // background. False if this reactor would have to wait for that. With the lock held.
    virtual bool close_file(Request& request) noexcept = 0;

    // Called when bytes of a stream were kept (unread_bytes.hpp): the reads that wait here look for
    // them. With the lock held.
    virtual void look_for_unread() noexcept = 0;

    // Whether the kernel may start threads for this reactor, each of which waits for one request.
    virtual bool has_kernel_threads() const noexcept { return false; }
};

}  // namespace engine
