// SPDX-License-Identifier: Apache-2.0
// A reactor on epoll(7): polls, and transfers of pipes, sockets and terminals, which it tries once
// their file is ready.
#pragma once

#include "engine/clofork_fd.hpp"
#include "engine/reactor.hpp"
#include "engine/request_list.hpp"

namespace engine {

class EpollReactor final : public Reactor {
public:
    EpollReactor(ReactorOwner& owner, int wake_fd) noexcept : owner_(owner), wake_fd_(wake_fd) {}

    int open() noexcept override;
    void start(Request& request) noexcept override;
    void cancel(Cancellation& cancellation) noexcept override;
    void wait(std::chrono::nanoseconds timeout) noexcept override;
    void handle() noexcept override;
    bool take_back(Request& request) noexcept override;
    bool close_file(Request& /*request*/) noexcept override { return false; }

private:
    // The requests that wait for one file.
    struct Watch {
        int fd = -1;
        std::uint32_t events = 0;  // registered; 0: not registered
        RequestList requests;
    };

    int watch(Request& request) noexcept;
    int update(Watch& watch) noexcept;
    void leave(Watch* watch, Request& request) noexcept;
    void serve(Watch* watch, std::uint32_t events) noexcept;
    void leave_to_workers(Request& request) noexcept;
    static bool is_over(Request& request, std::uint32_t events, std::int64_t& result) noexcept;

    ReactorOwner& owner_;
    int wake_fd_;
    CloforkFd epoll_;
    Request* in_worker_ = nullptr;  // a read that can't be tried
    RequestList behind_;            // the next ones
    static constexpr int most_events = 64;
    int event_count_ = 0;
    struct Event {
        Watch* watch;
        std::uint32_t events;
    };
    Event events_[most_events]{};
};

}  // namespace engine
