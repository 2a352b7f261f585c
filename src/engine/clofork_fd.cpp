// SPDX-License-Identifier: Apache-2.0
#include "engine/clofork_fd.hpp"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <mutex>
#include <utility>

namespace engine {

// The list's functions are called with the barrier held.
struct CloforkList {
    // A ring: an element that is in it has neighbours.
    CloforkFd head;
    std::mutex mutex;

    constexpr CloforkList() noexcept { head.previous_ = head.next_ = &head; }
    CloforkList(const CloforkList&) = delete;
    CloforkList& operator=(const CloforkList&) = delete;
    ~CloforkList() = default;

    void add(CloforkFd& element) noexcept {
        element.previous_ = head.previous_;
        element.next_ = &head;
        head.previous_->next_ = &element;
        head.previous_ = &element;
    }

    static void remove(CloforkFd& element) noexcept {
        if (element.next_ != nullptr) {
            element.previous_->next_ = element.next_;
            element.next_->previous_ = element.previous_;
            element.previous_ = element.next_ = nullptr;
        }
    }

    // Called in a child process. close(2) is async-signal-safe, and does not wait for these files.
    void close_all() noexcept {
        while (head.next_ != &head) {
            auto& element = *head.next_;
            remove(element);
            close(std::exchange(element.fd_, -1));
        }
    }
};

namespace {

// Never destroyed: other objects with static lifetime may be in it.
union Storage {
    constexpr Storage() noexcept : list() {}
    Storage(const Storage&) = delete;
    Storage& operator=(const Storage&) = delete;
    ~Storage() {}
    CloforkList list;
};
constinit Storage storage;

thread_local bool is_table_own = false;

void before_fork() noexcept { storage.list.mutex.lock(); }
void after_fork_in_parent() noexcept { storage.list.mutex.unlock(); }
void after_fork_in_child() noexcept {
    storage.list.close_all();
    storage.list.mutex.unlock();
}

// Registered when the library is loaded. If it were done at the first use, that could come while a
// fork is under way: then only some of its handlers would run.
[[maybe_unused]] const int registered =
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);

}  // namespace

ForkBarrier::ForkBarrier() noexcept { storage.list.mutex.lock(); }

ForkBarrier::~ForkBarrier() { storage.list.mutex.unlock(); }

CloforkFd::CloforkFd(CloforkFd&& other) noexcept { take(other); }

CloforkFd& CloforkFd::operator=(CloforkFd&& other) noexcept {
    if (this != &other) {
        reset();
        take(other);
    }
    return *this;
}

void CloforkFd::take(CloforkFd& other) noexcept {
    const ForkBarrier barrier;
    const bool is_listed = other.next_ != nullptr;
    CloforkList::remove(other);
    fd_ = std::exchange(other.fd_, -1);
    if (is_listed) {
        storage.list.add(*this);
    }
}

void CloforkFd::adopt(int fd, const ForkBarrier& /*barrier*/) noexcept {
    fd_ = fd;
    if (fd >= 0 && !is_table_own) {
        storage.list.add(*this);
    }
}

void CloforkFd::reset() noexcept {
    if (fd_ < 0) {
        return;
    }
    const ForkBarrier barrier;
    CloforkList::remove(*this);
    close(std::exchange(fd_, -1));
}

int CloforkFd::release(const ForkBarrier& /*barrier*/) noexcept {
    CloforkList::remove(*this);
    return std::exchange(fd_, -1);
}

void CloforkFd::use_own_table() noexcept { is_table_own = true; }

bool CloforkFd::has_own_table() noexcept { return is_table_own; }

CloforkFd make_clofork_eventfd(int flags) noexcept {
    CloforkFd made;
    {
        const ForkBarrier barrier;
        made.adopt(eventfd(0, flags), barrier);
    }
    return made;
}

}  // namespace engine
