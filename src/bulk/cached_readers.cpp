// SPDX-License-Identifier: Apache-2.0
#include "bulk/cached_readers.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "engine/detached_thread.hpp"

namespace bulk {
namespace {

constexpr std::size_t stack_size = std::size_t{256} * 1024;

}  // namespace

void read_part(int fd, CachedPart& part) noexcept {
    while (part.done < part.length) {
        const auto count = pread(fd, part.address + part.done, part.length - part.done,
                                 static_cast<off_t>(part.offset + part.done));
        if (count < 0 && errno != EINTR) {
            part.error = errno;
        }
        if (count == 0 || part.error != 0) {
            return;
        }
        part.done += count > 0 ? static_cast<std::size_t>(count) : 0;
    }
}

CachedReaders::~CachedReaders() {
    {
        const std::scoped_lock lock(mutex_);
        is_closing_ = true;
    }
    part_came_.notify_all();
    for (unsigned i = 0; i < thread_count_; ++i) {
        pthread_join(threads_[i], nullptr);
    }
}

void CachedReaders::start(unsigned helpers) noexcept {
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0) {
        return;
    }
    pthread_attr_setstacksize(&attributes, stack_size);
    const engine::SignalsBlocked blocked;
    const auto begin = [](void* self) -> void* {
        static_cast<CachedReaders*>(self)->help();
        return nullptr;
    };
    helpers = std::min(helpers, most_helpers);
    while (thread_count_ < helpers &&
           pthread_create(&threads_[thread_count_], &attributes, begin, this) == 0) {
        ++thread_count_;
    }
    pthread_attr_destroy(&attributes);
}

CachedReaders::Slot* CachedReaders::find(State state) noexcept {
    const auto slot = std::ranges::find(slots_, state, &Slot::state);
    return slot != slots_.end() ? &*slot : nullptr;
}

bool CachedReaders::add(const CachedPart& part) noexcept {
    {
        const std::scoped_lock lock(mutex_);
        auto* const slot = find(State::free);
        if (slot == nullptr) {
            return false;
        }
        slot->part = part;
        slot->state = State::waiting;
        ++waiting_;
    }
    part_came_.notify_one();
    return true;
}

bool CachedReaders::has_backlog() noexcept {
    const std::scoped_lock lock(mutex_);
    return waiting_ > thread_count_;
}

// The caller holds the lock. It is released while the part is read.
void CachedReaders::run(Slot& slot, std::unique_lock<std::mutex>& lock) noexcept {
    slot.state = State::running;
    --waiting_;
    ++running_;
    lock.unlock();
    read_part(fd_, slot.part);
    lock.lock();
    slot.state = State::done;
    --running_;
    part_done_.notify_one();
}

bool CachedReaders::run_one() noexcept {
    std::unique_lock lock(mutex_);
    auto* const slot = find(State::waiting);
    if (slot == nullptr) {
        return false;
    }
    run(*slot, lock);
    return true;
}

bool CachedReaders::take_done(CachedPart& part, std::chrono::nanoseconds timeout) noexcept {
    std::unique_lock lock(mutex_);
    auto* slot = find(State::done);
    if (slot == nullptr && timeout.count() > 0) {
        part_done_.wait_for(lock, timeout, [&] { return (slot = find(State::done)) != nullptr; });
    }
    if (slot == nullptr) {
        return false;
    }
    part = slot->part;
    slot->state = State::free;
    return true;
}

void CachedReaders::stop() noexcept {
    std::unique_lock lock(mutex_);
    for (auto& slot : slots_) {
        if (slot.state == State::waiting) {
            slot.state = State::free;
        }
    }
    waiting_ = 0;
    part_done_.wait(lock, [this] { return running_ == 0; });
    slots_.fill({});
}

void CachedReaders::help() noexcept {
    std::unique_lock lock(mutex_);
    for (;;) {
        part_came_.wait(lock, [this] { return is_closing_ || waiting_ != 0; });
        if (is_closing_) {
            return;
        }
        run(*find(State::waiting), lock);
    }
}

}  // namespace bulk
