// SPDX-License-Identifier: Apache-2.0
#include "engine/kernel_engine.hpp"

#include <fcntl.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <optional>
#include <system_error>

#include "engine/call.hpp"
#include "engine/eventfd_check.hpp"
#include "engine/file_type.hpp"
#include "engine/finish_inside.hpp"
#include "engine/first_alike.hpp"
#include "engine/reactors.hpp"
#include "engine/stream_transfer.hpp"
#include "engine/unread_bytes.hpp"

namespace engine {
namespace {

// How long a thread waits in the kernel at a time, if there is no descriptor left to wake it by.
constexpr Timeout::value_type unwakeable_wait = std::chrono::milliseconds(10);

bool is_call(const Request* request) noexcept { return request->opcode == Opcode::call; }

bool goes_to_kernel(const Request* request) noexcept { return request->route == Route::aio; }

// Whether the file system may answer EINTR: where the kernel waits for a server, or a stream.
bool may_be_interrupted(const Request& request) noexcept {
    return request.pace == Pace::unknown || is_sync(request.opcode);
}

// Whether the request failed with an EINTR of the file system, and may be carried out again. It may
// not if it signals an eventfd of the program's (`eventfd_may_block`), which the kernel has
// signalled already.
bool is_interrupted(const Completion& completion) noexcept {
    const auto& request = *completion.request;
    return completion.result == -EINTR && !is_cancelled(request) &&
           (request.eventfd < 0 || !request.eventfd_may_block);
}

bool may_be_for_stream(const Request& request) noexcept {
    return transfers_data(request.opcode) &&
           (request.pace == Pace::unknown || request.at_position ||
            (never_waits(request) && request.pace == Pace::asynchronous));
}

// The stream that kernel AIO reads for the request.
std::optional<StreamKey> source_of(const Request& request) noexcept {
    return goes_to_kernel(&request) && is_read(request.opcode) && may_be_for_stream(request)
               ? stream_key_of(request.fd)
               : std::nullopt;
}

// Most requests go to kernel AIO. It can't carry out a transfer at the file's position, nor a
// transfer of a stream with O_NONBLOCK that has to wait; and a poll of a signalfd would never
// complete. It ignores the offset of a transfer of a pipe.
Route way_of(const Request& request) noexcept {
    if (request.opcode == Opcode::poll) {
        return is_signalfd(request.fd) ? Route::reactor : Route::aio;
    }
    if (!may_be_for_stream(request)) {
        return Route::aio;
    }
    if (!is_stream(request.fd)) {
        return request.at_position ? Route::workers : Route::aio;
    }
    if (!has_stream_offset(request)) {
        return Route::inside;
    }
    const bool is_nonblocking = (fcntl(request.fd, F_GETFL) & O_NONBLOCK) != 0;
    return is_nonblocking && !never_waits(request) ? Route::reactor : Route::aio;
}

}  // namespace

// Joins the pool at once: if its descriptors were made later, they could get the number of a file
// that the program has closed while an operation on it was in flight. If no pool can be made now,
// wait() and submit() try again.
KernelEngine::KernelEngine(unsigned max_requests, AtLimit at_limit)
    : aio_(max_requests, at_limit), pool_(PoolKind::epoll) {
    int error = 0;
    pool_.join(error);
}

Pace KernelEngine::guess(const Request& request) noexcept {
    return is_call(&request) ? Pace::perhaps : aio_.guess(request);
}

void KernelEngine::plan(std::span<Request* const> requests, std::optional<Pace> guessed) noexcept {
    while (!requests.empty()) {
        const auto alike = first_alike(requests, is_call);
        requests = requests.subspan(alike.size());
        if (!is_call(alike.front())) {
            aio_.plan(alike, guessed);
            for (auto* request : alike) {
                request->is_brief = false;
                request->only_waits = leaves_bytes(*request);
                request->is_ready = false;
                request->waits_in_submission = false;
                request->route = way_of(*request);
                request->source = source_of(*request);
                request->tried_file =
                    may_be_interrupted(*request) ? status_of(request->fd).identity : FileIdentity{};
                request->pace = goes_to_kernel(request) ? request->pace : Pace::perhaps;
            }
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
        const bool to_kernel = goes_to_kernel(left.front());
        const auto batch = to_kernel ? first_alike(left, goes_to_kernel) : left.first(1);
        Submission next;
        if (to_kernel) {
            next = aio_.submit(batch);
        } else {
            next.error = submit_elsewhere(*batch.front());
            next.taken = next.error == 0 ? 1 : 0;
        }
        submission.taken += next.taken;
        if (next.taken != batch.size()) {
            submission.error = submission.taken == 0 ? next.error : 0;
            break;
        }
    }
    return submission;
}

void KernelEngine::finish_inside(Request& request, std::int64_t result) noexcept {
    inside_.fetch_add(1, std::memory_order_relaxed);
    engine::finish_inside(pool_.completions(), request, result);
}

// Returns 0 or an errno.
int KernelEngine::submit_elsewhere(Request& request) noexcept {
    if (request.eventfd >= 0 && !request.eventfd_is_checked) {
        if (const int error = check_eventfd(request.eventfd); error != 0) {
            return error;
        }
    }
    const auto result = is_call(&request) ? request.call->try_at_once() : std::nullopt;
    if (result || (!is_call(&request) && request.route == Route::inside)) {
        finish_inside(request, result.value_or(-ESPIPE));
        return 0;
    }
    request.route = is_call(&request) ? Route::workers : request.route;
    auto* pointer = &request;
    const auto submission = pool_.submit({&pointer, 1});
    by_threads_.fetch_add(submission.taken, std::memory_order_relaxed);
    return submission.error;
}

std::size_t KernelEngine::reap(std::span<Completion> completions) noexcept {
    const auto count = pool_.completions().reap(completions);
    const auto by_kernel = completions.subspan(count).first(aio_.reap(completions.subspan(count)));
    const auto gone = std::ranges::remove_if(by_kernel, [this](const auto& completion) {
        return is_interrupted(completion) && asks_again(*completion.request);
    });
    const auto left = count + by_kernel.size() - gone.size();
    // If none of these completions is left, the ring may hold others.
    return left == 0 && !gone.empty() ? reap(completions) : left;
}

// After an EINTR of the file system, has a worker carry out the request from the beginning. False
// if the number belongs to another file by now, or no thread can be had.
bool KernelEngine::asks_again(Request& request) noexcept {
    const auto identity = status_of(request.fd).identity;
    if (request.tried_file == FileIdentity{} || identity != request.tried_file) {
        return false;
    }
    request.route = Route::workers;
    request.eventfd_is_checked = false;  // its number may be another file's by now, too
    auto* pointer = &request;
    const auto submission = pool_.submit({&pointer, 1});
    by_threads_.fetch_add(submission.taken, std::memory_order_relaxed);
    return submission.taken == 1;
}

// Puts kernel AIO's ticket and the queue's into one: the queue's has 32 bits.
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
        // only an event of kernel AIO can wake this thread
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
    switch (request.route) {
        case Route::inside:
            return CancelAnswer::no;
        case Route::aio:
            return aio_.post_cancellation(request);
        case Route::reactor:
        case Route::workers:
            break;
    }
    return pool_.post_cancellation(request);
}

CancelAnswer KernelEngine::post_cancellation_if_endless(Request& request) noexcept {
    const bool is_ours = request.route == Route::reactor || request.route == Route::workers;
    return is_ours && !is_call(&request) ? pool_.post_cancellation_if_endless(request)
                                         : post_cancellation(request);
}

// Only our threads answer a cancellation later; kernel AIO answers at once.
CancelAnswer KernelEngine::wait_for_answer(Request& request, std::uint32_t flight,
                                           std::chrono::nanoseconds time) noexcept {
    return pool_.wait_for_answer(request, flight, time);
}

RouteCounts KernelEngine::routes() const noexcept {
    return {.inside = inside_.load(), .threads = by_threads_.load()};
}

}  // namespace engine
