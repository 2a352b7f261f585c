// SPDX-License-Identifier: Apache-2.0
#include "engine/file_return.hpp"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <exception>
#include <utility>

#include "engine/descriptor_limit.hpp"
#include "engine/program_threads.hpp"

namespace engine {
namespace {

bool is_full(int error) noexcept {
    return error == EAGAIN || error == ENOBUFS || error == ETOOMANYREFS;
}

// Takes the number out of `file`. The caller closes it or gives it away.
int give_up(CloforkFd& file) noexcept {
    const ForkBarrier barrier;
    return file.release(barrier);
}

}  // namespace

FileReturn::FileReturn(int far_number) noexcept : far_number_(far_number) {
    Ticket first = 0;
    if (getrandom(&first, sizeof first, GRND_NONBLOCK) != sizeof first) {
        first = static_cast<Ticket>(std::chrono::steady_clock::now().time_since_epoch().count());
    }
    last_ticket_ = first;
}

FileReturn::~FileReturn() {
    if (fork_guard_.is_inherited()) {
        return;
    }
    for (auto& arrived : arrived_) {
        if (arrived.file.is_open()) {
            close_soon(give_up(arrived.file));
        }
    }
}

int FileReturn::send(int fd, Ticket& ticket) noexcept {
    ticket = last_ticket_.fetch_add(1, std::memory_order_relaxed) + 1;
    iovec part{.iov_base = &ticket, .iov_len = sizeof ticket};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    auto* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
    underway_.fetch_add(1, std::memory_order_relaxed);
    if (sendmsg(far_number_, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) {
        return 0;
    }
    const int error = errno;
    underway_.fetch_sub(1, std::memory_order_relaxed);
    return is_full(error) ? EAGAIN : error;
}

bool FileReturn::is_crowded() const noexcept {
    constexpr std::size_t always_enough = 32;
    const auto count = underway_.load(std::memory_order_relaxed);
    return count >= always_enough && count >= descriptor_limit() / 2;
}

int FileReturn::receive(Ticket ticket) noexcept {
    if (fork_guard_.is_inherited()) {
        return -EBADF;
    }
    const std::lock_guard lock(mutex_);
    if (const auto found = std::ranges::find(arrived_, ticket, &Arrived::ticket);
        found != arrived_.end()) {
        const int fd = found->file.is_open() ? give_up(found->file) : -EMFILE;
        arrived_.erase(found);
        return fd;
    }
    for (;;) {
        Arrived arrived;
        int fd = -EMFILE;
        iovec part{.iov_base = &arrived.ticket, .iov_len = sizeof arrived.ticket};
        alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control;
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        {
            const ForkBarrier barrier;
            const auto length = recvmsg(near_end_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
            if (length <= 0) {
                return length < 0 ? -errno : -EBADF;
            }
            underway_.fetch_sub(1, std::memory_order_relaxed);
            if (const auto* header = CMSG_FIRSTHDR(&message);
                header != nullptr && header->cmsg_type == SCM_RIGHTS &&
                header->cmsg_len == CMSG_LEN(sizeof(int))) {
                std::memcpy(&fd, CMSG_DATA(header), sizeof(int));
            }
            if (arrived.ticket == ticket) {
                return fd;
            }
            if (fd >= 0) {
                arrived.file.adopt(fd, barrier);
            }
        }
        try {
            arrived_.push_back(std::move(arrived));
        } catch (const std::exception&) {
            return -ENOMEM;  // the other one is closed, and its taker is told that it is not there
        }
    }
}

}  // namespace engine
