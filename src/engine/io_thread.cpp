// SPDX-License-Identifier: Apache-2.0
// The I/O thread: takes up requests, gives them to the reactor, completes them and signals
// eventfds.
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "engine/file_type.hpp"
#include "engine/interruption.hpp"
#include "engine/program_eventfd.hpp"
#include "engine/stream_transfer.hpp"
#include "engine/worker_pool.hpp"

namespace engine {

void WorkerPool::run_io_thread() noexcept {
    pthread_setname_np(pthread_self(), "aio-io");
    open_table();
    open_reactor();
    auto lock = lock_now();
    if (!is_retired_) {
        unread_.emplace(table_.wake_number());
    }
    auto idle_since = Clock::now();
    bool was_busy = false;
    for (;;) {
        if (unread_ && unread_->take_news() && reactor_error_ == 0) {
            reactor_->look_for_unread();
        }
        table_.receive();
        take_up_waiting();
        note_rights();
        take_up_inbox();
        take_up_cancellations();
        if (std::exchange(lacks_worker_, false)) {
            call_for_worker();
        }
        start_wanted_workers(lock);
        send(reactor_signals_, lock);
        send(worker_signals_, lock);  // the worker that holds them back may now be busy for long
        if (!inbox_.empty() || !cancellations_.empty() || workers_wanted_ != 0 ||
            (unread_ && unread_->has_news())) {
            continue;  // these came while the signals were sent, or this thread has kept bytes
        }
        if (in_flight_ != 0 || std::exchange(was_busy, false)) {
            idle_since = Clock::now();
            was_busy = in_flight_ != 0;
        }
        if (in_flight_ == 0 && is_done_with(idle_since)) {
            break;
        }
        const auto time = time_to_sleep(interrupt_workers());
        reactor_sleeps_ = true;
        lock.unlock();
        wait_in_reactor(time);
        lock.lock();
        reactor_sleeps_ = false;
        if (reactor_error_ == 0) {
            reactor_->handle();
        }
    }
    unread_.reset();
    reactor_.reset();
    if (is_retired_ && !table_.is_private()) {
        table_.close();
    }
    table_.forget_private_table();
    has_table_ = false;
    reactor_state_ = ReactorState::none;
    state_changed_.notify_all();
}

// Opens the private table without the lock, so that no thread waits for the lock meanwhile. Only a
// thread that has the program's table can close the receiving end there.
void WorkerPool::open_table() noexcept {
    bool is_left_alone = false;
    {
        const auto lock = lock_now();
        has_no_helper_ = start_thread(&WorkerPool::hide_far_end) != 0;
        is_left_alone = has_no_helper_ && is_retired_;
    }
    const bool is_private = !is_left_alone && table_.open_private_table();
    const auto lock = lock_now();
    table_.note_table(is_private);
    has_table_ = true;
    state_changed_.notify_all();
}

void WorkerPool::hide_far_end() noexcept {
    auto lock = lock_now();
    state_changed_.wait(lock.to_wait_with(),
                        [this] { return has_table_ || reactor_state_ == ReactorState::none; });
    if (is_retired_ && (table_.is_private() || reactor_state_ == ReactorState::none)) {
        close_table();
    } else {
        table_.hide_far_end();
    }
}

void WorkerPool::open_reactor() noexcept {
    reactor_error_ = ENOMEM;
    has_second_choice_.store(false, std::memory_order_relaxed);
    for (const auto make : {make_reactor_, second_choice_}) {
        if (make == nullptr) {
            continue;
        }
        has_second_choice_.store(make == second_choice_, std::memory_order_relaxed);
        reactor_ = make(*this, table_.wake_number());
        reactor_error_ = reactor_ != nullptr ? reactor_->open() : ENOMEM;
        if (reactor_error_ == 0) {
            return;
        }
        if (make == make_reactor_) {
            first_choice_error_ = reactor_error_;
        }
    }
}

void WorkerPool::wait_in_reactor(std::chrono::nanoseconds timeout) noexcept {
    if (reactor_error_ == 0) {
        reactor_->wait(timeout);
        return;
    }
    pollfd wake{.fd = table_.wake_number(), .events = POLLIN, .revents = 0};
    const auto time = std::chrono::ceil<std::chrono::milliseconds>(timeout).count();
    if (poll(&wake, 1, static_cast<int>(time)) > 0) {
        std::uint64_t count = 0;
        [[maybe_unused]] const auto emptied = read(wake.fd, &count, sizeof count);
    }
}

// Returns whether the request has to wait until our threads' table has room for its files. A
// request that was cancelled, or that a thread with the program's table has carried out, needs only
// the eventfd any more, and not even that if we can signal it by the program's number.
bool WorkerPool::wait_for_files(Request& request) noexcept {
    if (table_.has_files(request)) {
        return false;
    }
    const bool is_over = request.stage == Stage::over;
    const bool is_ended = is_over || (request.stage != Stage::in_worker && is_cancelled(request));
    if (is_ended && (!DescriptorTable::is_underway(request.signal_file) ||
                     reaches_program_eventfds(table_.wake_number()))) {
        return false;
    }
    request.stage = is_over ? Stage::over : Stage::without_files;
    without_files_.push_back(request);
    return true;
}

void WorkerPool::take_up_waiting() noexcept {
    RequestList waiting;
    std::swap(waiting, without_files_);
    while (auto* request = waiting.pop_front()) {
        if (wait_for_files(*request)) {
            continue;
        }
        const bool is_over = request->stage == Stage::over;
        if (request->route == Route::workers && !is_over && !is_cancelled(*request)) {
            enqueue(*request);
            call_for_worker();
        } else {
            request->stage = is_over ? Stage::over : Stage::in_inbox;
            inbox_.push_back(*request);
        }
    }
}

void WorkerPool::take_up_inbox() noexcept {
    while (auto* request = inbox_.pop_front()) {
        if (wait_for_files(*request)) {
            continue;
        }
        const bool is_over = request->stage == Stage::over;
        request->stage = Stage::in_reactor;
        const bool comes_back = std::exchange(request->is_reactors, false);
        if (comes_back && is_over) {
            give_back_bytes(*request, request->result);
        }
        if (comes_back && reactor_->take_back(*request) && is_over) {
            finish(*request, request->result);
        } else if (request->opcode == Opcode::call) {
            finish(*request, is_over ? request->result : -ECANCELED);
        } else if (const int error = refusal(*request); error != 0) {
            finish(*request, -error);
        } else {
            start_in_reactor(*request);
        }
    }
}

// Returns whether a request may hang, so that the kernel has to give it a thread of its own.
// start_in_reactor() limits how many requests of one device have such a thread.
bool WorkerPool::takes_kernel_thread(Request& request) noexcept {
    auto* file = request.file;
    if (!reactor_->has_kernel_threads()) {
        return false;
    }
    learn_kind_and_place(*file);
    if (file->kind == FileRef::Kind::stream) {
        return false;
    }
    if (file->place == FileRef::Place::remote) {
        request.waits_in_submission = true;
    }
    const bool is_buffered_write =
        is_write(request.opcode) && (fcntl(file->fd, F_GETFL) & O_DIRECT) == 0;
    return request.waits_in_submission || is_sync(request.opcode) || is_buffered_write;
}

void WorkerPool::start_in_reactor(Request& request) noexcept {
    if (takes_kernel_thread(request) && !in_kernel_.enter(request, device_of(request))) {
        request.stage = Stage::behind_device;
        return;
    }
    reactor_->start(request);
}

// Returns the errno that says why the reactor must not begin the request, or 0.
int WorkerPool::refusal(const Request& request) const noexcept {
    if (is_cancelled(request)) {
        return ECANCELED;
    }
    if (reactor_error_ != 0) {
        return reactor_error_;
    }
    if (request.client->needs_first_choice && has_second_choice()) {
        return first_choice_error_;
    }
    if (request.file->fd < 0) {
        return request.file->error;
    }
    if (!transfers_data(request.opcode)) {
        return 0;
    }
    if (!has_stream_offset(request) && is_stream(*request.file)) {
        return ESPIPE;
    }
    const bool ends = request.client->ends_streams && may_be_endless(*request.file, request.opcode);
    return ends ? ECANCELED : 0;
}

void WorkerPool::take_up_cancellations() noexcept {
    while (auto* request = cancellations_.pop_front()) {
        request->cancel_is_posted = false;
        if (request->stage != Stage::in_reactor) {
            // The request has left the reactor meanwhile.
            const auto is = is_kept(*request, request->cancel_only_stream)
                                ? CancelAnswer::no
                                : cancel_outside_reactor(*request);
            if (is != CancelAnswer::pending) {
                answer(*request, is);
            }
        } else if (request->cancel_only_stream &&
                   !may_be_endless(*request->file, request->opcode)) {
            answer(*request, CancelAnswer::no);
        } else {
            set_cancelled(*request, true);
            reactor_->cancel(*request);
        }
    }
}

// Interrupts the workers whose requests were cancelled and that are in a call that waits. Returns
// whether there are any.
bool WorkerPool::interrupt_workers() noexcept {
    bool interrupts = false;
    for (auto* worker = interruptible_.front(); worker != nullptr; worker = worker->next) {
        if (is_cancelled(*worker->request)) {
            interrupt(worker->thread);
            interrupts = true;
        }
    }
    return interrupts;
}

std::chrono::nanoseconds WorkerPool::time_to_sleep(bool interrupts) noexcept {
    if (interrupts) {
        const auto time = next_interruption_;
        next_interruption_ = std::min<std::chrono::nanoseconds>(2 * time, last_interruption);
        return time;
    }
    // Whatever the reactor has to do wakes it, and so does the last worker when it ends. The sleep
    // has a limit because other code that got hold of the eventfd might empty it.
    const bool is_needed = in_flight_ != 0 && workers_ == 0;
    return is_needed ? std::chrono::nanoseconds(std::chrono::seconds(1)) : linger;
}

// Closes the request's file before the request completes. If the program has closed the file
// meanwhile, ours is the last reference: at the completion, the locks of the file are gone, and the
// other side of a pipe or socket sees its end.
void WorkerPool::finish(Request& request, std::int64_t result) noexcept {
    give_place_back(in_kernel_, request);
    request.stage = Stage::over;
    request.result = result;
    if (request.opcode == Opcode::call) {
        finish_call(request);
        return;
    }
    auto* file = request.file;
    note_source(request);
    auto closing = Closing::at_once;
    if (DescriptorTable::is_last(file)) {
        const bool is_seekable = file->kind == FileRef::Kind::seekable;
        closing = is_seekable ? Closing::on_disk : closing_of(file->fd);
    }
    if (closing == Closing::at_once) {
        release_file(std::exchange(request.file, nullptr));
        complete(request);
    } else if (closing == Closing::on_disk && reactor_error_ == 0 &&
               reactor_->close_file(request)) {
        file->fd = -1;
        table_.note_closing();
        release_file(std::exchange(request.file, nullptr));
    } else {
        request.may_be_given_back =
            closing == Closing::waits && result > 0 && request.source.has_value();
        not_closed(request);
    }
}

void WorkerPool::not_closed(Request& request) noexcept { enqueue_over(request); }

void WorkerPool::complete(Request& request) noexcept {
    request.stage = Stage::none;
    request.closing_fd = -1;
    end_cancellation(request, request.result);
    const auto signal = take_signal(request);
    auto& client = *request.client;
    client.completions.push(request, request.result);
    end_flight(client);
    if (signal.file != nullptr) {
        add_signal(reactor_signals_, signal);
    }
}

bool WorkerPool::is_done_with(Clock::time_point idle_since) const noexcept {
    return workers_ == 0 && submitting_ == 0 && queue_.empty() &&
           (is_closing_ || Clock::now() - idle_since >= linger);
}

}  // namespace engine
