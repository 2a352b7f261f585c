// SPDX-License-Identifier: Apache-2.0
// The workers of a worker pool: how many there are, and how each carries out a request.
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "engine/blocking_call.hpp"
#include "engine/interruption.hpp"
#include "engine/mapped_memory.hpp"
#include "engine/stream_transfer.hpp"
#include "engine/worker_pool.hpp"

namespace engine {
namespace {

// How many signals of brief requests are held back at most: this takes some ten microseconds.
constexpr std::uint64_t most_held = 16;

// If a brief request takes longer than this, other requests no longer wait behind it.
constexpr std::chrono::milliseconds stall(1);

}  // namespace

void WorkerPool::leave_to_workers(Request& request) noexcept {
    give_place_back(in_kernel_, request);
    enqueue(request);
    call_for_worker();
}

// Returns the device that a request counts for. Paths whose device is not known yet count as one
// device together, until a worker has looked.
std::uint64_t WorkerPool::device_of(const Request& request) noexcept {
    if (request.path_device != 0) {
        return request.path_device;
    }
    return request.file != nullptr ? request.file->device : 0;
}

// The caller has to call call_for_worker() afterwards.
void WorkerPool::enqueue(Request& request) noexcept {
    if (!working_.enter(request, device_of(request))) {
        request.stage = Stage::behind_device;
        return;
    }
    request.stage = Stage::in_queue;
    queue_.push_back(request);
}

// Queues a request that is over, and whose file a worker has to close. While the request waits, its
// stage remains `over`.
void WorkerPool::enqueue_over(Request& request) noexcept {
    request.is_brief = false;
    if (closing_.enter(request, device_of(request))) {
        queue_.push_front(request);
        call_for_worker();
    }
}

void WorkerPool::give_place_back(DeviceQueues& devices, Request& request) noexcept {
    give_place_back(devices, std::exchange(request.device_place, DeviceQueues::none));
}

void WorkerPool::give_place_back(DeviceQueues& devices, int place) noexcept {
    auto* next = place != DeviceQueues::none ? devices.leave(place) : nullptr;
    while (next != nullptr && &devices == &in_kernel_ && refusal(*next) != 0) {
        place = std::exchange(next->device_place, DeviceQueues::none);
        give_to_reactor(*next, Stage::in_inbox);  // which refuses it
        next = devices.leave(place);
    }
    if (next == nullptr) {
        return;
    }
    if (&devices == &in_kernel_) {
        next->stage = Stage::in_reactor;
        reactor_->start(*next);
        return;
    }
    if (&devices == &closing_) {
        queue_.push_front(*next);
    } else {
        next->stage = Stage::in_queue;
        queue_.push_back(*next);
    }
    call_for_worker();
}

// Wakes or asks for a worker for the requests in the queue.
void WorkerPool::call_for_worker() noexcept {
    if (!may_take(false) && stall_is_watched_) {
        return;
    }
    const bool is_over = !queue_.empty() && queue_.front()->stage == Stage::over;
    if (!idle_.call() && workers_ + workers_wanted_ < most_workers + (is_over ? most_closers : 0)) {
        ++workers_wanted_;
    }
}

void WorkerPool::call_for_watcher() noexcept {
    if (!idle_.call() && workers_ + workers_wanted_ < most_workers) {
        ++workers_wanted_;
    }
}

// Called in a thread that has our threads' table: the threads that it starts share this table.
void WorkerPool::start_wanted_workers(Lock& lock) noexcept {
    while (workers_wanted_ != 0 && start_thread(&WorkerPool::run_worker) == 0) {
        --workers_wanted_;
        ++workers_;
    }
    lacks_worker_ = workers_wanted_ != 0 && workers_ != 0 && !queue_.empty();
    workers_wanted_ = 0;
    if (workers_ == 0) {
        enqueue_delayed();
        while (auto* request = queue_.pop_front()) {
            finish_without_worker(*request, lock);
        }
    }
}

// Called if no worker can be started. The I/O thread then has to do the work itself, and all other
// requests wait meanwhile.
void WorkerPool::finish_without_worker(Request& request, Lock& lock) noexcept {
    const auto place = std::exchange(request.device_place, DeviceQueues::none);
    if (request.stage == Stage::over) {
        finish_in_worker(request, request.result, lock);
        give_place_back(closing_, place);
        return;
    }
    request.stage = Stage::in_worker;
    if (request.opcode == Opcode::call) {
        work_on_call(request, lock);
    } else {
        Worker worker{.thread = pthread_self()};
        work_on(request, worker, lock);
    }
    give_place_back(working_, place);
}

// Brief requests take microseconds: one worker is enough for them, unless it got stuck.
bool WorkerPool::may_take(bool is_stalled) const noexcept {
    return !queue_.empty() && (!queue_.front()->is_brief || brief_ == 0 || is_stalled);
}

// Returns whether a signal may be held back until the next request is over, which may share it. The
// next request takes microseconds if it is brief and for the device that has just answered; another
// device may hang.
bool WorkerPool::may_hold_signal(int last_place) const noexcept {
    if (worker_signals_.count() >= most_held || !may_take(false)) {
        return false;
    }
    const auto& next = *queue_.front();
    return next.is_brief && next.stage != Stage::over && next.device_place == last_place;
}

// Returns false if the worker has to sleep: nothing came.
bool WorkerPool::spin_for_work(Lock& lock) noexcept {
    if (idle_.has_spinner() || is_closing_ || !worker_signals_.is_empty() || !spin_.is_worth_it()) {
        return false;
    }
    idle_.begin_spin();
    lock.unlock();
    idle_.spin(spin_);
    lock.lock();
    const bool has_found = idle_.end_spin();
    spin_.note_spin(has_found);
    return has_found || is_closing_ || !queue_.empty();
}

// Returns false if the worker has to end.
bool WorkerPool::wait_for_work(Lock& lock) noexcept {
    bool is_stalled = false;
    while (!may_take(is_stalled)) {
        if (is_closing_) {
            return false;
        }
        if (wait_for_delayed(lock)) {
            continue;
        }
        const bool is_at_rest = in_flight_ == 0;
        const auto start = Clock::now();
        if (is_at_rest && spin_for_work(lock)) {
            continue;  // or the pool is closing, which the loop looks at first
        }
        const auto* front = queue_.front();
        const bool watches = (front != nullptr && !stall_is_watched_) || signals_are_alone();
        stall_is_watched_ = stall_is_watched_ || watches;
        const auto status =
            idle_.sleep_until(lock.to_wait_with(), start + (watches ? stall : linger));
        if (is_at_rest) {
            spin_.note_idle(Clock::now() - start);
        }
        stall_is_watched_ = stall_is_watched_ && !watches;
        if (status == std::cv_status::timeout) {
            if (queue_.empty() && !watches && !delayed_are_alone() && !signals_are_alone()) {
                return false;
            }
            is_stalled = watches && front != nullptr && front == queue_.front();
            if (is_stalled && brief_ != 0) {
                // these workers may hang for long: later requests do not wait behind them
                brief_ = 0;
                ++brief_stalls_;
            }
            if (watches) {
                send(worker_signals_, lock);
                is_stalled = is_stalled && front == queue_.front();
            }
        }
    }
    return true;
}

void WorkerPool::run_worker() noexcept {
    Worker worker{.thread = pthread_self()};
    pthread_setname_np(worker.thread, "aio-worker");
    auto lock = lock_now();
    spin_.count_processors();
    table_.share_private_table();
    int last_place = DeviceQueues::none;
    for (;;) {
        const bool goes_on = may_hold_signal(last_place);
        if (!goes_on) {
            send(worker_signals_, lock);
        }
        if (!goes_on && !wait_for_work(lock)) {
            break;
        }
        auto* request = queue_.pop_front();
        const bool is_over = request->stage == Stage::over;
        auto place = std::exchange(request->device_place, DeviceQueues::none);
        request->stage = Stage::in_worker;
        const bool is_brief = request->is_brief;
        brief_ += is_brief ? 1 : 0;
        const auto start = Clock::now();
        enqueue_due(start);
        const auto stalls = brief_stalls_;
        if (!queue_.empty()) {
            call_for_worker();
            start_wanted_workers(lock);
        } else if (delayed_are_alone() || signals_are_alone()) {
            // this worker may now wait for something that only a delayed call brings about, or hang
            // while a signal is held back
            call_for_watcher();
            start_wanted_workers(lock);
        }
        if (is_over) {
            finish_in_worker(*request, request->result, lock);
        } else if (request->opcode != Opcode::call) {
            work_on(*request, worker, lock);
        } else if (counts_for_its_device(*request, place, lock)) {
            work_on_call(*request, lock);
        }
        give_place_back(is_over ? closing_ : working_, place);  // `none`: the request waits for one
        brief_ -= is_brief && stalls == brief_stalls_ ? 1 : 0;
        spin_.note_work(Clock::now() - start);
        last_place = is_over ? DeviceQueues::none : place;
    }
    --workers_;
    if (workers_ == 0) {
        wake_reactor();
    }
}

void WorkerPool::work_on(Request& request, Worker& worker, Lock& lock) noexcept {
    table_.receive();
    if (wait_for_files(request)) {
        return;
    }
    auto* file = request.file;
    const int fd = file->fd;
    if (fd < 0) {
        finish_in_worker(request, -file->error, lock);
        return;
    }
    auto kind = file->kind;
    lock.unlock();
    if (kind == FileRef::Kind::unknown) {
        kind = kind_of(fd);
    }
    const bool has_no_offsets = kind == FileRef::Kind::stream;
    if (has_no_offsets && !request.was_in_reactor && transfers_data(request.opcode)) {
        // the transfer may wait for ever, so it goes to the reactor
        lock.lock();
        file->kind = kind;
        give_stream_to_reactor(request);
        return;
    }
    std::int64_t result = 0;
    const bool may_wait = (has_no_offsets && transfers_data(request.opcode)) ||
                          (kind == FileRef::Kind::waiting && is_read(request.opcode));
    if (may_wait) {
        lock.lock();
        file->kind = kind;
        result = carry_out_interruptibly(request, worker, lock);
    } else {
        result = carry_out_with_priority(request, fd, has_no_offsets, &request.cancelled);
        lock.lock();
    }
    file->kind = kind;
    const bool can_not_seek = result == -ESPIPE && !has_no_offsets && has_stream_offset(request);
    if (can_not_seek && transfers_data(request.opcode)) {
        file->kind = FileRef::Kind::stream;  // though a regular file, as trace_pipe of tracefs
        give_stream_to_reactor(request);
        return;
    }
    request.result = result;
    note_source(request);
    if (request.is_reactors) {  // the reactor looks at the result
        give_to_reactor(request, Stage::over);
        return;
    }
    give_back_bytes(request, result);
    finish_in_worker(request, result, lock);
}

void WorkerPool::give_stream_to_reactor(Request& request) noexcept {
    request.was_in_reactor = true;
    request.is_brief = false;
    give_to_reactor(request, Stage::in_inbox);
}

// Notes the stream that a read has read, while its file is still open.
void WorkerPool::note_source(Request& request) noexcept {
    const auto* file = request.file;
    if (request.result > 0 && is_read(request.opcode) && file->kind == FileRef::Kind::stream) {
        request.source = stream_key_of(file->fd);
    }
}

// If a read of a stream was cancelled but has read bytes, these are kept for the next read. The
// next read begins only after this, so the bytes stay in order.
void WorkerPool::give_back_bytes(Request& request, std::int64_t& result) noexcept {
    if (result > 0 && request.source && is_cancelled(request)) {
        keep_for_next_read(request, result);
        result = -ECANCELED;
    }
}

// Keeps the bytes, and wakes the reactor: it may have a read that waits for them.
void WorkerPool::keep_for_next_read(const Request& request, std::int64_t result) noexcept {
    keep_unread(*request.source, request, result);
    wake_reactor();
}

// Carries out a transfer that may wait for ever. This is possible even if the stream was ready a
// moment ago: another reader may have been faster, and a terminal may have room for a part only. A
// cancellation interrupts the transfer. After the end of its context none is begun.
std::int64_t WorkerPool::carry_out_interruptibly(Request& request, Worker& worker,
                                                 Lock& lock) noexcept {
    if (is_cancelled(request) || request.client->ends_streams) {
        return -ECANCELED;
    }
    worker.request = &request;
    interruptible_.push_front(worker);
    request.worker = &worker;
    const int fd = request.file->fd;
    const bool has_no_offsets = request.file->kind == FileRef::Kind::stream;
    lock.unlock();
    const short events = is_read(request.opcode) ? POLLIN : POLLOUT;
    pollfd look{.fd = fd, .events = events, .revents = 0};
    const auto kept = has_no_offsets && is_read(request.opcode) ? take_unread(request, fd) : 0;
    std::int64_t result = kept != 0 ? kept : -EAGAIN;
    if (kept == 0 && (!request.is_reactors || poll(&look, 1, 0) != 0)) {
        if (request.memory_may_wait) {
            bring_in(request);
        }
        const Interruptible interruptible;
        result = carry_out_with_priority(request, fd, has_no_offsets, &request.cancelled);
    }
    lock.lock();
    request.worker = nullptr;
    interruptible_.remove(worker);
    return result;
}

void WorkerPool::finish_in_worker(Request& request, std::int64_t result, Lock& lock) noexcept {
    const bool may_be_held = request.is_brief;
    // The request may have read bytes of a stream. If its task is cancelled while the file is still
    // being closed, the next read gets these bytes. So it completes only after the close.
    const bool has_bytes = request.may_be_given_back;
    if (!has_bytes) {
        request.stage = Stage::none;
        end_cancellation(request, result);
    }
    std::array files{std::exchange(request.file, nullptr),
                     std::exchange(request.second_file, nullptr)};
    const int to_close = std::exchange(request.closing_fd, -1);
    const auto signal = take_signal(request);
    std::array<bool, files.size()> was_last{};
    std::size_t closing = to_close >= 0 ? 1 : 0;  // this one is noted already
    std::ranges::transform(files, was_last.begin(), [&](FileRef*& file) {
        const bool is_last = file != nullptr && table_.release(file);
        if (is_last) {
            table_.note_closing();
            ++closing;
        }
        return is_last;
    });
    auto& client = *request.client;
    // A signal that is not held back, and whose write can't wait, is sent before the lock is taken
    // again.
    const bool is_sent_first = signal.file != nullptr && !may_be_held && !has_bytes &&
                               !signal.may_block && worker_signals_.is_empty();
    lock.unlock();
    for (std::size_t i = 0; i < files.size(); ++i) {
        if (was_last[i]) {
            close_file_ref(files[i]);
        }
    }
    if (to_close >= 0) {
        ::close(to_close);
    }
    if (has_bytes) {
        lock.lock();
        request.may_be_given_back = false;
        request.stage = Stage::none;
        end_cancellation(request, request.result);
        client.completions.push(request, request.result);
    } else {
        client.completions.push(request, result);
        if (is_sent_first) {
            signal.send();
        }
        lock.lock();
    }
    end_flight(client);
    for (; closing != 0; --closing) {
        table_.note_closed();
    }
    if (!without_files_.empty()) {
        wake_reactor();  // there is room now
    }
    if (signal.file == nullptr) {
        return;
    }
    if (is_sent_first) {
        note_sent(signal);
        return;
    }
    add_signal(worker_signals_, signal);
    if (!may_be_held) {
        send(worker_signals_, lock);
    }
}

}  // namespace engine
