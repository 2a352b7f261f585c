// SPDX-License-Identifier: Apache-2.0
#include "engine/worker_pool.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <new>
#include <system_error>
#include <utility>

#include "engine/brief_lock.hpp"
#include "engine/detached_thread.hpp"
#include "engine/interruption.hpp"

namespace engine {
namespace {

constexpr std::size_t stack_size = std::size_t{512} * 1024;

}  // namespace

WorkerPool::WorkerPool(MakeReactor make_reactor, MakeReactor second_choice)
    : make_reactor_(make_reactor), second_choice_(second_choice) {
    if (!table_.is_open()) {
        throw std::system_error(EMFILE, std::generic_category());
    }
}

// An eventfd for which there was no room in our threads' table is signalled by the program's
// number. Else nobody would learn that the request is over.
Signal WorkerPool::take_signal(Request& request) noexcept {
    auto* file = std::exchange(request.signal_file, nullptr);
    signals_taken_ += file != nullptr ? 1 : 0;
    const bool is_lost = file != nullptr && file->fd < 0;
    return {.file = file,
            .count = 1,
            .may_block = request.eventfd_may_block,
            .number = is_lost ? request.eventfd : -1};
}

void WorkerPool::add_signal(SignalBatch& batch, const Signal& signal) noexcept {
    switch (batch.add(signal)) {
        case SignalBatch::Added::alone:
            return;
        case SignalBatch::Added::to_another:
            release_file(signal.file);
            return;
        case SignalBatch::Added::no:
            signal.send();
            note_sent(signal);
    }
}

// Sends the signals without the lock.
void WorkerPool::send(SignalBatch& batch, Lock& lock) noexcept {
    if (batch.is_empty()) {
        return;
    }
    const auto taken = std::move(batch);
    lock.unlock();
    for (const auto& signal : taken.signals()) {
        signal.send();
    }
    lock.lock();
    for (const auto& signal : taken.signals()) {
        note_sent(signal);
    }
}

void WorkerPool::note_sent(const Signal& signal) noexcept {
    signals_sent_ += signal.count;
    if (signal_waiters_ != 0) {
        state_changed_.notify_all();
    }
    release_file(signal.file);
}

void WorkerPool::wait_for_signals() noexcept {
    auto lock = lock_now();
    const auto taken = signals_taken_;
    ++signal_waiters_;
    state_changed_.wait_for(lock.to_wait_with(), std::chrono::seconds(1),
                            [&] { return signals_sent_ >= taken; });
    --signal_waiters_;
}

// Returns the list that the request is in while it waits for a thread.
RequestList& WorkerPool::list_of(Stage stage) noexcept {
    if (stage == Stage::in_inbox) {
        return inbox_;
    }
    return stage == Stage::delayed ? delayed_ : queue_;
}

void WorkerPool::release_file(FileRef* file) noexcept {
    if (file != nullptr && table_.release(file)) {
        close_file_ref(file);
    }
}

// --- submission

std::size_t WorkerPool::count_open(std::span<Request* const> requests) noexcept {
    const auto is_closed = [](int number) { return fcntl(number, F_GETFD) < 0; };
    const auto found = std::ranges::find_if(requests, [&](const Request* request) {
        return (DescriptorTable::has_first_file(*request) && is_closed(request->fd)) ||
               (DescriptorTable::has_second_file(*request) && is_closed(request->second_fd)) ||
               (request->eventfd >= 0 && is_closed(request->eventfd));
    });
    return static_cast<std::size_t>(found - requests.begin());
}

WorkerPool::Lock WorkerPool::lock_soon() noexcept { return {lock_briefly(mutex_), idle_}; }

Submission WorkerPool::submit(PoolClient& client, std::span<Request* const> requests,
                              const std::function<void(const Request&)>& note) noexcept {
    const auto rights = rights_for(requests);
    auto lock = lock_soon();
    Submission submission;
    ++submitting_;
    if (reactor_state_ == ReactorState::none) {
        const auto count = count_open(requests);
        submission.error = count == 0 && !requests.empty() ? EBADF : 0;
        requests = requests.first(count);
    }
    if (submission.error == 0) {
        submission.error = start_io_thread();
    }
    if (submission.error == 0) {
        submission.taken = hold(requests, lock, submission.error);
    }
    --submitting_;
    in_flight_ += submission.taken;
    client.in_flight += submission.taken;
    const bool is_allowed_the_same = rights && rights->allow_the_same(rights_);
    for (auto* request : requests.first(submission.taken)) {
        request->client = &client;
        request->cancelled = false;
        request->closing_fd = -1;
        request->source.reset();
        request->may_be_given_back = false;
        request->cancel_answer = CancelAnswer::no;
        ++request->flight;
        request->is_reactors = false;
        request->device_queues = nullptr;
        request->device_place = DeviceQueues::none;
        request->path_device = 0;
        request->was_delayed = false;
        request->was_in_reactor = request->route == Route::reactor;
        if (note) {
            note(*request);
        }
        if (is_for_program_thread(*request, is_allowed_the_same)) {
            give_to_program_thread(*request);
        } else if (request->route == Route::workers) {
            enqueue(*request);
        } else {
            request->stage = Stage::in_inbox;
            inbox_.push_back(*request);
        }
    }
    if (!queue_.empty()) {
        call_for_worker();
    }
    submission.error = submission.taken == 0 ? submission.error : 0;
    const bool has_news = !inbox_.empty() || workers_wanted_ != 0;
    if (has_news && std::exchange(reactor_sleeps_, false)) {
        // The I/O thread needs the lock at once. The number stays open meanwhile: the client has
        // not left.
        lock.unlock();
        signal_eventfd(table_.wake_number().load());
    }
    return submission;
}

std::size_t WorkerPool::hold(std::span<Request* const> requests, Lock& lock, int& error) noexcept {
    std::size_t taken = 0;
    for (;;) {
        taken += table_.hold(requests.subspan(taken), error);
        if (error != EAGAIN || taken == requests.size() || table_.is_table_full()) {
            return taken;
        }
        // The socket is full until the I/O thread receives, which it does soon: it never blocks.
        wake_reactor();
        lock.unlock();
        sched_yield();
        lock.lock();
    }
}

void WorkerPool::give_to_reactor(Request& request, Stage stage) noexcept {
    request.stage = stage;
    inbox_.push_back(request);
    wake_reactor();
}

void WorkerPool::wake_reactor() noexcept {
    if (std::exchange(reactor_sleeps_, false)) {
        signal_eventfd(table_.wake_number().load());
    }
}

// --- cancellation

CancelAnswer WorkerPool::post_cancellation(Request& request) noexcept {
    const auto lock = lock_soon();
    return post(request, false);
}

CancelAnswer WorkerPool::post_cancellation_if_endless(PoolClient& client,
                                                      Request& request) noexcept {
    const auto lock = lock_soon();
    if (request.opcode == Opcode::poll) {
        return post(request, false);
    }
    client.ends_streams = true;
    if (request.opcode == Opcode::call) {
        return cancel_waiting_call(request);
    }
    return transfers_data(request.opcode) ? post(request, true) : CancelAnswer::no;
}

// Whether a request that is not in the reactor is carried out although its context is closed.
bool WorkerPool::is_kept(const Request& request, bool only_if_stream) noexcept {
    return only_if_stream && request.worker == nullptr &&
           !(request.was_in_reactor && request.stage == Stage::in_queue);
}

CancelAnswer WorkerPool::post(Request& request, bool only_if_stream) noexcept {
    if (request.stage != Stage::in_reactor) {
        return is_kept(request, only_if_stream) ? CancelAnswer::no
                                                : cancel_outside_reactor(request);
    }
    if (request.cancel_answer == CancelAnswer::yes) {
        return CancelAnswer::yes;
    }
    if (!only_if_stream) {
        set_cancelled(request, true);  // from now on the request takes nothing from a stream
    }
    request.cancel_only_stream =
        only_if_stream && (!request.cancel_is_posted || request.cancel_only_stream);
    request.cancel_answer = CancelAnswer::pending;
    if (!std::exchange(request.cancel_is_posted, true)) {
        cancellations_.push_back(request);
    }
    wake_reactor();
    return CancelAnswer::pending;
}

CancelAnswer WorkerPool::cancel_outside_reactor(Request& request) noexcept {
    if (std::exchange(request.may_be_given_back, false)) {
        // The request is over, and only its file is still to be closed. The next read may come
        // before that, so its bytes are kept now.
        keep_for_next_read(request, request.result);
        request.result = -ECANCELED;
        return CancelAnswer::yes;
    }
    switch (request.stage) {
        case Stage::in_inbox:
        case Stage::in_queue:
        case Stage::delayed:
            list_of(request.stage).remove(request);
            if (request.stage == Stage::in_queue) {
                give_place_back(working_, request);
            }
            set_cancelled(request, true);
            // Only our threads can close its files, which are in their table.
            give_to_reactor(request, Stage::in_inbox);
            return CancelAnswer::yes;
        case Stage::behind_device:
            request.device_queues->remove(request);
            set_cancelled(request, true);
            give_to_reactor(request, Stage::in_inbox);
            return CancelAnswer::yes;
        case Stage::without_files:
            set_cancelled(request, true);
            wake_reactor();  // which ends it
            return CancelAnswer::yes;
        case Stage::in_worker:
        case Stage::in_program_thread:
            set_cancelled(request, true);  // counts if the request turns out to wait for a stream
            if (request.worker == nullptr) {
                return CancelAnswer::no;
            }
            request.cancel_answer = CancelAnswer::pending;
            interrupt(request.worker->thread);
            next_interruption_ = first_interruption;
            wake_reactor();  // the I/O thread goes on interrupting the worker
            return CancelAnswer::pending;
        case Stage::over:
            set_cancelled(request, true);
            if (!request.is_reactors) {
                return CancelAnswer::no;
            }
            // The reactor answers: bytes that were read of a stream are given back first.
            request.cancel_answer = CancelAnswer::pending;
            return CancelAnswer::pending;
        default:
            return CancelAnswer::no;
    }
}

void WorkerPool::answer(Request& request, CancelAnswer answer) noexcept {
    if (request.cancel_answer == CancelAnswer::pending) {
        request.cancel_answer = answer;
        state_changed_.notify_all();
    }
}

// The request is over: threads that wait for the answer to its cancellation get it.
void WorkerPool::end_cancellation(Request& request, std::int64_t result) noexcept {
    if (std::exchange(request.cancel_is_posted, false)) {
        cancellations_.remove(request);
    }
    answer(request, result == -ECANCELED ? CancelAnswer::yes : CancelAnswer::no);
}

CancelAnswer WorkerPool::wait_for_answer(Request& request, std::uint32_t flight,
                                         std::chrono::nanoseconds time) noexcept {
    auto lock = lock_now();
    const auto is_answered = [&] {
        return request.flight != flight || request.cancel_answer != CancelAnswer::pending;
    };
    state_changed_.wait_for(lock.to_wait_with(), time, is_answered);
    return request.flight == flight ? request.cancel_answer : CancelAnswer::no;
}

// --- the end

// Called with the lock held, after a thread of the pool has posted a completion of the client: one
// request less is in flight.
void WorkerPool::end_flight(PoolClient& client) noexcept {
    --in_flight_;
    if (--client.in_flight == 0 && client.has_left) {
        delete &client;
    }
}

void WorkerPool::leave(std::unique_ptr<PoolClient> client) noexcept {
    const auto lock = lock_soon();
    if (client->in_flight != 0) {
        client->has_left = true;
        [[maybe_unused]] const auto* left_to_the_last_request = client.release();
    }
}

// Which thread closes the pool's numbers in the program's table depends on our threads' table: if
// they have their own, the calling thread does; if they have not, the I/O thread does; if that is
// not decided yet, the helper thread does.
void WorkerPool::retire() noexcept {
    auto lock = lock_soon();
    is_closing_ = true;
    is_retired_ = true;
    idle_.wake_all();
    wake_reactor();
    const auto is_settled = [this] { return has_table_ || reactor_state_ == ReactorState::none; };
    if (!is_settled() && !has_no_helper_) {
        return;
    }
    // waits only if no helper thread could be started
    state_changed_.wait(lock.to_wait_with(), is_settled);
    if (table_.is_private() || reactor_state_ == ReactorState::none) {
        close_table();
    }
}

// Called when no thread may write to these numbers any more.
void WorkerPool::close_table() noexcept {
    unread_.reset();
    table_.close();
}

void WorkerPool::close() noexcept {
    auto lock = lock_now();
    is_closing_ = true;
    idle_.wake_all();
    wake_reactor();
    state_changed_.wait(lock.to_wait_with(),
                        [this] { return reactor_state_ == ReactorState::none; });
    table_.close();
}

void WorkerPool::abandon() noexcept { kept_ = weak_from_this().lock(); }

// --- threads

// Each thread runs with a reference of its own to the pool: the last one to end frees it. Returns 0
// or an errno.
int WorkerPool::start_thread(void (WorkerPool::*run)() noexcept) noexcept {
    struct Start {
        std::shared_ptr<WorkerPool> pool;
        void (WorkerPool::*run)() noexcept;
    };
    auto start = std::unique_ptr<Start>(new (std::nothrow) Start{weak_from_this().lock(), run});
    if (start == nullptr) {
        return ENOMEM;
    }
    const int error = start_detached_thread(
        stack_size,
        [](void* argument) -> void* {
            const auto begun = std::unique_ptr<Start>(static_cast<Start*>(argument));
            std::invoke(begun->run, *begun->pool);
            return nullptr;
        },
        start.get());
    if (error == 0) {
        [[maybe_unused]] const auto* handed_over = start.release();
    }
    return error == 0 ? 0 : no_thread;
}

// Starts the I/O thread, unless it runs. Returns 0 or an errno. Does not wait until the thread has
// a descriptor table: requests that are sent meanwhile wait in the socket.
int WorkerPool::start_io_thread() noexcept {
    if (reactor_state_ == ReactorState::running) {
        if (has_table_) {
            table_.hide_far_end();
        }
        return 0;
    }
    has_no_helper_ = false;
    if (const int error = table_.open_sockets(); error != 0) {
        return error;
    }
    if (const int error = start_thread(&WorkerPool::run_io_thread); error != 0) {
        return error;
    }
    // The new thread inherits this thread's rights, so these stand for its own until it has looked
    // them up. It has to, because this thread may leave the root or working directory that they
    // share now.
    rights_ = Rights::of_this_thread();
    rights_are_old_ = true;
    reactor_state_ = ReactorState::running;
    return 0;
}

}  // namespace engine
