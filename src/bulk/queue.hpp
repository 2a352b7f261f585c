// SPDX-License-Identifier: Apache-2.0
// The reads and writes in flight of one blocking call: the calling thread submits them and waits.
//
// Only the thread that opened a queue uses it. No request may be in flight when the queue is
// destroyed, because the kernel still uses that request's buffer.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace bulk {

enum class Direction : std::uint8_t { read, write };

// One request. It must not move from submit() until wait() returns it.
struct Transfer {
    Direction direction = Direction::read;
    int fd = -1;
    std::uint64_t offset = 0;
    std::byte* address = nullptr;
    std::size_t length = 0;
    bool may_wait = false;    // submitting may block for the disk: io_uring gives it to a thread
    std::int64_t result = 0;  // bytes or a negative errno, set by wait()
};

class Queue {
public:
    Queue() = default;
    Queue(const Queue&) = delete;
    Queue& operator=(const Queue&) = delete;
    virtual ~Queue() = default;

    // One of engine::engine_names.
    virtual const char* name() const noexcept = 0;

    // Takes the request. The kernel gets it in the next wait() at the latest. Returns 0, or an
    // errno if the request was not taken.
    virtual int submit(Transfer& transfer) noexcept = 0;

    // Waits until a request has completed, at most for `timeout`, or until a signal arrives.
    // Returns how many completed requests it stored in `completed`.
    virtual std::size_t wait(std::span<Transfer*> completed,
                             std::chrono::nanoseconds timeout) noexcept = 0;
};

// What a queue is to carry out.
enum class Reads : std::uint8_t { buffered, direct, direct_from_server };

// Opens a queue for `depth` requests. `engine` is the name of an engine, or "auto" for the first
// that the system allows of io_uring (not for direct reads from a server: io_uring asks one that
// answers EAGAIN again and again), kernel AIO (only for direct reads: io_submit(2) would carry out
// buffered ones one by one) and worker threads. On failure null, with an errno in `error`.
std::unique_ptr<Queue> open_queue(std::string_view engine, unsigned depth, Reads reads,
                                  int& error) noexcept;

// The name of the queue that open_queue() would most likely open. Opens none.
const char* likely_queue(std::string_view engine, Reads reads) noexcept;

// On failure null, with an errno in `error`: ENOTSUP if the build has no liburing.
std::unique_ptr<Queue> open_uring_queue(unsigned depth, int& error) noexcept;

// Opens a queue that submits to a new engine of that name.
std::unique_ptr<Queue> open_engine_queue(std::string_view engine, unsigned depth,
                                         int& error) noexcept;

}  // namespace bulk
