// SPDX-License-Identifier: Apache-2.0
// The engines `threads` and `uring`, which give all requests to our threads.
#pragma once

#include "engine/alignment.hpp"
#include "engine/engine.hpp"
#include "engine/pool_access.hpp"

namespace engine {

class ThreadEngine final : public Engine {
public:
    // `transfers`: the route of reads, writes and syncs. Polls go to the reactor.
    ThreadEngine(const char* name, PoolKind kind, Route transfers);

    // The same with a pool that only this engine uses.
    ThreadEngine(const char* name, WorkerPool::MakeReactor make_reactor, Route transfers);

    const char* name() const noexcept override { return name_; }
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
    void plan_by_workers(Request& request, DirectFiles& files) noexcept;

    const char* name_;
    const Route transfers_;
    PoolAccess pool_;
    std::atomic<std::uint64_t> submitted_ = 0;
    std::atomic<std::uint64_t> calls_ = 0;  // those of Opcode::call, which workers carry out
};

}  // namespace engine
