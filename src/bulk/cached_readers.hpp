// SPDX-License-Identifier: Apache-2.0
// Copies parts of a file from the page cache to memory, with several threads. One thread alone uses
// only a part of the memory's bandwidth, and even less where the kernel must clear new memory
// first.
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

// Reads until the part is full, the file ends, or a read fails.
void read_part(int fd, CachedPart& part) noexcept;

// Only the thread that made a CachedReaders calls its functions. That thread reads parts, too, so
// it only waits for a helper that the scheduler holds back if the helper has already begun a part.
class CachedReaders {
public:
    explicit CachedReaders(int fd) noexcept : fd_(fd) {}
    CachedReaders(const CachedReaders&) = delete;
    CachedReaders& operator=(const CachedReaders&) = delete;
    // Waits for the helper threads. Must not run in a child process, where they do not exist.
    ~CachedReaders();

    // Starts up to `helpers` threads. If fewer start, that is no error: the caller then reads more
    // of the parts itself.
    void start(unsigned helpers) noexcept;

    // Queues a part. Returns false if no slot is free; take_done() frees one.
    bool add(const CachedPart& part) noexcept;

    // Whether more parts are waiting than there are helpers.
    bool has_backlog() noexcept;

    // Reads one waiting part in the calling thread. Returns false if no part is waiting.
    bool run_one() noexcept;

    // Returns a part that was read, and frees its slot. False if no part is read within `timeout`.
    bool take_done(CachedPart& part, std::chrono::nanoseconds timeout) noexcept;

    // Drops the waiting parts, and blocks until the helpers have finished the parts they began.
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
    std::mutex mutex_;  // guards the members from here to is_closing_
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
