// SPDX-License-Identifier: Apache-2.0
// Destroys kernel AIO queues in separate threads, because io_destroy(2) takes some 30 ms (an RCU
// grace period) even if nothing is in flight. Until then a queue counts against fs.aio-max-nr,
// which is for the whole machine. So a new context gets a queue that still waits to be destroyed,
// where one fits: a program that makes and closes contexts faster than the kernel destroys queues
// does not use up the limit.
#pragma once

#include <libaio.h>

#include <cstdint>

namespace engine {

struct ClosedQueue {
    io_context_t context;
    unsigned max_requests;  // as io_setup(2) was told
    bool is_reusable;       // its ring is empty, and nothing is in flight
};

// Takes over a queue with nothing in flight, and destroys it later. Returns at once, unless no
// thread can be started.
void destroy_soon(const ClosedQueue& queue) noexcept;

// A queue that waited to be destroyed, for that many requests; null if there is none.
io_context_t take_closed_queue(unsigned max_requests) noexcept;

// How many queues were destroyed so far, in this process.
std::uint64_t destroyed_queues() noexcept;

// Whether a queue is being destroyed, or waits for that.
bool is_destroying_queues() noexcept;

// Waits until more than `count` queues were destroyed. False if none is left to be destroyed.
bool wait_for_more_destroyed(std::uint64_t count) noexcept;

}  // namespace engine
