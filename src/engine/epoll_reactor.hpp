// SPDX-License-Identifier: Apache-2.0
// A reactor on epoll(7): polls, and transfers of pipes, sockets and terminals, which it tries once
// their file is ready. What can't be tried without waiting is left to a worker then.
//
// It also does this part of a reactor on io_uring. There a transfer of a file that has no
// IOCB_NOWAIT (terminals; FIFOs, or on older kernels all pipes) may wait inside io_uring_enter(2).
//
// Its lists belong to its thread. The owner's lock is held, and needed, only to give requests back.
#pragma once

#include "engine/clofork_fd.hpp"
#include "engine/intrusive_list.hpp"
#include "engine/reactor.hpp"
#include "engine/request_list.hpp"

namespace engine {

class EpollReactor final : public Reactor {
public:
    // `wake_fd` may be -1: then somebody else watches for it, and calls go_on().
    EpollReactor(ReactorOwner& owner, int wake_fd) noexcept : owner_(owner), wake_fd_(wake_fd) {}

    int open() noexcept override;
    void start(Request& request) noexcept override;
    void cancel(Request& request) noexcept override;
    void wait(std::chrono::nanoseconds timeout) noexcept override;
    void handle() noexcept override;
    bool take_back(Request& request) noexcept override;
    bool close_file(Request& /*request*/) noexcept override { return false; }
    void look_for_unread() noexcept override;

    // For a reactor that has this one do a part: begins with what was started, and goes on with
    // what has become ready, if something has. Never sleeps. Without the lock.
    void go_on(bool is_ready) noexcept;

    // Whether handle() has something to do.
    bool has_news() const noexcept { return !over_.empty() || !for_workers_.empty(); }

    // Readable when go_on() has something to do.
    int fd() const noexcept { return epoll_.get(); }

private:
    // The requests that wait for one file, and those that workers do. Of these one reads and one
    // writes, and the others stand behind it: of two that were told of the same bytes, one would
    // wait.
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
    RequestList fresh_;        // not begun
    RequestList over_;         // with their results
    RequestList for_workers_;  // to be given to the owner
};

}  // namespace engine
