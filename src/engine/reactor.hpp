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

    // It could not be closed by this reactor without waiting: a worker is to close
    // Request::closing_fd. With the lock held.
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

    // All is called in the reactor's own thread. What is called with the lock held makes no system
    // call that may wait: what is to be begun is put on a list, for wait().

    // Makes the reactor ready for requests. Returns 0, or an errno that says why it can't be.
    virtual int open() noexcept = 0;

    // With the owner's lock held.
    virtual void start(Request& request) noexcept = 0;

    // Cancels a request that this reactor runs. It calls finish() or not_cancelled() for it, at
    // once or later. With the lock held.
    virtual void cancel(Request& request) noexcept = 0;

    // Begins with what was started. Then sleeps until something happens, somebody writes to the
    // eventfd that it was given to be woken, or the time is over. Without the lock.
    virtual void wait(std::chrono::nanoseconds timeout) noexcept = 0;

    // What has happened. With the lock held.
    virtual void handle() noexcept = 0;

    // A request that was left to the workers with `is_reactors` comes back, maybe since it was
    // cancelled before. False if a worker found that it is to be started again. With the lock held.
    virtual bool take_back(Request& request) noexcept = 0;

    // Takes the descriptor of the file of a request that is over, and whose closing may take its
    // time. False if this reactor could not but wait for it. With the lock held.
    virtual bool close_file(Request& request) noexcept = 0;

    // Bytes of some stream were kept (unread_bytes.hpp): reads that wait look for them. With the
    // lock held.
    virtual void look_for_unread() noexcept = 0;

    // Whether the kernel has threads for this reactor, which wait for one request each.
    virtual bool has_kernel_threads() const noexcept { return false; }
};

}  // namespace engine
