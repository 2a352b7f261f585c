// SPDX-License-Identifier: Apache-2.0
#include "engine/uring_reactor.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <iterator>
#include <thread>
#include <utility>

#include "engine/blocking_call.hpp"
#include "engine/descriptor_table.hpp"
#include "engine/operations/operation_type.hpp"
#include "engine/time.hpp"
#include "engine/uring_calls.hpp"

namespace engine {
namespace {

constexpr unsigned entries = 256;
constexpr unsigned completions = 4096;

// How many threads the kernel may have for requests that it can carry out only by waiting.
constexpr unsigned most_kernel_workers = 128;

// The kernel destroys a closed ring later, within some ten milliseconds. Until then its memory
// counts against the user's limit of locked memory (RLIMIT_MEMLOCK).
constexpr std::chrono::milliseconds patience_for_memory{250};

// If the limit is lower than this, there is no room for a ring, now or later.
constexpr rlim_t memory_of_ring =
    entries * sizeof(io_uring_sqe) + completions * sizeof(io_uring_cqe);

// Whether the limit is too low for a ring. This does not tell whether the limit binds this user.
bool is_limit_too_low() noexcept {
    rlimit limit{};
    return getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur < memory_of_ring;
}

// The user data of completions: the address of a request, with a mark if the close of its file is
// over; the place of a cancellation, with a mark; or one of these numbers.
constexpr std::uint64_t nobody = 0;
constexpr std::uint64_t to_wake = 2;
constexpr std::uint64_t to_streams = 4;
constexpr std::uint64_t cancellation_mark = 1;
constexpr unsigned cancellation_shift = 1;
constexpr std::uint64_t closing_mark = 2;
static_assert(alignof(Request) > (cancellation_mark | closing_mark));

std::uint64_t name_of(const void* object) noexcept {
    return reinterpret_cast<std::uintptr_t>(object);
}

// Whether closing the file may take long. The last close frees the blocks of a file without a name,
// and may begin to write one that was written to. It is not the last one if the program's number is
// still the file's. (The kernel itself knows of file systems that ask a server.)
bool takes_long_to_close(const FileRef& file) noexcept {
    struct statx status{};
    const bool is_long =
        (fcntl(file.fd, F_GETFL) & O_ACCMODE) != O_RDONLY ||
        statx(file.fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_NLINK, &status) != 0 ||
        status.stx_nlink == 0;
    return is_long && !is_still_open(file);
}

// Whether anything can be submitted: a sandbox may grant io_uring_setup(2) and no more.
int try_out(io_uring* ring) noexcept {
    auto* entry = io_uring_get_sqe(ring);
    io_uring_prep_nop(entry);
    entry->user_data = nobody;
    const int status = uring_calls.submit(ring);
    if (status != -EPERM && status != -EACCES && status != -ENOSYS) {
        return 0;
    }
    io_uring_queue_exit(ring);
    return status;
}

int set_up(io_uring* ring, unsigned entry_count, unsigned completion_count) noexcept {
    constexpr std::array choices{
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
        IORING_SETUP_COOP_TASKRUN,
        0U,
    };
    int status = -EINVAL;
    for (const auto flags : choices) {
        io_uring_params parameters{};
        parameters.flags = flags | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
        parameters.cq_entries = completion_count;
        status = uring_calls.queue_init_params(entry_count, ring, &parameters);
        if (status != -EINVAL) {
            break;
        }
    }
    return status < 0 ? status : try_out(ring);
}

}  // namespace

UringReactor::~UringReactor() {
    if (ring_fd_.is_open()) {
        const ForkBarrier barrier;
        ring_fd_.release(barrier);
        io_uring_queue_exit(&ring_);
    }
}

int UringReactor::probe() noexcept {
    if (!may_have_kernel_workers()) {
        return EUSERS;
    }
    // a ring of the size that is used tells whether the limit binds this user
    const bool is_tight = is_limit_too_low();
    const ForkBarrier barrier;
    io_uring ring{};
    const int status = set_up(&ring, is_tight ? entries : 2, is_tight ? completions : 4);
    if (status < 0) {
        // there is no memory only because there are too many rings just now: open() waits for it
        return status == -ENOMEM && !is_tight ? 0 : -status;
    }
    // the newest feature that is used: to wait with a time-out (Linux 5.11)
    const bool does_all = (ring.features & IORING_FEAT_EXT_ARG) != 0;
    io_uring_queue_exit(&ring);
    return does_all ? 0 : ENOSYS;
}

int UringReactor::open_ring() noexcept {
    if (!may_have_kernel_workers()) {
        return EUSERS;
    }
    const ForkBarrier barrier;
    if (const int status = set_up(&ring_, entries, completions); status < 0) {
        return -status;
    }
    ring_fd_.adopt(ring_.ring_fd, barrier);
    // A child process that had the ring mapped would keep it alive, and could write to it.
    io_uring_ring_dontfork(&ring_);
    std::array<unsigned, 2> most{most_kernel_workers, 0};
    io_uring_register_iowq_max_workers(&ring_, most.data());
    return 0;
}

int UringReactor::open() noexcept {
    // Halved after each wait in vain: other programs of the user may keep the memory for long.
    static std::atomic<std::chrono::milliseconds> patience = patience_for_memory;
    const auto longest = is_limit_too_low() ? std::chrono::milliseconds(0) : patience.load();
    const auto deadline = std::chrono::steady_clock::now() + longest;
    int error = open_ring();
    while (error == ENOMEM && std::chrono::steady_clock::now() < deadline) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        error = open_ring();
    }
    patience.store(error == ENOMEM ? longest / 2 : patience_for_memory);
    return error != 0 ? error : streams_.open();
}

// Null if the ring has no free entry now.
io_uring_sqe* UringReactor::get_entry() noexcept {
    auto* entry = io_uring_get_sqe(&ring_);
    if (entry == nullptr) {
        uring_calls.submit(&ring_);
        entry = io_uring_get_sqe(&ring_);
        is_full_ = is_full_ || entry == nullptr;
    }
    return entry;
}

void UringReactor::prepare(io_uring_sqe* entry, const Request& request) noexcept {
    if (request.opcode == Opcode::poll && request.poll_proxy >= 0) {
        io_uring_prep_poll_add(entry, request.poll_proxy, POLLIN);
    } else {
        type_of(request.opcode).fill_entry(*entry, request, request.file->fd);
    }
    if (request.waits_in_submission) {
        entry->flags |= IOSQE_ASYNC;
    }
    entry->user_data = name_of(&request);
}

void UringReactor::start(Request& request) noexcept {
    if (transfers_data(request.opcode) && is_stream(*request.file)) {
        has_streams_ = true;
        streams_.start(request);
        return;
    }
    request.poll_proxy = -1;
    request.cancel_is_waiting = false;
    request.cancel_place = -1;
    waiting_.push_back(request);
}

// These functions put entries into the ring. The last entries may not be submitted yet when a
// function returns. False if the ring has no entries for all.

bool UringReactor::start_waiting() noexcept {
    for (std::size_t count = 0; !waiting_.empty(); ++count) {
        if (count == disk_batch_size) {
            uring_calls.submit(&ring_);
            count = 0;
        }
        auto* entry = get_entry();
        if (entry == nullptr) {
            return false;
        }
        prepare(entry, *waiting_.pop_front());
    }
    return true;
}

// Has the kernel close the files, in a thread of its own if that may take long.
bool UringReactor::close_waiting() noexcept {
    while (!closing_.empty()) {
        auto* entry = get_entry();
        if (entry == nullptr) {
            return false;
        }
        auto* request = closing_.pop_front();
        io_uring_prep_close(entry, request->closing_fd);
        if (request->closing_takes_long) {
            entry->flags |= IOSQE_ASYNC;
        }
        entry->user_data = name_of(request) | closing_mark;
    }
    return true;
}

bool UringReactor::cancel_waiting() noexcept {
    while (!cancelling_.empty()) {
        std::size_t place = 0;
        while (place < places_.size() && places_.test(place)) {
            ++place;
        }
        auto* entry = place < places_.size() ? get_entry() : nullptr;
        if (entry == nullptr) {
            return false;
        }
        auto* request = cancelling_.pop_front();
        request->cancel_is_waiting = false;
        request->cancel_place = static_cast<int>(place);
        cancelled_[place] = request;
        places_.set(place);
        io_uring_prep_rw(IORING_OP_ASYNC_CANCEL, entry, -1, request, 0, 0);
        entry->user_data = place << cancellation_shift | cancellation_mark;
    }
    return true;
}

void UringReactor::cancel(Request& request) noexcept {
    if (transfers_data(request.opcode) && is_stream(*request.file)) {
        streams_.cancel(request);
    } else if (waiting_.has(request)) {
        waiting_.remove(request);
        end(request, -ECANCELED);
    } else if (request.cancel_place < 0 && !request.cancel_is_waiting) {
        request.cancel_is_waiting = true;
        cancelling_.push_back(request);
    }
}

void UringReactor::listen() noexcept {
    if (is_listening_) {
        return;
    }
    if (auto* entry = get_entry(); entry != nullptr) {
        io_uring_prep_read(entry, wake_fd_, &wakes_, sizeof wakes_, 0);
        entry->user_data = to_wake;
        is_listening_ = true;
    }
}

// Has the ring poll the EpollReactor, once that has had requests. False if the ring has no entry.
bool UringReactor::listen_to_streams() noexcept {
    if (is_listening_to_streams_ || !has_streams_) {
        return true;
    }
    auto* entry = get_entry();
    if (entry == nullptr) {
        return false;  // not covered: a full ring, of which the kernel takes nothing just then
    }
    io_uring_prep_poll_add(entry, streams_.fd(), POLLIN);
    entry->user_data = to_streams;
    is_listening_to_streams_ = true;
    return true;
}

void UringReactor::wait(std::chrono::nanoseconds timeout) noexcept {
    // If the ring has no entry now, it will have one soon.
    constexpr std::chrono::microseconds soon(100);
    if (has_streams_) {
        streams_.go_on(!is_listening_to_streams_);
    }
    is_full_ = false;
    const bool is_all_begun =
        start_waiting() && close_waiting() && cancel_waiting() && listen_to_streams();
    listen();
    auto time = to_timespec<__kernel_timespec>(is_listening_ && is_all_begun ? timeout : soon);
    if (streams_.has_news()) {
        time = {};
    }
    io_uring_cqe* completion = nullptr;
    const int status = uring_calls.submit_and_wait_timeout(&ring_, &completion, 1, &time, nullptr);
    if (status < 0 && status != -ETIME && status != -EINTR && io_uring_cq_ready(&ring_) == 0) {
        // The kernel lacks memory, or room for completions because we have not taken some: the
        // entries stay in the queue.
        const timespec pause{.tv_sec = 0, .tv_nsec = std::chrono::nanoseconds(soon).count()};
        nanosleep(&pause, nullptr);
    }
}

void UringReactor::handle() noexcept {
    streams_.handle();
    if (is_full_) {
        give_up_waiting();
    }
    for (;;) {
        io_uring_cqe* completion = nullptr;
        if (io_uring_peek_cqe(&ring_, &completion) != 0) {
            return;
        }
        const io_uring_cqe copy = *completion;
        io_uring_cqe_seen(&ring_, completion);
        handle(copy);
    }
}

// Called if the ring has no entries. Closes, and threads that wait for the answer to a
// cancellation, must not wait until it has: files are left to workers, and the answer is no.
void UringReactor::give_up_waiting() noexcept {
    while (auto* request = closing_.pop_front()) {
        owner_.not_closed(*request);
    }
    while (auto* request = cancelling_.pop_front()) {
        request->cancel_is_waiting = false;
        owner_.not_cancelled(*request);
    }
}

void UringReactor::handle(const io_uring_cqe& completion) noexcept {
    const auto name = completion.user_data;
    if (name == nobody) {
        return;
    }
    if (name == to_wake) {
        is_listening_ = false;
        return;
    }
    if (name == to_streams) {
        is_listening_to_streams_ = false;
        return;
    }
    if ((name & cancellation_mark) != 0) {
        handle_cancellation(static_cast<std::size_t>(name >> cancellation_shift), completion.res);
        return;
    }
    auto& request = *reinterpret_cast<Request*>(static_cast<std::uintptr_t>(name & ~closing_mark));
    if ((name & closing_mark) != 0) {
        // ECANCELED: the kernel could start no thread of its own for it, and has closed nothing
        if (completion.res == -ECANCELED) {
            owner_.not_closed(request);
        } else {
            owner_.closed(request);
        }
    } else {
        handle(request, completion.res);
    }
}

// Called when a request is over. The kernel's answer to its cancellation may come later, when the
// request does not exist any more.
void UringReactor::end_cancellation(Request& request) noexcept {
    if (std::exchange(request.cancel_is_waiting, false)) {
        cancelling_.remove(request);
    }
    if (const int place = std::exchange(request.cancel_place, -1); place >= 0) {
        cancelled_[static_cast<std::size_t>(place)] = nullptr;
    }
}

void UringReactor::handle_cancellation(std::size_t place, std::int64_t result) noexcept {
    places_.reset(place);
    auto* request = std::exchange(cancelled_[place], nullptr);
    if (request == nullptr) {
        return;
    }
    request->cancel_place = -1;
    if (result != 0) {
        owner_.not_cancelled(*request);
    }
}

void UringReactor::handle(Request& request, std::int64_t result) noexcept {
    end_cancellation(request);
    // The kernel could start no thread of its own for the request.
    const bool lacks_thread = result == -ECANCELED && !is_cancelled(request);
    if (request.opcode == Opcode::poll) {
        end_poll(request, lacks_thread ? -EUSERS : result);
    } else if (lacks_thread) {
        owner_.leave_to_workers(request);
    } else if (result != -EINTR) {
        owner_.finish(request, result);
    } else if (is_cancelled(request)) {
        owner_.finish(request, -ECANCELED);
    } else {
        waiting_.push_back(request);  // a file system's own: as in any call, it is asked again
    }
}

// io_uring may report an event alone that was not asked for: the end of the other side (POLLRDHUP).
// Another poll by io_uring would report the same at once, so epoll(7) waits for the other events.
void UringReactor::end_poll(Request& request, std::int64_t result) noexcept {
    const auto reported = request.poll_events | POLLERR | POLLHUP | POLLNVAL;
    if (result > 0 && request.poll_proxy >= 0) {
        epoll_event event{};
        result = epoll_wait(request.poll_proxy, &event, 1, 0) == 1 ? event.events & reported : 0;
    } else if (result > 0) {
        result &= reported;
        const int error = result == 0 ? open_proxy(request) : 0;
        result = error != 0 ? -error : result;
    }
    if (result == 0 && !is_cancelled(request)) {
        waiting_.push_back(request);
    } else {
        end(request, result == 0 ? -ECANCELED : result);
    }
}

// Returns 0 or an errno.
int UringReactor::open_proxy(Request& request) noexcept {
    request.poll_proxy = epoll_create1(EPOLL_CLOEXEC);
    epoll_event event{.events = request.poll_events, .data = {.ptr = nullptr}};
    const bool is_open = request.poll_proxy >= 0 && epoll_ctl(request.poll_proxy, EPOLL_CTL_ADD,
                                                              request.file->fd, &event) == 0;
    return is_open ? 0 : errno;
}

void UringReactor::end(Request& request, std::int64_t result) noexcept {
    if (request.opcode == Opcode::poll && request.poll_proxy >= 0) {
        ::close(request.poll_proxy);
    }
    owner_.finish(request, result);
}

bool UringReactor::close_file(Request& request) noexcept {
    request.closing_fd = request.file->fd;
    request.closing_takes_long = takes_long_to_close(*request.file);
    closing_.push_back(request);
    return true;
}

}  // namespace engine
