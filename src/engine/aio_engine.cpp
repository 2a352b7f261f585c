// SPDX-License-Identifier: Apache-2.0
#include "engine/aio_engine.hpp"

#include <poll.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include "engine/alignment.hpp"
#include "engine/clofork_fd.hpp"
#include "engine/kernel_order.hpp"
#include "engine/operations/operation_type.hpp"
#include "engine/queue_disposal.hpp"
#include "engine/time.hpp"

namespace engine {
namespace {

using std::chrono::nanoseconds;

// How many requests go to the kernel in one io_submit, and come from the ring in one look.
constexpr std::size_t batch_size = 128;

// With more than two requests, io_submit first collects all requests for the disk, and then sends
// them together. If the thread sleeps meanwhile, as it does for buffered reads, a kernel thread has
// to send them, and may be late.
constexpr std::size_t unplugged_batch_size = 2;

std::size_t most_at_once(std::span<const Request* const> requests) noexcept {
    const auto& first = *requests.front();
    if (first.is_direct) {
        return disk_batch_size;
    }
    const bool sleeps = requests.size() > unplugged_batch_size && first.pace == Pace::inside;
    return sleeps ? unplugged_batch_size : batch_size;
}

// Returns the address of a page that can't be written to, as long as the process lives.
io_event* unwritable_address() {
    static void* const page = mmap(nullptr, static_cast<std::size_t>(sysconf(_SC_PAGESIZE)),
                                   PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        throw std::system_error(ENOMEM, std::generic_category());
    }
    return static_cast<io_event*>(page);
}

// Whether a system call failed because a sandbox does not grant it.
bool is_refusal(int status) noexcept {
    return status == -EPERM || status == -EACCES || status == -ENOSYS;
}

// Whether anything can be submitted: a sandbox may grant io_setup(2) and no more.
int try_out(io_context_t context) noexcept {
    const int status = libaio::calls.submit(context, 0, nullptr);
    return is_refusal(status) ? status : 0;
}

// Sleeps for a moment, or until the time is up. For sandboxes that don't grant io_getevents(2):
// what is complete is in the ring all the same.
int nap(Timeout timeout) noexcept {
    constexpr nanoseconds longest = std::chrono::milliseconds(1);
    const auto length = std::min(timeout.value_or(longest), longest);
    if (length <= nanoseconds::zero()) {
        return ETIMEDOUT;
    }
    const auto time = to_timespec<timespec>(length);
    return clock_nanosleep(CLOCK_MONOTONIC, 0, &time, nullptr) == EINTR ? EINTR : 0;
}

// LINUX_AIO_USER_RING=0 is for valgrind, which must see events pass through io_getevents to know
// that the kernel wrote to a buffer.
bool may_read_ring() {
    const char* setting = std::getenv("LINUX_AIO_USER_RING");
    return setting == nullptr || std::string_view(setting) != "0";
}

void* to_pointer(std::uint64_t value) noexcept {
    return reinterpret_cast<void*>(static_cast<std::uintptr_t>(value));
}

void fill_control_block(Request& request) noexcept {
    const auto& type = type_of(request.opcode);
    auto& block = request.control_block;
    block = {};
    block.data = &request;
    block.aio_lio_opcode = static_cast<short>(type.kernel_number);
    block.aio_fildes = request.fd;
    type.fill_iocb(block, request);
    if (request.is_tried) {
        block.aio_rw_flags |= RWF_NOWAIT;
    }
    if (request.eventfd >= 0) {
        io_set_eventfd(&block, request.eventfd);
    }
}

// The kernel reports 0 for a poll that was cancelled; and for one that had to wait, events that
// nobody asked for.
std::int64_t result_of(Request& request, std::int64_t result) noexcept {
    if (request.opcode != Opcode::poll) {
        return result;
    }
    if (is_cancelled(request)) {
        return -ECANCELED;
    }
    const auto reported = request.poll_events | POLLERR | POLLHUP | POLLNVAL;
    return result < 0 ? result : result & reported;
}

Completion completion_of(void* data, std::int64_t result) noexcept {
    after_completion();
    auto* request = static_cast<Request*>(data);
    return {.request = request, .result = result_of(*request, result)};
}

}  // namespace

AioEngine::AioEngine(unsigned max_requests, AtLimit at_limit)
    : max_requests_(max_requests), unwritable_(unwritable_address()) {
    const int status = set_up(at_limit);
    if (status < 0) {
        throw std::system_error(-status, std::generic_category());
    }
    if (const int refusal = try_out(context_); refusal < 0) {
        // io_destroy(2) takes some 30 ms, and this may be a loop's thread
        destroy_soon({.context = context_, .max_requests = max_requests_, .is_reusable = false});
        throw std::system_error(-refusal, std::generic_category());
    }
    if (may_read_ring()) {
        ring_ = libaio::Ring(context_);
    }
}

AioEngine::~AioEngine() {
    // The ring in a child process is the parent's.
    if (!fork_guard_.is_inherited()) {
        release_places();
        // an event that was not taken would reach the context that takes the queue over
        const bool is_empty = ring_.usable() && submitted_.load() == seen_;
        destroy_soon({.context = context_,
                      .max_requests = max_requests_,
                      .is_reusable = is_empty && !ring_.has_unreleased()});
    }
}

// Returns 0 or a negative errno.
int AioEngine::set_up(AtLimit at_limit) noexcept {
    for (;;) {
        context_ = take_closed_queue(max_requests_);
        if (context_ != nullptr) {
            return 0;
        }
        const auto destroyed = destroyed_queues();
        const int status = set_up_queue();
        if (status != -EAGAIN || at_limit == AtLimit::fail || !wait_for_more_destroyed(destroyed)) {
            return status;
        }
    }
}

int AioEngine::set_up_queue() noexcept {
    const ForkBarrier barrier;
    const int status = libaio::calls.setup(static_cast<int>(max_requests_), &context_);
    if (status >= 0) {
        libaio::keep_from_children(context_);
    }
    return status;
}

Pace AioEngine::guess(const Request& request) noexcept { return classifier_.expect(request); }

void AioEngine::plan(std::span<Request* const> requests, std::optional<Pace> guessed) noexcept {
    DirectFiles files;
    for (auto* request : requests) {
        request->pace = guessed ? *guessed : guess(*request);
        request->is_tried = false;
        request->is_aligned_later = false;
        // The kernel is asked even if there is a guess: a guess may be about the file that had the
        // number before, and a misaligned read of several extents may be refused only when it
        // completes.
        request->is_direct = is_read(request->opcode) && files.is_direct(request->fd);
    }
}

Submission AioEngine::submit(std::span<Request* const> requests) noexcept {
    Submission submission;
    const auto most = requests.empty() ? batch_size : most_at_once(requests);
    while (submission.taken < requests.size()) {
        const auto batch =
            requests.subspan(submission.taken, std::min(most, requests.size() - submission.taken));
        std::array<iocb*, batch_size> blocks;
        std::ranges::transform(batch, blocks.begin(), [](Request* request) {
            set_cancelled(*request, false);
            fill_control_block(*request);
            return &request->control_block;
        });
        const auto released = released_.load(std::memory_order_relaxed);
        before_submission();
        const int status =
            libaio::calls.submit(context_, static_cast<long>(batch.size()), blocks.data());
        if (status == -EAGAIN && wait_for_places(released)) {
            continue;
        }
        if (status < 0) {
            submission.error = submission.taken == 0 ? -status : 0;
            return submission;
        }
        submission.taken += static_cast<std::size_t>(status);
        submitted_.fetch_add(static_cast<Ticket>(status), std::memory_order_relaxed);
        if (static_cast<std::size_t>(status) < batch.size() && !wait_for_places(released)) {
            return submission;
        }
    }
    return submission;
}

std::size_t AioEngine::reap(std::span<Completion> completions) noexcept {
    const std::lock_guard lock(mutex_);
    return ring_.usable() ? take_from_ring(completions) : take_by_system_call(completions);
}

std::size_t AioEngine::take_from_ring(std::span<Completion> completions) noexcept {
    std::array<libaio::RingEvent, batch_size> events;
    const auto wanted = std::min(completions.size(), events.size());
    std::size_t seen = 0;
    std::size_t count = 0;
    do {
        seen = ring_.peek(std::span(events).first(wanted));
        std::transform(events.begin(), events.begin() + static_cast<std::ptrdiff_t>(seen),
                       completions.begin(), [](const libaio::RingEvent& event) {
                           return completion_of(to_pointer(event.data), event.res);
                       });
        seen_ += seen;
        count = drop_wake_event(completions.first(seen));
    } while (count == 0 && seen != 0);
    release_places();
    return count;
}

// Returns how many are left.
std::size_t AioEngine::drop_wake_event(std::span<Completion> completions) noexcept {
    if (!wake_is_pending_.load(std::memory_order_relaxed)) {
        return completions.size();
    }
    const auto found = std::ranges::find(completions, &waker_, &Completion::request);
    if (found == completions.end()) {
        return completions.size();
    }
    wake_is_pending_.store(false);
    std::copy(found + 1, completions.end(), found);
    return completions.size() - 1;
}

void AioEngine::wake() noexcept {
    const auto* number = waker_number_.load();
    if (number == nullptr || wake_is_pending_.exchange(true)) {
        return;  // no thread sleeps, or the threads that sleep are being woken
    }
    waker_.opcode = Opcode::poll;
    waker_.fd = number->load();
    waker_.poll_events = POLLOUT;
    fill_control_block(waker_);
    iocb* block = &waker_.control_block;
    if (libaio::calls.submit(context_, 1, &block) == 1) {
        submitted_.fetch_add(1, std::memory_order_relaxed);
    } else {
        // The queue has no place for the poll: then events that were not taken yet fill it, and no
        // thread can sleep in io_getevents.
        wake_is_pending_.store(false);
    }
}

std::size_t AioEngine::take_by_system_call(std::span<Completion> completions) noexcept {
    if (completions.empty()) {
        return 0;
    }
    if (polled_.request != nullptr) {
        completions.front() = std::exchange(polled_, {});
        return 1;
    }
    std::array<io_event, batch_size> events;
    const auto wanted = static_cast<long>(std::min(completions.size(), events.size()));
    timespec at_once{};
    const int count = libaio::calls.getevents(context_, 0, wanted, events.data(), &at_once);
    if (count <= 0) {
        return 0;
    }
    std::transform(events.begin(), events.begin() + count, completions.begin(),
                   [](const io_event& event) {
                       return completion_of(event.data, static_cast<long>(event.res));
                   });
    seen_ += static_cast<Ticket>(count);
    return drop_wake_event(completions.first(static_cast<std::size_t>(count)));
}

void AioEngine::release_places() noexcept {
    if (sleepers_ == 0 && ring_.has_unreleased()) {
        ring_.release();
        released_.fetch_add(1, std::memory_order_relaxed);
    }
}

// Called if the kernel says that the queue is full. Waits until a thread that is about to leave
// io_getevents(2) gives places back; that thread needs no lock that the caller holds. Returns
// whether places became free.
bool AioEngine::wait_for_places(std::uint64_t released_before) noexcept {
    std::unique_lock lock(mutex_);
    if (!ring_.has_unreleased()) {
        // places may have been given back since the caller asked
        return released_.load(std::memory_order_relaxed) != released_before;
    }
    while (ring_.has_unreleased()) {
        release_places();
        lock.unlock();
        std::this_thread::yield();
        lock.lock();
    }
    return true;
}

Engine::Ticket AioEngine::ticket() noexcept {
    const std::lock_guard lock(mutex_);
    return seen_;
}

int AioEngine::wait(Ticket ticket, Timeout timeout) noexcept {
    if (!ring_.usable()) {
        return poll(ticket, timeout);
    }
    if (!fall_asleep(ticket)) {
        return 0;
    }
    const int status = sleep(timeout);
    wake_up();
    return status;
}

// False if there is no reason to sleep. Else the caller counts as a sleeper, and the ring held no
// event when it was counted.
bool AioEngine::fall_asleep(Ticket ticket) noexcept {
    std::unique_lock lock(mutex_);
    for (;;) {
        if (seen_ != ticket || ring_.has_unseen()) {
            return false;
        }
        release_places();
        if (!ring_.has_unreleased()) {
            break;
        }
        // The ring is kept from being empty for the threads that were woken and have not left
        // io_getevents yet. If this thread entered io_getevents now, it would spin there instead of
        // sleeping.
        lock.unlock();
        std::this_thread::yield();
        lock.lock();
    }
    ++sleepers_;
    return true;
}

int AioEngine::sleep(Timeout timeout) noexcept {
    timespec time{};
    if (timeout) {
        time = to_timespec<timespec>(*timeout);
    }
    const int status =
        libaio::calls.getevents(context_, 1, 1, unwritable_, timeout ? &time : nullptr);
    if (status == -EFAULT) {
        return 0;
    }
    if (is_refusal(status)) {
        return nap(timeout);
    }
    return status == 0 ? ETIMEDOUT : -status;
}

void AioEngine::wake_up() noexcept {
    const std::lock_guard lock(mutex_);
    --sleepers_;
    release_places();
}

// Waits where the ring can't be read, by taking events again and again.
int AioEngine::poll(Ticket ticket, Timeout timeout) noexcept {
    constexpr nanoseconds longest_nap = std::chrono::milliseconds(2);
    nanoseconds nap = std::chrono::microseconds(20);
    nanoseconds left = timeout.value_or(nanoseconds::max());
    for (;;) {
        {
            const std::lock_guard lock(mutex_);
            if (seen_ != ticket || polled_.request != nullptr) {
                return 0;
            }
            if (Completion found; take_by_system_call({&found, 1}) != 0) {
                polled_ = found;
                return 0;
            }
        }
        if (left <= nanoseconds::zero()) {
            return ETIMEDOUT;
        }
        nap = std::min(nap, left);
        const timespec time = to_timespec<timespec>(nap);
        if (clock_nanosleep(CLOCK_MONOTONIC, 0, &time, nullptr) == EINTR) {
            return EINTR;
        }
        left -= timeout ? nap : nanoseconds::zero();
        nap = std::min(nap * 2, longest_nap);
    }
}

CancelAnswer AioEngine::post_cancellation(Request& request) noexcept {
    // The lock is held until the flag is set, so that the completion is not reaped before.
    const std::lock_guard lock(mutex_);
    io_event unused{};
    const int status = libaio::calls.cancel(context_, &request.control_block, &unused);
    // EINPROGRESS: the kernel cancels the request, whose event comes through the ring
    if (status == -EINPROGRESS) {
        set_cancelled(request, true);
    }
    return status == -EINPROGRESS ? CancelAnswer::yes : CancelAnswer::no;
}

}  // namespace engine
