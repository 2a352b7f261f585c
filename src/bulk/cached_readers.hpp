// SPDX-License-Identifier: Apache-2.0
// Copies parts of a file from the page cache to memory, by several threads: one alone gets only a
// part of the memory's bandwidth, and less where new memory is to be cleared first.
#pragma once

#include <pthread.h>

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "bulk/segment.hpp"

namespace bulk {

struct CachedPart {
    Segment* segment = nullptr;
    std::uint64_t offset = 0;
    std::byte* address = nullptr;
    std::size_t length = 0;
    std::size_t done = 0;  // less than the length at the end of the file, or after an error
    int error = 0;         // an errno
};

// Reads until the part is full, the file ends, or an error.
void read_part(int fd, CachedPart& part) noexcept;

// All functions are for the thread that made it, which does parts of the work itself: it depends on
// no helper that the scheduler holds back, but for the parts that this one has begun.
class CachedReaders {
public:
    explicit CachedReaders(int fd) noexcept : fd_(fd) {}
    CachedReaders(const CachedReaders&) = delete;
    CachedReaders& operator=(const CachedReaders&) = delete;
    // Waits for the threads. In a child process, which has none, it must not be destroyed.
    ~CachedReaders();

    // Starts up to `helpers` threads. Fewer are no error: the caller does more of the work then.
    void start(unsigned helpers) noexcept;

    // False if there is no slot: run_one() or take_done() makes one.
    bool add(const CachedPart& part) noexcept;

    // More parts wait than the helpers can begin with.
    bool has_backlog() noexcept;

    // Reads one of the parts that wait, in this thread. False if there is none.
    bool run_one() noexcept;

    // A part that was read, which makes its slot free. False if none is before the time is up.
    bool take_done(CachedPart& part, std::chrono::nanoseconds timeout) noexcept;

    // Forgets the parts that wait, and waits for those that a helper has begun.
    void stop() noexcept;

private:
    enum class State : std::uint8_t { free, waiting, running, done };
    struct Slot {
        State state = State::free;
        CachedPart part;
    };

    static constexpr unsigned most_helpers = 3;

    Slot* find(State state) noexcept;
    void run(Slot& slot, std::unique_lock<std::mutex>& lock) noexcept;
    void help() noexcept;

    int fd_;
    std::mutex mutex_;  // for what follows
    std::condition_variable part_came_;
    std::condition_variable part_done_;
    std::array<Slot, 16> slots_;
    unsigned waiting_ = 0;
    unsigned running_ = 0;
    bool is_closing_ = false;

    std::array<pthread_t, most_helpers> threads_{};
    unsigned thread_count_ = 0;
};

}  // namespace bulk
