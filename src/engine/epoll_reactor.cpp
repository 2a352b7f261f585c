// SPDX-License-Identifier: Apache-2.0
#include "engine/epoll_reactor.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <new>

#include "engine/blocking_call.hpp"
#include "engine/file_type.hpp"
#include "engine/private_files.hpp"

namespace engine {
namespace {

constexpr std::uint32_t always_reported = EPOLLERR | EPOLLHUP;

// poll(2)'s events have the same numbers as epoll's.
std::uint32_t wanted_events(const Request& request) noexcept {
    if (request.opcode == Opcode::poll) {
        return request.poll_events & ~std::uint32_t{POLLNVAL};
    }
    return is_read(request.opcode) ? EPOLLIN : EPOLLOUT;
}

bool would_block(std::int64_t result) noexcept { return result == -EAGAIN; }

// For sockets of kernels on which they refuse RWF_NOWAIT.
std::int64_t try_socket(const Request& request, int fd) noexcept {
    iovec single{.iov_base = request.address, .iov_len = request.length};
    msghdr message{};
    message.msg_iov = is_vectored(request.opcode) ? static_cast<iovec*>(request.address) : &single;
    message.msg_iovlen = is_vectored(request.opcode) ? request.length : 1;
    const auto status = is_read(request.opcode)
                            ? recvmsg(fd, &message, MSG_DONTWAIT)
                            : sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    return status < 0 ? -errno : status;
}

// -EOPNOTSUPP: it can't be tried without waiting.
std::int64_t try_transfer(const Request& request, int fd) noexcept {
    auto result = carry_out(request, fd, true, RWF_NOWAIT);
    if (result == -EOPNOTSUPP && request.rw_flags == 0) {
        result = try_socket(request, fd);
        result = result == -ENOTSOCK ? -EOPNOTSUPP : result;
    }
    return result;
}

// Whether the program wants to know rather than wait.
bool never_waits(const Request& request, int fd) noexcept {
    return (request.rw_flags & RWF_NOWAIT) != 0 || (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0;
}

}  // namespace

int EpollReactor::open() noexcept {
    {
        const ForkBarrier barrier;
        epoll_.adopt(epoll_create1(EPOLL_CLOEXEC), barrier);
    }
    epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
    const bool is_open =
        epoll_.is_open() && epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_fd_, &event) == 0;
    return is_open ? 0 : errno;
}

void EpollReactor::start(Request& request) noexcept {
    const int fd = request.file->fd;
    // (These come where io_uring could not be opened after all.)
    if (is_sync(request.opcode) || (transfers_data(request.opcode) && !is_stream(fd))) {
        owner_.leave_to_workers(request);
        return;
    }
    if (transfers_data(request.opcode)) {
        const auto result = try_transfer(request, fd);
        if (result != -EOPNOTSUPP && (!would_block(result) || never_waits(request, fd))) {
            owner_.finish(request, result);
            return;
        }
    }
    const int error = watch(request);
    if (error == 0) {
        return;
    }
    if (error != EPERM) {
        owner_.finish(request, -error);
    } else if (request.opcode == Opcode::poll) {
        // What can't be watched is always ready, or, as other engines say of it, can't be waited
        // for.
        pollfd look{.fd = fd, .events = static_cast<short>(request.poll_events), .revents = 0};
        poll(&look, 1, 0);
        owner_.finish(request, look.revents != 0 ? look.revents : -EINVAL);
    } else {
        owner_.leave_to_workers(request);
    }
}

// Returns 0 or an errno; EPERM for a file that can't be watched.
int EpollReactor::watch(Request& request) noexcept {
    auto*& place = request.file->watch;
    auto* watch = static_cast<Watch*>(place);
    if (watch == nullptr) {
        watch = new (std::nothrow) Watch{.fd = request.file->fd};
        if (watch == nullptr) {
            return ENOMEM;
        }
        place = watch;
    }
    watch->requests.push_back(request);
    const int error = update(*watch);
    if (error != 0) {
        leave(watch, request);
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
    if (epoll_ctl(epoll_.get(), change, watch.fd, &event) != 0) {
        return errno;
    }
    watch.events = wanted;
    return 0;
}

// With the last request goes the watch.
void EpollReactor::leave(Watch* watch, Request& request) noexcept {
    watch->requests.remove(request);
    update(*watch);
    if (watch->requests.empty()) {
        request.file->watch = nullptr;
        for (auto& event : events_) {
            event.watch = event.watch == watch ? nullptr : event.watch;
        }
        delete watch;
    }
}

void EpollReactor::cancel(Cancellation& cancellation) noexcept {
    auto& request = *cancellation.request;
    if (behind_.has(request)) {
        behind_.remove(request);
    } else {
        leave(static_cast<Watch*>(request.file->watch), request);
    }
    request.cancelled = true;
    owner_.finish(request, -ECANCELED);
    cancellation.answer = Cancellation::Answer::yes;
}

void EpollReactor::wait(std::chrono::nanoseconds timeout) noexcept {
    std::array<epoll_event, most_events> events;
    const auto time = std::chrono::ceil<std::chrono::milliseconds>(timeout).count();
    const int count = epoll_wait(epoll_.get(), events.data(), most_events, static_cast<int>(time));
    event_count_ = count > 0 ? count : 0;
    for (int i = 0; i < event_count_; ++i) {
        events_[i] = {.watch = static_cast<Watch*>(events[static_cast<std::size_t>(i)].data.ptr),
                      .events = events[static_cast<std::size_t>(i)].events};
        if (events_[i].watch == nullptr) {
            std::uint64_t count_of_wakes = 0;
            [[maybe_unused]] const auto emptied =
                read(wake_fd_, &count_of_wakes, sizeof count_of_wakes);
        }
    }
}

void EpollReactor::handle() noexcept {
    for (int i = 0; i < event_count_; ++i) {
        if (events_[i].watch != nullptr) {
            serve(events_[i].watch, events_[i].events);
        }
    }
    event_count_ = 0;
}

// Whether the request is over, or to be left to a worker: then `result` is -EOPNOTSUPP.
bool EpollReactor::is_over(Request& request, std::uint32_t events, std::int64_t& result) noexcept {
    const auto reported = events & (wanted_events(request) | always_reported);
    if (reported == 0) {
        return false;
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
        const bool is_last = next == nullptr;
        leave(watch, *request);
        if (result == -EOPNOTSUPP) {
            leave_to_workers(*request);
        } else {
            owner_.finish(*request, result);
        }
        if (is_last) {
            return;  // the watch may be gone
        }
    }
}

// Where a read can't be tried, a worker sees whether there still is something, and takes it. One at
// a time: of two, which may be of one file, one could find nothing left, and wait for ever.
void EpollReactor::leave_to_workers(Request& request) noexcept {
    request.is_reactors = is_read(request.opcode);
    if (request.is_reactors && in_worker_ != nullptr) {
        behind_.push_back(request);
        return;
    }
    in_worker_ = request.is_reactors ? &request : in_worker_;
    owner_.leave_to_workers(request);
}

bool EpollReactor::take_back(Request& request) noexcept {
    in_worker_ = nullptr;
    if (auto* next = behind_.pop_front(); next != nullptr) {
        leave_to_workers(*next);
    }
    return !would_block(request.result) || never_waits(request, request.file->fd);
}

}  // namespace engine
