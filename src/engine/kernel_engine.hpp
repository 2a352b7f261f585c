// SPDX-License-Identifier: Apache-2.0
// The engine that users know as `aio`: kernel AIO as it is (aio_engine.hpp), and our threads for
// the operations that kernel AIO does not have, such as to open a file.
#pragma once

#include <atomic>
#include <optional>

#include "engine/aio_engine.hpp"
#include "engine/engine.hpp"
#include "engine/pool_access.hpp"

namespace engine {

class KernelEngine final : public Engine {
public:
    // Throws std::system_error with what io_setup(2) says.
    KernelEngine(unsigned max_requests, AtLimit at_limit);

    const char* name() const noexcept override { return aio_.name(); }
    Pace guess(const Request& request) noexcept override;
    void plan(std::span<Request* const> requests, std::optional<Pace> guessed) noexcept override;
    Submission submit(std::span<Request* const> requests) noexcept override;
    std::size_t reap(std::span<Completion> completions) noexcept override;
    Ticket ticket() noexcept override;
    int wait(Ticket ticket, Timeout timeout) noexcept override;
    CancelAnswer post_cancellation(Request& request) noexcept override;
    CancelAnswer post_cancellation_if_endless(Request& request) noexcept override;
    CancelAnswer wait_for_answer(Request& request, std::uint32_t flight,
                                 std::chrono::nanoseconds time) noexcept override;
    void wait_for_signals() noexcept override { pool_.wait_for_signals(); }
    RouteCounts routes() const noexcept override;

private:
    bool asks_again(Request& request) noexcept;
    int submit_elsewhere(Request& request) noexcept;
    void finish_inside(Request& request, std::int64_t result) noexcept;

    AioEngine aio_;
    PoolAccess pool_;
    std::atomic<std::uint64_t> inside_ = 0;
    std::atomic<std::uint64_t> by_threads_ = 0;
};

}  // namespace engine
