// SPDX-License-Identifier: Apache-2.0
#include "engine/kernel_engine.hpp"

#include <algorithm>
#include <cerrno>
#include <exception>
#include <system_error>

#include "engine/call.hpp"
#include "engine/eventfd_signal.hpp"
#include "engine/reactors.hpp"

namespace engine {
namespace {

// Where there is no descriptor for waking a thread that waits in the kernel.
constexpr Timeout::value_type unwakeable_wait = std::chrono::milliseconds(10);

bool is_call(const Request* request) noexcept { return request->opcode == Opcode::call; }

// How many from the front are calls, or are not.
std::size_t count_alike(std::span<Request* const> requests) noexcept {
    const bool are_calls = is_call(requests.front());
    const auto end = std::ranges::find_if(
        requests, [&](const Request* request) { return is_call(request) != are_calls; });
    return static_cast<std::size_t>(end - requests.begin());
}

}  // namespace

Pace KernelEngine::guess(const Request& request) noexcept {
    return is_call(&request) ? Pace::perhaps : aio_.guess(request);
}

void KernelEngine::plan(std::span<Request* const> requests, std::optional<Pace> guessed) noexcept {
    while (!requests.empty()) {
        const auto alike = requests.first(count_alike(requests));
        requests = requests.subspan(alike.size());
        if (!is_call(alike.front())) {
            aio_.plan(alike, guessed);
            continue;
        }
        for (auto* request : alike) {
            request->pace = Pace::perhaps;
            request->route = Route::inside;
            request->is_direct = false;
            request->is_brief = false;
        }
    }
}

Submission KernelEngine::submit(std::span<Request* const> requests) noexcept {
    Submission submission;
    while (submission.taken < requests.size()) {
        const auto left = requests.subspan(submission.taken);
        Submission next;
        if (is_call(left.front())) {
            next.error = submit_call(*left.front());
            next.taken = next.error == 0 ? 1 : 0;
        } else {
            next = aio_.submit(left.first(count_alike(left)));
        }
        const bool is_all = next.taken == (is_call(left.front()) ? 1 : count_alike(left));
        submission.taken += next.taken;
        if (!is_all) {
            submission.error = submission.taken == 0 ? next.error : 0;
            break;
        }
    }
    return submission;
}

// Returns 0 or an errno.
int KernelEngine::submit_call(Request& request) noexcept {
    if (const auto result = request.call->try_at_once()) {
        inside_.fetch_add(1, std::memory_order_relaxed);
        const int to_signal = request.signals_only_later ? -1 : request.eventfd;
        const bool may_block = request.eventfd_may_block;
        pool_.completions().push(request, *result);
        if (to_signal >= 0) {
            signal_any_eventfd(to_signal, 1, may_block);
        }
        return 0;
    }
    request.route = Route::workers;
    auto* pointer = &request;
    const auto submission = pool_.submit({&pointer, 1});
    by_threads_.fetch_add(submission.taken, std::memory_order_relaxed);
    return submission.error;
}

std::size_t KernelEngine::reap(std::span<Completion> completions) noexcept {
    const auto count = pool_.completions().reap(completions);
    return count + aio_.reap(completions.subspan(count));
}

// Both tickets in one: that of the queue has 32 bits.
Engine::Ticket KernelEngine::ticket() noexcept {
    return aio_.ticket() << 32U | static_cast<std::uint32_t>(pool_.completions().ticket());
}

int KernelEngine::wait(Ticket ticket, Timeout timeout) noexcept {
    const auto of_aio = aio_.ticket();
    if (static_cast<std::uint32_t>(of_aio) != ticket >> 32U) {
        return 0;
    }
    int error = 0;
    const auto* pool = pool_.join(error);
    if (pool == nullptr) {
        // nothing can wake this thread but the kernel
        timeout = std::min(timeout.value_or(unwakeable_wait), unwakeable_wait);
        return aio_.wait(of_aio, timeout) == EINTR ? EINTR : 0;
    }
    aio_.set_waker(pool->wake_number());
    if (!pool_.completions().listen(static_cast<std::uint32_t>(ticket), aio_)) {
        return 0;
    }
    const int status = aio_.wait(of_aio, timeout);
    pool_.completions().stop_listening();
    return status;
}

CancelAnswer KernelEngine::post_cancellation(Request& request) noexcept {
    if (!is_call(&request)) {
        return aio_.post_cancellation(request);
    }
    auto* pool = pool_.get();
    return request.route == Route::workers && pool != nullptr ? pool->post_cancellation(request)
                                                              : CancelAnswer::no;
}

CancelAnswer KernelEngine::post_cancellation_if_endless(Request& request) noexcept {
    return post_cancellation(request);
}

// Only threads of ours answer later.
CancelAnswer KernelEngine::wait_for_answer(Request& request, std::uint32_t flight,
                                           std::chrono::nanoseconds time) noexcept {
    auto* pool = pool_.get();
    return pool != nullptr ? pool->wait_for_answer(request, flight, time) : CancelAnswer::no;
}

RouteCounts KernelEngine::routes() const noexcept {
    return {.inside = inside_.load(), .threads = by_threads_.load()};
}

}  // namespace engine
