// SPDX-License-Identifier: Apache-2.0
// A reactor on io_uring(7).
//
// The ring belongs to the reactor's thread alone: the kernel cancels what a thread has in it when
// the thread ends (io_uring_enter(2)), so no thread of the program's may submit to it, and ours
// ends when there is nothing in it. It has one user, which lets the kernel leave work to the moment
// when we wait for completions (IORING_SETUP_DEFER_TASKRUN).
#pragma once

#include <liburing.h>

#include "engine/clofork_fd.hpp"
#include "engine/reactor.hpp"
#include "engine/request_list.hpp"

namespace engine {

class UringReactor final : public Reactor {
public:
    UringReactor(ReactorOwner& owner, int wake_fd) noexcept : owner_(owner), wake_fd_(wake_fd) {}
    ~UringReactor() override;

    int open() noexcept override;
    void start(Request& request) noexcept override;
    void cancel(Cancellation& cancellation) noexcept override;
    void wait(std::chrono::nanoseconds timeout) noexcept override;
    void handle() noexcept override;
    // not covered: it leaves nothing to the workers
    bool take_back(Request& /*request*/) noexcept override { return true; }
    bool close_file(Request& request) noexcept override;

    // Whether a ring can be set up and does what is needed: 0, or the errno for which not.
    static int probe() noexcept;

private:
    io_uring_sqe* get_entry() noexcept;
    static void prepare(io_uring_sqe* entry, const Request& request) noexcept;
    void start_waiting() noexcept;
    void listen() noexcept;
    void end_poll(Request& request, std::int64_t result) noexcept;
    void end(Request& request, std::int64_t result) noexcept;
    static int open_proxy(Request& request) noexcept;
    void handle(const io_uring_cqe& completion) noexcept;

    ReactorOwner& owner_;
    int wake_fd_;
    io_uring ring_{};
    CloforkFd ring_fd_;          // of the ring, which closes it
    bool is_listening_ = false;  // to wake_fd_
    std::uint64_t wakes_ = 0;    // what the kernel reads of the eventfd
    RequestList waiting_;        // to go to the kernel with the next wait()
};

}  // namespace engine
