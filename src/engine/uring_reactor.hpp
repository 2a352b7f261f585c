// SPDX-License-Identifier: Apache-2.0
// A reactor on io_uring(7).
//
// Only the I/O thread uses the ring. When a thread ends, the kernel cancels the requests that it
// has submitted (io_uring_enter(2)). So no thread of the program submits to the ring, and the I/O
// thread ends only when it has no request in the ring. Because the ring has one user, the kernel
// can put off work until we wait for completions (IORING_SETUP_DEFER_TASKRUN).
//
// Transfers of streams go to an EpollReactor, and the ring polls the epoll(7) of that.
#pragma once

#include <liburing.h>

#include <array>
#include <bitset>

#include "engine/clofork_fd.hpp"
#include "engine/epoll_reactor.hpp"
#include "engine/reactor.hpp"
#include "engine/request_list.hpp"

namespace engine {

class UringReactor final : public Reactor {
public:
    UringReactor(ReactorOwner& owner, int wake_fd) noexcept
        : owner_(owner), wake_fd_(wake_fd), streams_(owner, -1) {}
    ~UringReactor() override;

    int open() noexcept override;
    void start(Request& request) noexcept override;
    void cancel(Request& request) noexcept override;
    void wait(std::chrono::nanoseconds timeout) noexcept override;
    void handle() noexcept override;
    bool take_back(Request& request) noexcept override { return streams_.take_back(request); }
    bool close_file(Request& request) noexcept override;
    void look_for_unread() noexcept override { streams_.look_for_unread(); }
    bool has_kernel_threads() const noexcept override { return true; }

    // Returns 0 if a ring can be set up and has all that is needed, else the errno that says why
    // not.
    static int probe() noexcept;

private:
    int open_ring() noexcept;
    io_uring_sqe* get_entry() noexcept;
    static void prepare(io_uring_sqe* entry, const Request& request) noexcept;
    bool start_waiting() noexcept;
    bool close_waiting() noexcept;
    bool cancel_waiting() noexcept;
    void listen() noexcept;
    bool listen_to_streams() noexcept;
    void give_up_waiting() noexcept;
    void end_poll(Request& request, std::int64_t result) noexcept;
    void end(Request& request, std::int64_t result) noexcept;
    static int open_proxy(Request& request) noexcept;
    void handle(const io_uring_cqe& completion) noexcept;
    void handle(Request& request, std::int64_t result) noexcept;
    void handle_cancellation(std::size_t place, std::int64_t result) noexcept;
    void end_cancellation(Request& request) noexcept;

    ReactorOwner& owner_;
    int wake_fd_;
    io_uring ring_{};
    CloforkFd ring_fd_;          // of `ring_`, which closes it
    bool is_full_ = false;       // the ring is full, and the kernel takes no more requests
    bool is_listening_ = false;  // the ring has a read of wake_fd_
    std::uint64_t wakes_ = 0;    // the kernel reads the eventfd's counter into this
    RequestList waiting_;        // go to the kernel with the next wait()
    RequestList closing_;        // requests whose files the kernel is to close
    RequestList cancelling_;     // requests that the kernel is to cancel
    // The requests for which the kernel has a cancellation; null once a request is over.
    static constexpr std::size_t most_cancellations = 64;
    std::array<Request*, most_cancellations> cancelled_{};
    std::bitset<most_cancellations> places_;  // of `cancelled_`: which are taken
    EpollReactor streams_;
    bool has_streams_ = false;
    bool is_listening_to_streams_ = false;
};

}  // namespace engine
