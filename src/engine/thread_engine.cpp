// SPDX-License-Identifier: Apache-2.0
#include "engine/thread_engine.hpp"

#include <algorithm>
#include <functional>

#include "engine/stream_transfer.hpp"

namespace engine {

ThreadEngine::ThreadEngine(const char* name, PoolKind kind, Route transfers)
    : name_(name), transfers_(transfers), pool_(kind, true) {}

ThreadEngine::ThreadEngine(const char* name, WorkerPool::MakeReactor make_reactor, Route transfers)
    : name_(name),
      transfers_(transfers),
      pool_(std::make_shared<WorkerPool>(make_reactor, nullptr)) {}

Pace ThreadEngine::guess(const Request& request) noexcept {
    return request.fd < 0 ? Pace::perhaps : Pace::asynchronous;
}

void ThreadEngine::plan(std::span<Request* const> requests,
                        std::optional<Pace> /*guessed*/) noexcept {
    DirectFiles files;
    for (auto* request : requests) {
        request->pace = Pace::asynchronous;
        request->route = transfers_;
        if (request->opcode == Opcode::poll) {
            request->route = Route::reactor;
        } else if (request->opcode == Opcode::call) {
            request->route = Route::workers;
        }
        request->is_direct = is_read(request->opcode) && files.is_direct(request->fd);
        request->waits_in_submission = false;
        request->only_waits = leaves_bytes(*request);
        request->is_ready = false;
        request->is_aligned_later = false;
        request->is_brief = false;
        plan_by_workers(*request, files);
    }
}

// Leaves requests to workers that the I/O thread would take long to submit, or must not wait for.
void ThreadEngine::plan_by_workers(Request& request, DirectFiles& files) noexcept {
    if (request.opcode == Opcode::poll) {
        return;
    }
    const bool is_large = request.is_direct && size_of(request) > quickly_pinned;
    // io_uring asks a server that answers EAGAIN to direct I/O again and again.
    const bool has_server = transfers_ == Route::reactor && transfers_data(request.opcode) &&
                            files.is_direct_with_server(request.fd);
    if (request.memory_may_wait || is_large || request.at_position || has_server) {
        request.route = Route::workers;
    }
    if (is_large && request.takes_any_memory && !request.at_position) {
        request.is_direct = false;
        request.is_aligned_later = true;
    }
}

Submission ThreadEngine::submit(std::span<Request* const> requests) noexcept {
    std::uint64_t calls = 0;
    const auto count = [&](const Request& request) {
        calls += request.opcode == Opcode::call ? 1 : 0;
    };
    const auto submission = pool_.submit(requests, std::ref(count));
    calls_.fetch_add(calls, std::memory_order_relaxed);
    submitted_.fetch_add(submission.taken, std::memory_order_relaxed);
    return submission;
}

std::size_t ThreadEngine::reap(std::span<Completion> completions) noexcept {
    return pool_.completions().reap(completions);
}

Engine::Ticket ThreadEngine::ticket() noexcept { return pool_.completions().ticket(); }

int ThreadEngine::wait(Ticket ticket, Timeout timeout) noexcept {
    return pool_.completions().wait(ticket, timeout);
}

CancelAnswer ThreadEngine::post_cancellation(Request& request) noexcept {
    return pool_.post_cancellation(request);
}

CancelAnswer ThreadEngine::post_cancellation_if_endless(Request& request) noexcept {
    return pool_.post_cancellation_if_endless(request);
}

CancelAnswer ThreadEngine::wait_for_answer(Request& request, std::uint32_t flight,
                                           std::chrono::nanoseconds time) noexcept {
    return pool_.wait_for_answer(request, flight, time);
}

RouteCounts ThreadEngine::routes() const noexcept {
    const auto count = submitted_.load(std::memory_order_relaxed);
    const auto calls = calls_.load(std::memory_order_relaxed);
    return transfers_ == Route::workers
               ? RouteCounts{.threads = count}
               : RouteCounts{.uring = count - std::min(calls, count), .threads = calls};
}

}  // namespace engine
