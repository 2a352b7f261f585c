// SPDX-License-Identifier: Apache-2.0
#include "engine/epoll_reactor.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <new>
#include <span>

#include "engine/descriptor_table.hpp"
#include "engine/file_type.hpp"
#include "engine/stream_transfer.hpp"
#include "engine/unread_bytes.hpp"

namespace engine {
namespace {

constexpr int most_events = 64;

constexpr std::uint32_t always_reported = EPOLLERR | EPOLLHUP;

// poll(2)'s events have the same numbers as epoll's.
std::uint32_t wanted_events(const Request& request) noexcept {
    if (request.opcode == Opcode::poll) {
        return request.poll_events & ~std::uint32_t{POLLNVAL};
    }
    return is_read(request.opcode) ? EPOLLIN : EPOLLOUT;
}

// Notes the file's identity: the submitter will read by the file's number, which the program may
// have given to another file by then.
void note_ready(Request& request) noexcept {
    request.is_ready = true;
    request.ready_file = status_of(request.file->fd).identity;
}

bool would_block(std::int64_t result) noexcept { return result == -EAGAIN; }

// Returns -EOPNOTSUPP if a worker has to make the transfer: of a file that can't be tried, or with
// memory of which a page may have to be read from a file first.
std::int64_t try_transfer(const Request& request, int fd) noexcept {
    return request.memory_may_wait ? -EOPNOTSUPP : try_stream_transfer(request, fd);
}

}  // namespace

int EpollReactor::open() noexcept {
    {
        const ForkBarrier barrier;
        epoll_.adopt(epoll_create1(EPOLL_CLOEXEC), barrier);
    }
    if (!epoll_.is_open()) {
        return errno;
    }
    epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
    const bool is_ready =
        wake_fd_ < 0 || epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_fd_, &event) == 0;
    return is_ready ? 0 : errno;
}

EpollReactor::Watch* EpollReactor::watch_of(const Request& request) noexcept {
    return static_cast<Watch*>(request.file->watch);
}

void EpollReactor::start(Request& request) noexcept {
    request.stream_place = StreamPlace::fresh;
    fresh_.push_back(request);
}

void EpollReactor::begin_all() noexcept {
    while (auto* request = fresh_.pop_front()) {
        begin(*request);
    }
}

void EpollReactor::begin(Request& request) noexcept {
    request.stream_place = StreamPlace::none;
    const int fd = request.file->fd;
    // Such requests come only if io_uring could not be opened after all.
    if (is_sync(request.opcode) || (transfers_data(request.opcode) && !is_stream(fd))) {
        send_to_worker(request);
        return;
    }
    if (request.only_waits && (has_unread(fd) || ends_without_bytes(request, fd))) {
        note_ready(request);
        end(request, -EAGAIN);
        return;
    }
    if (transfers_data(request.opcode) && !request.only_waits && !is_cancelled(request)) {
        if (request.memory_may_wait && never_waits(request)) {
            send_to_worker(request);
            return;
        }
        const auto result = try_transfer(request, fd);
        if (result != -EOPNOTSUPP && (!would_block(result) || never_waits(request))) {
            end(request, result);
            return;
        }
    }
    const int error = watch(request);
    if (error == 0) {
        return;
    }
    if (error != EPERM) {
        end(request, -error);
    } else if (request.opcode == Opcode::poll) {
        // A file that can't be watched is either ready now or can't be waited for: then the poll
        // fails with EINVAL, as it does in other engines.
        pollfd look{.fd = fd, .events = static_cast<short>(request.poll_events), .revents = 0};
        poll(&look, 1, 0);
        end(request, look.revents != 0 ? look.revents : -EINVAL);
    } else {
        send_to_worker(request);
    }
}

// Returns 0 or an errno; EPERM for a file that can't be watched.
int EpollReactor::watch(Request& request) noexcept {
    if (request.file->watch == nullptr) {
        auto* made = new (std::nothrow) Watch{.file = request.file};
        if (made == nullptr) {
            return ENOMEM;
        }
        watches_.push_front(*made);
        request.file->watch = made;
    }
    auto* watch = watch_of(request);
    watch->requests.push_back(request);
    request.stream_place = StreamPlace::watched;
    const int error = update(*watch);
    if (error != 0) {
        leave(request);
    }
    return error;
}

int EpollReactor::update(Watch& watch) noexcept {
    std::uint32_t wanted = 0;
    for (auto* request = watch.requests.front(); request != nullptr; request = request->next) {
        wanted |= wanted_events(*request) | always_reported;
    }
    if (wanted == watch.events) {
        return 0;
    }
    int change = EPOLL_CTL_MOD;
    if (wanted == 0) {
        change = EPOLL_CTL_DEL;
    } else if (watch.events == 0) {
        change = EPOLL_CTL_ADD;
    }
    epoll_event event{.events = wanted, .data = {.ptr = &watch}};
    if (epoll_ctl(epoll_.get(), change, watch.file->fd, &event) != 0) {
        return errno;
    }
    watch.events = wanted;
    return 0;
}

void EpollReactor::drop_if_unused(Watch& watch) noexcept {
    if (watch.is_unused()) {
        watches_.remove(watch);
        watch.file->watch = nullptr;
        delete &watch;
    }
}

void EpollReactor::leave(Request& request) noexcept {
    auto& watch = *watch_of(request);
    watch.requests.remove(request);
    request.stream_place = StreamPlace::none;
    update(watch);
    drop_if_unused(watch);
}

void EpollReactor::end(Request& request, std::int64_t result) noexcept {
    request.result = result;
    request.stream_place = StreamPlace::over;
    over_.push_back(request);
}

void EpollReactor::cancel(Request& request) noexcept {
    switch (request.stream_place) {
        case StreamPlace::fresh:
            fresh_.remove(request);
            break;
        case StreamPlace::watched:
            leave(request);
            break;
        case StreamPlace::behind:
            watch_of(request)->behind(request).remove(request);
            break;
        case StreamPlace::over:
            return;  // handle() completes the request
        case StreamPlace::none:
            owner_.not_cancelled(request);
            return;
    }
    request.stream_place = StreamPlace::none;
    owner_.finish(request, -ECANCELED);
}

void EpollReactor::wait(std::chrono::nanoseconds timeout) noexcept {
    begin_all();
    const auto time = std::chrono::ceil<std::chrono::milliseconds>(timeout).count();
    sleep(has_news() ? 0 : static_cast<int>(time));
}

void EpollReactor::go_on(bool is_ready) noexcept {
    begin_all();
    if (is_ready) {
        sleep(0);
    }
}

void EpollReactor::sleep(int timeout) noexcept {
    std::array<epoll_event, most_events> events;
    const int count = epoll_wait(epoll_.get(), events.data(), most_events, timeout);
    for (const auto& event :
         std::span(events).first(count > 0 ? static_cast<std::size_t>(count) : 0)) {
        if (event.data.ptr != nullptr) {
            serve(static_cast<Watch*>(event.data.ptr), event.events);
            continue;
        }
        std::uint64_t wakes = 0;
        [[maybe_unused]] const auto emptied = read(wake_fd_, &wakes, sizeof wakes);
    }
}

void EpollReactor::handle() noexcept {
    while (auto* request = over_.pop_front()) {
        request->stream_place = StreamPlace::none;
        owner_.finish(*request, request->result);
    }
    while (auto* request = for_workers_.pop_front()) {
        request->stream_place = StreamPlace::none;
        owner_.leave_to_workers(*request);
    }
}

// Tries the request. Returns whether it is over; a `result` of -EOPNOTSUPP leaves it to a worker.
bool EpollReactor::is_over(Request& request, std::uint32_t events, std::int64_t& result) noexcept {
    const auto reported = events & (wanted_events(request) | always_reported);
    if (reported == 0 || is_cancelled(request)) {
        return false;  // cancel() comes next
    }
    if (request.only_waits) {
        note_ready(request);
        result = -EAGAIN;
        return true;
    }
    result = reported;
    if (transfers_data(request.opcode)) {
        result = try_transfer(request, request.file->fd);
    }
    return !would_block(result);
}

void EpollReactor::serve(Watch* watch, std::uint32_t events) noexcept {
    Request* next = nullptr;
    for (auto* request = watch->requests.front(); request != nullptr; request = next) {
        next = request->next;
        std::int64_t result = 0;
        if (!is_over(*request, events, result)) {
            continue;
        }
        watch->requests.remove(*request);
        if (result != -EOPNOTSUPP) {
            end(*request, result);
        } else if (has_turn(*request)) {
            send_to_worker(*request);
        }
    }
    update(*watch);
    drop_if_unused(*watch);
}

void EpollReactor::look_for_unread() noexcept {
    Watch* next = nullptr;
    for (auto* watch = watches_.front(); watch != nullptr; watch = next) {
        next = watch->next;
        if (has_unread(watch->file->fd)) {
            serve(watch, EPOLLIN);
        }
    }
}

void EpollReactor::send_to_worker(Request& request) noexcept { for_workers_.push_back(request); }

// For a transfer that can't be tried: a worker checks whether the file is still ready, and makes
// the transfer. Returns whether it is this request's turn.
bool EpollReactor::has_turn(Request& request) noexcept {
    auto& watch = *watch_of(request);
    request.is_reactors = true;
    if (watch.in_worker(request) != nullptr) {
        watch.behind(request).push_back(request);
        request.stream_place = StreamPlace::behind;
        return false;
    }
    watch.in_worker(request) = &request;
    request.stream_place = StreamPlace::none;
    return true;
}

bool EpollReactor::take_back(Request& request) noexcept {
    auto& watch = *watch_of(request);
    watch.in_worker(request) = nullptr;
    if (auto* next = watch.behind(request).pop_front(); next != nullptr && has_turn(*next)) {
        owner_.leave_to_workers(*next);
    }
    drop_if_unused(watch);
    return !would_block(request.result) || never_waits(request);
}

}  // namespace engine
