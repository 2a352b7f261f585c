// SPDX-License-Identifier: Apache-2.0
// A reactor on epoll(7), for polls, and for transfers of pipes, sockets and terminals. It tries a
// transfer when its file is ready. If the transfer can't be told not to wait, a worker makes it
// then.
//
// The reactor on io_uring leaves its transfers of streams to an EpollReactor, too: in io_uring, a
// transfer of a file without IOCB_NOWAIT (terminals; FIFOs, or on older kernels all pipes) may wait
// inside io_uring_enter(2).
//
// The lists belong to the I/O thread. The owner's lock is needed only to give requests back.
#pragma once

#include "engine/clofork_fd.hpp"
#include "engine/intrusive_list.hpp"
#include "engine/reactor.hpp"
#include "engine/request_list.hpp"

namespace engine {

class EpollReactor final : public Reactor {
public:
    // `wake_fd` may be -1: then another reactor waits for the wake-up, and calls go_on().
    EpollReactor(ReactorOwner& owner, int wake_fd) noexcept : owner_(owner), wake_fd_(wake_fd) {}

    int open() noexcept override;
    void start(Request& request) noexcept override;
    void cancel(Request& request) noexcept override;
    void wait(std::chrono::nanoseconds timeout) noexcept override;
    void handle() noexcept override;
    bool take_back(Request& request) noexcept override;
    bool close_file(Request& /*request*/) noexcept override { return false; }
    void look_for_unread() noexcept override;

    // For a reactor that uses this one for a part of its requests: begins the requests that were
    // started and, if `is_ready`, tries those whose files have become ready. Never sleeps. Without
    // the lock.
    void go_on(bool is_ready) noexcept;

    // Whether handle() has work.
    bool has_news() const noexcept { return !over_.empty() || !for_workers_.empty(); }

    // Readable when go_on() has something to do.
    int fd() const noexcept { return epoll_.get(); }

private:
    // The requests for one file: those that wait until it is ready, and those that were left to
    // workers. Of the latter only one reads and one writes at a time, and the others wait in line:
    // if two workers were sent for the same bytes, one of them would wait.
    struct Watch {
        FileRef* file = nullptr;
        std::uint32_t events = 0;  // registered; 0: not registered
        RequestList requests;
        RequestList behind_reader;
        RequestList behind_writer;
        Request* reader = nullptr;
        Request* writer = nullptr;
        Watch* previous = nullptr;
        Watch* next = nullptr;

        bool is_unused() const noexcept {
            return requests.empty() && reader == nullptr && writer == nullptr;
        }
        RequestList& behind(const Request& request) noexcept {
            return is_read(request.opcode) ? behind_reader : behind_writer;
        }
        Request*& in_worker(const Request& request) noexcept {
            return is_read(request.opcode) ? reader : writer;
        }
    };

    void begin(Request& request) noexcept;
    void begin_all() noexcept;
    int watch(Request& request) noexcept;
    int update(Watch& watch) noexcept;
    void leave(Request& request) noexcept;
    void drop_if_unused(Watch& watch) noexcept;
    void serve(Watch* watch, std::uint32_t events) noexcept;
    bool has_turn(Request& request) noexcept;
    void send_to_worker(Request& request) noexcept;
    void end(Request& request, std::int64_t result) noexcept;
    void sleep(int timeout) noexcept;
    static Watch* watch_of(const Request& request) noexcept;
    static bool is_over(Request& request, std::uint32_t events, std::int64_t& result) noexcept;

    ReactorOwner& owner_;
    int wake_fd_;
    CloforkFd epoll_;
    IntrusiveList<Watch, &Watch::previous, &Watch::next> watches_;
    RequestList fresh_;        // not begun yet
    RequestList over_;         // over, with their results
    RequestList for_workers_;  // to be left to workers
};

}  // namespace engine
