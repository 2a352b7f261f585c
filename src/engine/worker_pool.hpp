// SPDX-License-Identifier: Apache-2.0
// Our threads that carry out requests: the I/O thread, whose reactor waits for many requests at
// once, and workers, each of which waits for one. The pool starts threads when there is work, and
// a thread ends when it had none for a while.
//
// One lock guards all that the threads share. No thread holds it across a call that waits.
#pragma once

#include <pthread.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "engine/adaptive_spin.hpp"
#include "engine/descriptor_table.hpp"
#include "engine/device_queues.hpp"
#include "engine/engine.hpp"
#include "engine/idle_workers.hpp"
#include "engine/intrusive_list.hpp"
#include "engine/pool_client.hpp"
#include "engine/program_threads.hpp"
#include "engine/reactor.hpp"
#include "engine/request_list.hpp"
#include "engine/rights.hpp"
#include "engine/signal_batch.hpp"
#include "engine/unread_bytes.hpp"

namespace engine {

// A worker that is in a call that may wait for ever.
struct Worker {
    pthread_t thread{};
    Request* request = nullptr;
    Worker* previous = nullptr;
    Worker* next = nullptr;
};

class WorkerPool final : public ReactorOwner,
                         public ProgramThreadsOwner,
                         public std::enable_shared_from_this<WorkerPool> {
public:
    // Makes a reactor, which is opened later; null for lack of memory.
    using MakeReactor = std::unique_ptr<Reactor> (*)(ReactorOwner& owner, int wake_fd) noexcept;

    // `second_choice` makes another reactor if the first can't be opened; null: the reactor's
    // requests fail then. Throws std::system_error if there is no file descriptor for the pool.
    WorkerPool(MakeReactor make_reactor, MakeReactor second_choice);
    ~WorkerPool() = default;
    WorkerPool(const WorkerPool&) = delete;
    WorkerPool& operator=(const WorkerPool&) = delete;

    // Gives each request to the reactor or to the workers, as its `route` says. Calls `note` for
    // each request that is taken.
    Submission submit(PoolClient& client, std::span<Request* const> requests,
                      const std::function<void(const Request&)>& note = {}) noexcept;

    // For how many requests, from the front, all numbers are open. The caller asks before it opens
    // descriptors of its own: these could get the numbers of requests whose files are not open.
    static std::size_t count_open(std::span<Request* const> requests) noexcept;

    // See Engine. Neither post_cancellation() nor post_cancellation_if_endless() waits for one of
    // our threads.
    CancelAnswer post_cancellation(Request& request) noexcept;

    // After the client's first call of this, its requests that turn out later to wait for a stream
    // are cancelled, too.
    CancelAnswer post_cancellation_if_endless(PoolClient& client, Request& request) noexcept;

    CancelAnswer wait_for_answer(Request& request, std::uint32_t flight,
                                 std::chrono::nanoseconds time) noexcept;

    // Waits until the eventfds of all requests that have completed so far are signalled, for at
    // most a second.
    void wait_for_signals() noexcept;

    // The client leaves the pool: all its requests were reaped. If one of our threads is still
    // posting the client's last completion, that thread frees the client.
    void leave(std::unique_ptr<PoolClient> client) noexcept;

    // Called after the last client has left: tells the threads to end, and closes the pool's
    // descriptors in the program's table. Does not wait for the threads.
    void retire() noexcept;

    // As retire(), but waits until the threads have ended.
    void close() noexcept;

    // For a child process. The threads do not exist there, and one of them may have held the lock
    // when the process forked. So nothing of the pool is used or freed any more.
    void abandon() noexcept;

    // The number of the eventfd that wakes the reactor. It is the same in the program's and in our
    // threads' descriptor table.
    const std::atomic<int>& wake_number() const noexcept { return table_.wake_number(); }

    // Whether the reactor is of the second choice.
    bool has_second_choice() const noexcept {
        return has_second_choice_.load(std::memory_order_relaxed);
    }

    // Of ProgramThreadsOwner.
    void hand_back(Request& request, std::int64_t result) noexcept override;

    // Of ReactorOwner.
    void finish(Request& request, std::int64_t result) noexcept override;
    void leave_to_workers(Request& request) noexcept override;
    void closed(Request& request) noexcept override {
        table_.note_closed();
        complete(request);
    }
    void not_closed(Request& request) noexcept override;
    void not_cancelled(Request& request) noexcept override { answer(request, CancelAnswer::no); }

private:
    using Lock = PoolLock;
    using Clock = std::chrono::steady_clock;

    // After so long without work a thread ends.
    static constexpr std::chrono::milliseconds linger{100};

    // The errno of requests for which no thread can be started. EAGAIN would mean a full queue, and
    // ENOMEM a lack of memory.
    static constexpr int no_thread = EUSERS;

    // The first and the longest time between two signals that interrupt a worker. One signal is not
    // enough: it may arrive just before the worker's system call.
    static constexpr std::chrono::milliseconds first_interruption{1};
    static constexpr std::chrono::milliseconds last_interruption{64};

    enum class ReactorState : std::uint8_t { none, running };

    // worker_pool.cpp: called by all threads
    Lock lock_now() noexcept { return {mutex_, idle_}; }
    Signal take_signal(Request& request) noexcept;
    void add_signal(SignalBatch& batch, const Signal& signal) noexcept;
    void send(SignalBatch& batch, Lock& lock) noexcept;
    void note_sent(const Signal& signal) noexcept;
    void release_file(FileRef* file) noexcept;
    RequestList& list_of(Stage stage) noexcept;
    void give_to_reactor(Request& request, Stage stage) noexcept;
    void wake_reactor() noexcept;

    // worker_pool.cpp: called by the program's threads
    Lock lock_soon() noexcept;
    CancelAnswer post(Request& request, bool only_if_stream) noexcept;
    static bool is_kept(const Request& request, bool only_if_stream) noexcept;
    CancelAnswer cancel_outside_reactor(Request& request) noexcept;
    void answer(Request& request, CancelAnswer answer) noexcept;
    void end_cancellation(Request& request, std::int64_t result) noexcept;
    int start_io_thread() noexcept;
    void close_table() noexcept;
    void end_flight(PoolClient& client) noexcept;

    // workers.cpp: the queue
    void enqueue(Request& request) noexcept;
    void enqueue_over(Request& request) noexcept;
    void give_place_back(DeviceQueues& devices, Request& request) noexcept;
    void give_place_back(DeviceQueues& devices, int place) noexcept;
    void start_in_reactor(Request& request) noexcept;
    bool takes_kernel_thread(Request& request) noexcept;
    static std::uint64_t device_of(const Request& request) noexcept;
    int start_thread(void (WorkerPool::*run)() noexcept) noexcept;
    std::size_t hold(std::span<Request* const> requests, Lock& lock, int& error) noexcept;

    // worker_pool_calls.cpp: of Opcode::call
    static std::optional<Rights> rights_for(std::span<Request* const> requests) noexcept;
    bool is_for_program_thread(const Request& request, bool is_allowed_the_same) noexcept;
    void give_to_program_thread(Request& request) noexcept;
    void note_rights() noexcept;
    bool counts_for_its_device(Request& request, int& place, Lock& lock) noexcept;
    void work_on_call(Request& request, Lock& lock) noexcept;
    void delay(Request& request) noexcept;
    bool wait_for_delayed(Lock& lock) noexcept;
    void enqueue_due(Clock::time_point now) noexcept;
    void enqueue_delayed() noexcept;
    void finish_call(Request& request) noexcept;
    CancelAnswer cancel_waiting_call(Request& request) noexcept;

    // io_thread.cpp
    void run_io_thread() noexcept;
    void open_table() noexcept;
    void hide_far_end() noexcept;
    void open_reactor() noexcept;
    void wait_in_reactor(std::chrono::nanoseconds timeout) noexcept;
    void take_up_inbox() noexcept;
    void take_up_waiting() noexcept;
    bool wait_for_files(Request& request) noexcept;
    int refusal(const Request& request) const noexcept;
    void take_up_cancellations() noexcept;
    bool interrupt_workers() noexcept;
    std::chrono::nanoseconds time_to_sleep(bool interrupts) noexcept;
    void complete(Request& request) noexcept;
    bool is_done_with(Clock::time_point idle_since) const noexcept;

    // workers.cpp
    void run_worker() noexcept;
    bool may_take(bool is_stalled) const noexcept;
    bool may_hold_signal(int last_place) const noexcept;
    bool wait_for_work(Lock& lock) noexcept;
    void call_for_worker() noexcept;
    void call_for_watcher() noexcept;
    bool spin_for_work(Lock& lock) noexcept;
    bool delayed_are_alone() const noexcept { return !delayed_.empty() && !delayed_are_watched_; }
    bool signals_are_alone() const noexcept {
        return !worker_signals_.is_empty() && !stall_is_watched_;
    }
    void start_wanted_workers(Lock& lock) noexcept;
    void finish_without_worker(Request& request, Lock& lock) noexcept;
    void work_on(Request& request, Worker& worker, Lock& lock) noexcept;
    std::int64_t carry_out_interruptibly(Request& request, Worker& worker, Lock& lock) noexcept;
    void give_stream_to_reactor(Request& request) noexcept;
    static void note_source(Request& request) noexcept;
    void give_back_bytes(Request& request, std::int64_t& result) noexcept;
    void keep_for_next_read(const Request& request, std::int64_t result) noexcept;
    void finish_in_worker(Request& request, std::int64_t result, Lock& lock) noexcept;

    const MakeReactor make_reactor_;
    const MakeReactor second_choice_;

    std::mutex mutex_;
    std::condition_variable state_changed_;  // for those who submit, cancel and close
    DescriptorTable table_;
    std::shared_ptr<WorkerPool> kept_;  // in a child process: this pool, so that it is never freed
    bool is_closing_ = false;
    bool is_retired_ = false;  // retire() was called: no thread waits for the pool's threads to end
    std::size_t in_flight_ = 0;
    unsigned submitting_ = 0;  // threads in submit(): while there are any, the I/O thread stays

    ReactorState reactor_state_ = ReactorState::none;
    std::unique_ptr<Reactor> reactor_;
    int reactor_error_ = 0;
    int first_choice_error_ = 0;
    std::atomic<bool> has_second_choice_ = false;
    bool reactor_sleeps_ = false;
    std::optional<UnreadListener> unread_;  // exists as long as the I/O thread may be woken
    RequestList inbox_;
    RequestList without_files_;   // requests that wait for room in our threads' table
    bool has_table_ = false;      // it is decided which descriptor table our threads use
    bool has_no_helper_ = false;  // no thread with the program's table could be started
    PostedList cancellations_;
    SignalBatch reactor_signals_;      // of what the reactor has finished; the I/O thread's alone
    std::uint64_t signals_taken_ = 0;  // of requests that have completed
    std::uint64_t signals_sent_ = 0;
    unsigned signal_waiters_ = 0;

    // The rights of the I/O thread, which the workers share. They are looked up again
    // (`rights_are_old_`) when a thread of the program was seen to have other rights: setuid(2),
    // for one, changes the rights of all threads.
    Rights rights_;
    bool rights_are_old_ = false;

    // Calls whose run() returned Call::not_yet. A worker runs them again after `delay_`, which
    // begins at 1 ms and doubles.
    RequestList delayed_;
    std::chrono::milliseconds delay_{1};
    Clock::time_point delayed_due_;
    bool delayed_are_watched_ = false;

    // One device gets at most a quarter of the workers, of the threads that close files, and of the
    // kernel's threads (uring_reactor.cpp sets the number of these).
    static constexpr unsigned most_workers = 128;
    static constexpr unsigned most_closers = 32;
    static constexpr unsigned most_kernel_threads = 128;
    DeviceQueues working_{most_workers / 4};
    DeviceQueues closing_{most_closers / 4};
    DeviceQueues in_kernel_{most_kernel_threads / 4};
    RequestList queue_;
    unsigned workers_ = 0;
    // Workers in a call that may wait for ever.
    IntrusiveList<Worker, &Worker::previous, &Worker::next> interruptible_;
    std::chrono::nanoseconds next_interruption_{};
    unsigned workers_wanted_ = 0;  // to be started by a thread that has our threads' table
    bool lacks_worker_ = false;    // one could not be started; the I/O thread tries again
    IdleWorkers idle_;
    // One worker at a time spins before it sleeps, if the pool has nothing to do at all.
    AdaptiveSpin spin_;
    // The signals that workers hold back while brief requests follow each other: one for each
    // request would wake a thread of the program each time.
    SignalBatch worker_signals_;
    unsigned brief_ = 0;         // workers on a brief request, except those taken to be stuck
    unsigned brief_stalls_ = 0;  // how often such workers were taken to be stuck
    bool stall_is_watched_ = false;
};

}  // namespace engine
