// SPDX-License-Identifier: Apache-2.0
// Sends requests of engine `auto` on their routes, as far as the system has these: kernel AIO,
// which is opened with its first request, and io_uring. If the system refuses one, requests take
// another.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "engine/aio_engine.hpp"
#include "engine/request.hpp"

namespace engine {

class Routing {
public:
    explicit Routing(unsigned max_requests) noexcept : max_requests_(max_requests) {}

    static void send_inside(Request& request, Pace pace) noexcept;
    static void send_to_reactor(Request& request, Reason reason) noexcept;
    static void send_to_workers(Request& request, Reason reason, bool is_brief) noexcept;

    // Sends a request that may block to io_uring or, if that is not available, to a worker.
    void send_blocking(Request& request, Reason reason) noexcept;

    // Sends a request that kernel AIO can take without waiting. No two threads may call this at a
    // time.
    void send_to_kernel(Request& request, Reason otherwise) noexcept;

    // Null before its first use, or where it is refused.
    AioEngine* aio() const noexcept { return aio_.load(std::memory_order_acquire); }

private:
    AioEngine* open_aio() noexcept;
    bool has_uring() noexcept;

    const unsigned max_requests_;

    std::unique_ptr<AioEngine> owned_aio_;
    std::atomic<AioEngine*> aio_ = nullptr;
    bool has_tried_aio_ = false;

    enum class Uring : std::uint8_t { unknown, usable, unusable };
    std::atomic<Uring> uring_ = Uring::unknown;
};

}  // namespace engine
