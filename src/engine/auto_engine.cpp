// SPDX-License-Identifier: Apache-2.0
#include "engine/auto_engine.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <functional>
#include <utility>

#include "engine/blocking_call.hpp"
#include "engine/call.hpp"
#include "engine/eventfd_check.hpp"
#include "engine/file_type.hpp"
#include "engine/first_alike.hpp"
#include "engine/reactors.hpp"
#include "engine/route_planner.hpp"
#include "engine/stream_transfer.hpp"

namespace engine {
namespace {

// For how long one submission may try requests in the submitting thread. After that, requests that
// it would have tried go to threads of ours, except those of Pace::at_once.
constexpr std::chrono::microseconds longest_tries(200);

// A system call that takes longer than this has waited, or its thread was interrupted.
constexpr std::chrono::microseconds longest_call(200);

// The clock is read once for so many bytes of tries that can't wait: reading it takes as long as a
// twentieth of a small read.
constexpr std::size_t least_timed = std::size_t{16} * 1024;

// For how long a thread waits in the kernel if there is no descriptor to wake it by.
constexpr Timeout::value_type unwakeable_wait = std::chrono::milliseconds(10);

void add(std::atomic<std::uint64_t>& count, std::uint64_t number = 1) noexcept {
    count.fetch_add(number, std::memory_order_relaxed);
}

// Whether the request signals an eventfd even if it is over inside its submission.
bool signals_inside(const Request& request) noexcept {
    return request.eventfd >= 0 && !request.signals_only_later;
}

// Kernel AIO signals a request's eventfd even if it refuses the request. So a request whose eventfd
// is the program's must not be tried.
bool may_be_tried(const Request& request) noexcept { return !signals_inside(request); }

bool may_wait_for_disk(const Request* request) noexcept {
    return request->is_direct && !wants_no_wait(*request);
}

// Whether kernel AIO refused a try because the request would have waited.
bool is_refusal(const Completion& completion) noexcept {
    return completion.request->is_tried &&
           (completion.result == -EAGAIN || completion.result == -EOPNOTSUPP);
}

// Whether the file ends at `offset`, where a read that was told not to wait has stopped. If not,
// the file goes on there, but is not cached.
bool ends_at(int fd, std::uint64_t offset) noexcept {
    char byte = 0;
    const OperationData look{
        .opcode = Opcode::read, .fd = fd, .offset = offset, .address = &byte, .length = 1};
    return carry_out(look, fd, false, RWF_NOWAIT) == 0;
}

// Data that is not cached begins at a multiple of this.
constexpr std::uint64_t sector = 512;

// Whether a transfer that was told not to wait has stopped at data that is not cached. A read that
// has stopped inside a sector has found the end of the file. A stream is not asked: it has no end
// to look for, and the look would take its next byte.
bool is_cut_short(const Request& request, std::int64_t result) noexcept {
    const auto count = static_cast<std::size_t>(result);
    if (count >= size_of(request)) {
        return false;
    }
    const auto end = request.offset + count;
    if (is_read(request.opcode) && end % sector != 0) {
        return false;
    }
    return !is_stream(request.fd) && !ends_at(request.fd, end);
}

}  // namespace

AutoEngine::AutoEngine(unsigned max_requests) : routing_(max_requests), pool_(PoolKind::uring) {
    for (auto* fds : {&slow_reads_, &slow_writes_}) {
        std::ranges::for_each(*fds, [](auto& fd) { fd.store(-1, std::memory_order_relaxed); });
    }
}

// --- planning

Pace AutoEngine::guess(const Request& request) noexcept {
    if (request.opcode == Opcode::call) {
        return Pace::perhaps;
    }
    if (!transfers_data(request.opcode)) {
        return Pace::asynchronous;
    }
    if (request.fd < 0) {
        return Pace::perhaps;
    }
    return slow_fd(request).load(std::memory_order_relaxed) == request.fd ? Pace::asynchronous
                                                                          : Pace::perhaps;
}

std::atomic<int>& AutoEngine::slow_fd(const Request& request) noexcept {
    auto& fds = is_read(request.opcode) ? slow_reads_ : slow_writes_;
    return fds[static_cast<std::size_t>(request.fd) % fds.size()];
}

void AutoEngine::note_way(const Request& request, bool is_inside) noexcept {
    if (request.fd < 0 || request.opcode == Opcode::call) {
        return;
    }
    auto& place = slow_fd(request);
    if (const int now = is_inside ? -1 : request.fd; place.load(std::memory_order_relaxed) != now) {
        place.store(now, std::memory_order_relaxed);
    }
}

void AutoEngine::plan(std::span<Request* const> requests,
                      std::optional<Pace> /*guessed*/) noexcept {
    const std::lock_guard lock(mutex_);
    const auto* opened_before = routing_.aio();
    RoutePlanner(routing_, facts_, hot_files_).plan(requests);
    if (routing_.aio() != opened_before) {
        // a thread that waits already does not know of kernel AIO's completions: it looks again
        pool_.completions().wake_waiters();
    }
}

// --- trying first

bool AutoEngine::is_worth_trying(const Request& request) noexcept {
    return hot_files_.find(request.fd) != HotFiles::Memory::none && is_read(request.opcode) &&
           request.rw_flags == 0 && request.priority == 0 && !request.memory_may_wait &&
           !request.at_position && size_of(request) <= most_inside;
}

// Whether the file behind the number can still be read without waiting. A read through the page
// cache is told not to wait, but a direct read would wait.
bool AutoEngine::is_still(HotFiles::Memory memory, int fd) noexcept {
    if (memory == HotFiles::Memory::file_system) {
        return fcntl(fd, F_GET_SEALS) >= 0;
    }
    const int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_DIRECT) == 0;
}

std::optional<std::int64_t> AutoEngine::try_at_once(
    Request& request, std::chrono::steady_clock::time_point& now) noexcept {
    const int fd = request.fd;
    const auto memory = hot_files_.find(fd);
    if (memory == HotFiles::Memory::none || !is_still(memory, fd)) {
        hot_files_.remove(fd);
        return std::nullopt;
    }
    const bool waits_never = memory == HotFiles::Memory::file_system;
    const auto result = carry_out(request, fd, false, waits_never ? 0 : RWF_NOWAIT);
    const auto time = Clock::now() - now;
    now += time;
    const bool is_part = result >= 0 && !waits_never && is_cut_short(request, result);
    if (result < 0 || is_part) {
        hot_files_.remove(fd);
        if (result == -EAGAIN || is_part) {
            const std::lock_guard lock(mutex_);
            note_slow_miss(time);
            facts_.note_miss(fd);
        }
        return std::nullopt;
    }
    add(inside_);
    request.route = Route::inside;
    return result;
}

// A miss that took long has waited for metadata. A hit is not counted: all that it needs is in
// memory, so if it took long, its thread was interrupted.
void AutoEngine::note_slow_miss(Clock::duration time) noexcept {
    if (time > longest_call) {
        facts_.note_wait();
        hot_files_.clear();
    }
}

// --- submission

Submission AutoEngine::submit(std::span<Request* const> requests) noexcept {
    const auto now = Clock::now();
    Progress progress{.requests = requests,
                      .now = now,
                      .end_of_tries = now + longest_tries,
                      .pages = MappedPages(requests.size())};
    while (progress.end < requests.size() && go_on(progress)) {
    }
    if (progress.end == requests.size()) {
        hand_over_waiting(progress);
    }
    publish_finished(progress);
    return {.taken = progress.taken, .error = progress.taken == 0 ? progress.error : 0};
}

// Goes on with the next request. False if this request, or one before it, is not taken.
bool AutoEngine::go_on(Progress& progress) noexcept {
    auto& request = *progress.requests[progress.end];
    switch (const auto attempt = try_next(progress); attempt.verdict) {
        case Attempt::Verdict::over:
            if (!hand_over_waiting(progress)) {
                return false;
            }
            finish_inside(progress, request, attempt.result);
            ++progress.taken;
            break;
        case Attempt::Verdict::elsewhere: {
            const bool fits = progress.end == progress.taken ||
                              (request.route == Route::aio) ==
                                  (progress.requests[progress.taken]->route == Route::aio);
            if (!fits && !hand_over_waiting(progress)) {
                return false;
            }
            break;
        }
        case Attempt::Verdict::refused:
            if (hand_over_waiting(progress)) {
                progress.error = static_cast<int>(attempt.result);
            }
            return false;
        case Attempt::Verdict::out_of_turn:
            return false;
    }
    ++progress.end;
    return true;
}

// Tries the next request. No request may have an effect if one before it is not taken. So requests
// that have effects are tried only after all before them were handed over. A read has no effect if
// its result is dropped, unless it is of a stream.
AutoEngine::Attempt AutoEngine::try_next(Progress& progress) noexcept {
    auto& request = *progress.requests[progress.end];
    if (request.opcode == Opcode::call) {
        return hand_over_waiting(progress) ? try_call(request)
                                           : Attempt{.verdict = Attempt::Verdict::out_of_turn};
    }
    if (request.route == Route::aio && request.is_only_tried && !may_be_tried(request)) {
        routing_.send_blocking(request, Reason::other);
        return {};
    }
    const auto chance = chance_of(progress, request);
    if (chance == Chance::none) {
        return {};
    }
    if (!is_read(request.opcode) && !hand_over_waiting(progress)) {
        return {.verdict = Attempt::Verdict::out_of_turn};
    }
    return try_inside(progress, chance);
}

// Hands over the requests that wait. False if not all of them were taken.
bool AutoEngine::hand_over_waiting(Progress& progress) noexcept {
    if (progress.end != progress.taken) {
        publish_finished(progress);  // because the submission may wait
        const auto submission =
            hand_over(progress.requests.subspan(progress.taken, progress.end - progress.taken));
        progress.taken += submission.taken;
        progress.error = submission.error;
    }
    return progress.taken == progress.end;
}

// Returns the chance that the submitting thread can carry out the request without waiting. Returns
// none for requests that go another way, and reroutes those that would miss the page cache.
//
// When the time for tries is over, only requests of Pace::at_once are carried out here.
AutoEngine::Chance AutoEngine::chance_of(Progress& progress, Request& request) noexcept {
    if (request.route != Route::inside) {
        return Chance::none;
    }
    if (request.pace == Pace::at_once) {
        return Chance::sure;
    }
    const bool is_late = progress.now >= progress.end_of_tries;
    if (request.is_in_memory || request.at_position || wants_no_wait(request)) {
        return is_late ? leave_to_workers(request) : Chance::sure;
    }
    const std::lock_guard lock(mutex_);
    auto* pages = side_by_side_.is_faster(progress.requests.size()) ? nullptr : &progress.pages;
    switch (facts_.advise(request.fd, request.offset, size_of(request), pages)) {
        case FileFacts::Advice::try_it:
            return is_late ? leave_to_workers(request) : Chance::fair;
        case FileFacts::Advice::reads_at_once:
            return is_late ? leave_to_workers(request) : Chance::sure;
        case FileFacts::Advice::misses:
            if (!is_late && readahead_probe_.is_needed(pool_.completions().size())) {
                return Chance::slight;
            }
            routing_.send_blocking(request, Reason::uncached);
            break;
        case FileFacts::Advice::unsupported:
            Routing::send_to_workers(request, Reason::unsupported, false);
            break;
    }
    return Chance::none;
}

AutoEngine::Chance AutoEngine::leave_to_workers(Request& request) noexcept {
    Routing::send_to_workers(request, Reason::large, true);
    return Chance::none;
}

// Returns the time since the last look at the clock.
AutoEngine::Clock::duration AutoEngine::look_at_clock(Progress& progress) noexcept {
    const auto now = Clock::now();
    progress.since_then = 0;
    return now - std::exchange(progress.now, now);
}

AutoEngine::Attempt AutoEngine::try_inside(Progress& progress, Chance chance) noexcept {
    auto& request = *progress.requests[progress.end];
    if (request.eventfd >= 0 && !request.eventfd_is_checked) {
        if (const int error = check_eventfd(request.eventfd); error != 0) {
            return {.verdict = Attempt::Verdict::refused, .result = error};
        }
    }
    if (request.at_position) {
        return hand_over_waiting(progress) ? try_stream(request)
                                           : Attempt{.verdict = Attempt::Verdict::out_of_turn};
    }
    const bool is_final = chance == Chance::sure;
    const auto result = carry_out(request, request.fd, false, is_final ? 0 : RWF_NOWAIT);
    progress.since_then += size_of(request);
    const bool is_timed = !is_final || progress.since_then >= least_timed;
    const auto time = is_timed ? look_at_clock(progress) : Clock::duration::zero();
    if (chance == Chance::slight) {
        readahead_probe_.note_time(time);
    }
    if (result == -EBADF) {
        return {.verdict = Attempt::Verdict::refused, .result = EBADF};
    }
    if (result == -ESPIPE && !has_stream_offset(request)) {
        return {.verdict = Attempt::Verdict::over, .result = result};
    }
    if (result == -ESPIPE) {
        return hand_over_waiting(progress) ? try_stream(request)
                                           : Attempt{.verdict = Attempt::Verdict::out_of_turn};
    }
    if (is_final) {
        return {.verdict = Attempt::Verdict::over, .result = result};
    }
    const bool misses = result == -EAGAIN || (result > 0 && is_cut_short(request, result));
    const std::lock_guard lock(mutex_);
    if (result == -EOPNOTSUPP) {
        if (request.rw_flags == 0) {
            facts_.note_unsupported(request.fd);
        }
        Routing::send_to_workers(request, Reason::unsupported, false);
        return {};
    }
    if (misses) {
        note_slow_miss(time);
        if (chance == Chance::fair) {
            facts_.note_miss(request.fd);
        }
        routing_.send_blocking(request, Reason::uncached);
        return {};
    }
    if (facts_.note_hit(request.fd)) {
        hot_files_.add(request.fd, HotFiles::Memory::page_cache);
    }
    return {.verdict = Attempt::Verdict::over, .result = result};
}

AutoEngine::Attempt AutoEngine::try_stream(Request& request) noexcept {
    const bool is_left = is_read(request.opcode) && request.stream_read == StreamRead::later;
    if ((is_read(request.opcode) && !is_left) || wants_no_wait(request)) {
        const auto result = try_stream_transfer(request, request.fd);
        // inotify and its like refuse the try, and are read in the task's step
        request.only_waits =
            leaves_bytes(request) &&
            (result == -EAGAIN || (result == -EOPNOTSUPP && is_read_in_step(request.fd)));
        if (is_left && result > 0) {
            request.source = stream_key_of(request.fd);  // its task has yet to take the bytes
        }
        const bool is_done = result != -EAGAIN && result != -EOPNOTSUPP;
        if (is_done || wants_no_wait(request)) {
            return {.verdict = Attempt::Verdict::over, .result = result};
        }
    }
    Routing::send_to_reactor(request, Reason::stream);
    return {};
}

AutoEngine::Attempt AutoEngine::try_call(Request& request) noexcept {
    if (const auto result = request.call->try_at_once()) {
        return {.verdict = Attempt::Verdict::over, .result = *result};
    }
    Routing::send_to_workers(request, Reason::other, false);
    return {};
}

// Completes the request. If no eventfd is to be signalled, the completion queue gets it together
// with others, by publish_finished().
void AutoEngine::finish_inside(Progress& progress, Request& request, std::int64_t result) noexcept {
    note_way(request, true);
    if (signals_inside(request)) {
        progress.pages.unmap();
        add(inside_);
        pool_.completions().push_and_signal(request, result);
        return;
    }
    request.result = result;
    progress.finished.push_back(request);
    ++progress.finished_count;
}

void AutoEngine::publish_finished(Progress& progress) noexcept {
    progress.pages.unmap();
    if (const auto count = std::exchange(progress.finished_count, 0); count != 0) {
        add(inside_, count);
        pool_.completions().push_all(progress.finished, count);
    }
}

// Hands over requests that all go to kernel AIO, or all to our threads.
Submission AutoEngine::hand_over(std::span<Request* const> requests) noexcept {
    for (const auto* request : requests) {
        note_way(*request, false);
    }
    return requests.front()->route == Route::aio ? submit_to_kernel(requests)
                                                 : submit_to_threads(requests);
}

// How often the calling thread has waited so far.
long waits_of_this_thread() noexcept {
    rusage usage{};
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nvcsw;
}

// Submits direct reads in small groups. After a group whose submission waited, the rest go to our
// threads.
Submission AutoEngine::submit_to_kernel(std::span<Request* const> requests) noexcept {
    Submission submission;
    while (submission.taken < requests.size()) {
        const auto left = requests.subspan(submission.taken);
        const bool is_timed = may_wait_for_disk(left.front());
        auto group = first_alike(left, may_wait_for_disk);
        if (is_timed) {
            group = group.first(std::min(group.size(), disk_batch_size));
        }
        for (auto* request : group) {
            request->is_tried = is_timed && may_be_tried(*request);
        }
        const auto waits = is_timed ? waits_of_this_thread() : 0;
        const auto begun = is_timed ? Clock::now() : Clock::time_point();
        const auto part = routing_.aio()->submit(group);
        add(by_aio_, part.taken);
        if (is_timed) {
            take_refusals();
        }
        submission.taken += part.taken;
        const bool has_waited =
            is_timed && Clock::now() - begun > longest_call && waits_of_this_thread() != waits;
        if (has_waited) {
            note_direct_waits(group);
        }
        const auto rest = requests.subspan(submission.taken);
        if ((part.error == EAGAIN || has_waited) && !rest.empty() &&
            std::ranges::all_of(rest, &Request::is_direct)) {
            const auto other = submit_direct_to_threads(rest, has_waited);
            const auto taken = submission.taken + other.taken;
            return {.taken = taken, .error = taken == 0 ? other.error : 0};
        }
        if (part.taken < group.size()) {
            submission.error = submission.taken == 0 ? part.error : 0;
            return submission;
        }
    }
    return submission;
}

// Submits direct reads for which kernel AIO has no place, or in whose submission it would wait.
Submission AutoEngine::submit_direct_to_threads(std::span<Request* const> requests,
                                                bool waits_in_submission) noexcept {
    for (auto* request : requests) {
        request->is_tried = false;
        request->waits_in_submission = waits_in_submission;
        routing_.send_blocking(*request, Reason::other);
    }
    return submit_to_threads(requests);
}

// Gives the reads that kernel AIO has refused to our threads. This must happen before submit()
// returns, because the program may close the file after that. Other completions that are found
// meanwhile go to the queue.
void AutoEngine::take_refusals() noexcept {
    std::array<Completion, 2 * disk_batch_size> completions;
    std::size_t count = 0;
    do {
        std::span<Completion> refused;
        {
            const std::lock_guard lock(reaping_);
            count = routing_.aio()->reap(completions);
            const auto all = std::span(completions).first(count);
            const auto others = std::ranges::partition(all, is_refusal);
            for (const auto& completion : others) {
                pool_.completions().push(*completion.request, completion.result);
            }
            refused = all.first(count - others.size());
        }
        for (auto& completion : refused) {
            if (!goes_another_way(completion)) {
                // a thread may have been woken by the refusal and found no completion
                pool_.completions().push_and_signal(*completion.request, completion.result);
            }
        }
    } while (count != 0);
}

void AutoEngine::note_direct_waits(std::span<Request* const> requests) noexcept {
    const std::lock_guard lock(mutex_);
    for (const auto* request : requests) {
        facts_.note_direct_wait(request->fd);
    }
}

Submission AutoEngine::submit_to_threads(std::span<Request* const> requests) noexcept {
    // Each request is counted when it is taken: when submit() returns, it may be over already.
    std::uint64_t to_workers = 0;
    std::array<std::uint64_t, std::tuple_size_v<decltype(by_reason_)>> reasons{};
    const auto count = [&](const Request& request) {
        to_workers += request.route == Route::workers ? 1 : 0;
        if (request.reason == Reason::uncached) {
            readahead_probe_.note_sent();
        } else if (request.reason == Reason::unsupported) {
            side_by_side_.note_sent();
        }
        ++reasons[static_cast<std::size_t>(request.reason)];
    };
    // `count` is passed by reference: to copy it would need memory, which may be lacking
    const auto submission = pool_.submit(requests, std::ref(count));
    add(by_workers_, to_workers);
    add(by_reactor_, submission.taken - to_workers);
    for (std::size_t i = 0; i < reasons.size(); ++i) {
        if (reasons[i] != 0) {
            add(by_reason_[i], reasons[i]);
        }
    }
    return submission;
}

std::uint64_t AutoEngine::count_of(Reason reason) const noexcept {
    return by_reason_[static_cast<std::size_t>(reason)].load(std::memory_order_relaxed);
}

// --- completion

std::size_t AutoEngine::reap(std::span<Completion> completions) noexcept {
    auto* kernel = routing_.aio();
    std::size_t count = 0;
    std::size_t by_kernel_count = 0;
    {
        const std::lock_guard lock(reaping_);
        count = pool_.completions().reap(completions);
        by_kernel_count = kernel != nullptr ? kernel->reap(completions.subspan(count)) : 0;
    }
    for (const auto& completion : completions.first(count)) {
        const auto& request = *completion.request;
        if (request.route == Route::inside) {
            continue;
        }
        if (request.reason == Reason::uncached) {
            readahead_probe_.note_returned();
        } else if (request.reason == Reason::unsupported) {
            side_by_side_.note_returned();
        }
    }
    const auto by_kernel = completions.subspan(count, by_kernel_count);
    const auto gone = std::ranges::remove_if(by_kernel, [this](auto& completion) {
        return is_refusal(completion) && goes_another_way(completion);
    });
    const auto left = count + by_kernel.size() - gone.size();
    // If none of these completions is left, the ring may hold others.
    return left == 0 && !gone.empty() ? reap(completions) : left;
}

// Hands a read that kernel AIO has refused to our threads. False if that fails: then the completion
// has the error. A read of several extents may be refused after submit() has returned. The number
// may belong to another file by then: such a read fails.
bool AutoEngine::goes_another_way(Completion& completion) noexcept {
    auto& request = *completion.request;
    Request* const single = &request;
    request.is_tried = false;
    request.eventfd_is_checked = false;  // its number may be another file's by now, too
    if (status_of(request.fd).identity != request.tried_file) {
        completion.result = -EBADF;
        return false;
    }
    {
        const std::lock_guard lock(mutex_);
        facts_.note_direct_wait(request.fd);
        request.waits_in_submission = true;
        routing_.send_blocking(request, Reason::other);
    }
    const auto submission = submit_to_threads({&single, 1});
    completion.result = -submission.error;
    return submission.taken == 1;
}

// Puts kernel AIO's ticket and the queue's into one: the queue's has 32 bits.
Engine::Ticket AutoEngine::ticket() noexcept {
    auto* kernel = routing_.aio();
    const auto of_aio = kernel != nullptr ? kernel->ticket() : 0;
    return of_aio << 32U | static_cast<std::uint32_t>(pool_.completions().ticket());
}

int AutoEngine::wait(Ticket ticket, Timeout timeout) noexcept {
    const auto of_queue = static_cast<std::uint32_t>(ticket);
    auto* kernel = routing_.aio();
    if (kernel == nullptr) {
        return pool_.completions().wait(of_queue, timeout);
    }
    const auto of_aio = kernel->ticket();
    if (static_cast<std::uint32_t>(of_aio) != ticket >> 32U) {
        return 0;
    }
    int error = 0;
    const auto* pool = pool_.join(error);
    if (pool == nullptr) {
        timeout = std::min(timeout.value_or(unwakeable_wait), unwakeable_wait);
        return kernel->wait(of_aio, timeout) == EINTR ? EINTR : 0;
    }
    kernel->set_waker(pool->wake_number());
    if (!pool_.completions().listen(of_queue, *kernel)) {
        return 0;
    }
    // If the waker's event came and was taken meanwhile, the ticket is out of date, and wait()
    // returns at once.
    const int status = kernel->wait(of_aio, timeout);
    pool_.completions().stop_listening();
    return status;
}

CancelAnswer AutoEngine::post_cancellation(Request& request) noexcept {
    switch (request.route) {
        case Route::inside:
            return CancelAnswer::no;
        case Route::aio:
            return routing_.aio()->post_cancellation(request);
        case Route::reactor:
        case Route::workers:
            break;
    }
    return pool_.post_cancellation(request);
}

CancelAnswer AutoEngine::post_cancellation_if_endless(Request& request) noexcept {
    const bool is_ours = request.route == Route::reactor || request.route == Route::workers;
    return is_ours ? pool_.post_cancellation_if_endless(request) : post_cancellation(request);
}

// Only our threads answer a cancellation later; kernel AIO answers at once.
CancelAnswer AutoEngine::wait_for_answer(Request& request, std::uint32_t flight,
                                         std::chrono::nanoseconds time) noexcept {
    return pool_.wait_for_answer(request, flight, time);
}

RouteCounts AutoEngine::routes() const noexcept {
    const auto reactor = by_reactor_.load();
    const auto* pool = pool_.get();
    const bool is_uring =
        uring_reactor() != nullptr && pool != nullptr && !pool->has_second_choice();
    return {.inside = inside_.load(),
            .aio = by_aio_.load(),
            .uring = is_uring ? reactor : 0,
            .threads = by_workers_.load() + (is_uring ? 0 : reactor),
            .uncached = count_of(Reason::uncached),
            .unsupported = count_of(Reason::unsupported),
            .large = count_of(Reason::large),
            .write = count_of(Reason::write),
            .stream = count_of(Reason::stream),
            .other = count_of(Reason::other)};
}

}  // namespace engine
