// SPDX-License-Identifier: Apache-2.0
// Reads and writes in flight for one call that blocks: the calling thread submits them and waits.
//
// A queue belongs to the thread that opened it. It must be empty when it is destroyed: the kernel
// writes to the buffers of what is in flight.
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
    bool may_wait = false;    // the submission would: better left to a thread
    std::int64_t result = 0;  // bytes, or a negative errno: set when wait() returns it
};

class Queue {
public:
    Queue() = default;
    Queue(const Queue&) = delete;
    Queue& operator=(const Queue&) = delete;
    virtual ~Queue() = default;

    // One of engine::engine_names.
    virtual const char* name() const noexcept = 0;

    // Takes the request, which reaches the kernel by the next wait() at the latest. Returns 0 or an
    // errno: the request was not taken then.
    virtual int submit(Transfer& transfer) noexcept = 0;

    // Waits until a request has completed, at most for `timeout`, or until a signal arrives.
    // Returns how many of `completed` it filled in.
    virtual std::size_t wait(std::span<Transfer*> completed,
                             std::chrono::nanoseconds timeout) noexcept = 0;
};

// A queue for `depth` requests. `engine` is "auto" or the name of another engine: "auto" takes the
// first that the system allows of io_uring, kernel AIO (only if the reads are direct: others would
// wait one by one in io_submit(2)) and worker threads. Null with an errno in `error`.
std::unique_ptr<Queue> open_queue(std::string_view engine, unsigned depth, bool is_direct,
                                  int& error) noexcept;

// The name of the queue that open_queue() would most likely open.
const char* likely_queue(std::string_view engine, bool is_direct) noexcept;

// Null with an errno in `error`; ENOTSUP if io_uring was not built in.
std::unique_ptr<Queue> open_uring_queue(unsigned depth, int& error) noexcept;

// On an engine of that name.
std::unique_ptr<Queue> open_engine_queue(std::string_view engine, unsigned depth,
                                         int& error) noexcept;

}  // namespace bulk
