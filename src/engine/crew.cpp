// SPDX-License-Identifier: Apache-2.0
#include "engine/crew.hpp"

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <system_error>
#include <utility>

#include "engine/blocking_call.hpp"
#include "engine/device_book.hpp"
#include "engine/eventfd_signal.hpp"

namespace engine {
namespace {

using std::chrono::milliseconds;

// Enough to have a disk's queue full.
constexpr unsigned most_workers = 32;

constexpr std::size_t stack_size = std::size_t{512} * 1024;

// How long a thread stays that has nothing to do.
constexpr milliseconds linger(100);

// How many signals of brief requests may wait for each other: a matter of some ten microseconds.
constexpr std::uint64_t most_held = 16;

// How long a brief request may take before others no longer wait behind it.
constexpr milliseconds stall(1);

void close_held(HeldFile* file) noexcept {
    if (file->fd >= 0) {
        ::close(file->fd);
    }
    delete file;
}

// Threads of ours take no signals: those are for the program's.
class SignalsBlocked {
public:
    SignalsBlocked() noexcept {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

private:
    sigset_t before_{};
};

}  // namespace

Crew::Crew(CompletionQueue& completions, MakeReactor make_reactor, MakeReactor second_choice)
    : completions_(completions), make_reactor_(make_reactor), second_choice_(second_choice) {
    if (!files_.is_open()) {
        throw std::system_error(EMFILE, std::generic_category());
    }
}

// --- submission

// For the program's threads. Who holds the lock gives it up within a few microseconds, most often:
// to sleep, and be woken, would take longer.
Crew::Lock Crew::lock_soon() noexcept {
    constexpr int most_tries = 64;
    for (int tries = 0; tries < most_tries; ++tries) {
        if (Lock lock(mutex_, std::try_to_lock); lock.owns_lock()) {
            return lock;
        }
    }
    return Lock(mutex_);
}

Submission Crew::submit(std::span<Request* const> requests,
                        const std::function<void(const Request&)>& note) noexcept {
    auto lock = lock_soon();
    Submission submission;
    ++submitting_;
    submission.error = start_reactor(lock);
    if (submission.error == 0) {
        submission.taken = hold(requests, lock, submission.error);
    }
    --submitting_;
    in_flight_ += submission.taken;
    for (auto* request : requests.first(submission.taken)) {
        request->cancelled = false;
        if (note) {
            note(*request);
        }
        if (request->route == Route::workers) {
            request->stage = Stage::in_queue;
            queue_.push_back(*request);
        } else {
            request->stage = Stage::in_inbox;
            inbox_.push_back(*request);
        }
    }
    if (!queue_.empty()) {
        call_for_worker();
    }
    if (!inbox_.empty() || workers_wanted_ != 0) {
        wake_reactor();
    }
    submission.error = submission.taken == 0 ? submission.error : 0;
    return submission;
}

std::size_t Crew::hold(std::span<Request* const> requests, Lock& lock, int& error) noexcept {
    std::size_t taken = 0;
    for (;;) {
        taken += files_.hold(requests.subspan(taken), error);
        if (error != EAGAIN || taken == requests.size()) {
            return taken;
        }
        // The socket is full. The reactor never waits for anything but what comes next.
        wake_reactor();
        lock.unlock();
        sched_yield();
        lock.lock();
    }
}

void Crew::wake_reactor() noexcept {
    if (std::exchange(reactor_sleeps_, false)) {
        signal_eventfd(files_.wake_number());
    }
}

bool Crew::cancel(Request& request) noexcept {
    Lock lock(mutex_);
    switch (request.stage) {
        case Stage::none:
        case Stage::in_worker:
            return false;
        case Stage::in_inbox:
        case Stage::in_queue:
            (request.stage == Stage::in_inbox ? inbox_ : queue_).remove(request);
            request.cancelled = true;
            // Its files are in our threads' table: only they can close them.
            request.stage = Stage::in_inbox;
            inbox_.push_back(request);
            wake_reactor();
            return true;
        case Stage::in_reactor:
            break;
    }
    return ask_reactor({.request = &request}, lock);
}

bool Crew::cancel_if_endless(Request& request) noexcept {
    if (request.opcode == Opcode::poll) {
        return cancel(request);
    }
    Lock lock(mutex_);
    ends_streams_ = true;
    return transfers_data(request.opcode) && request.stage == Stage::in_reactor &&
           ask_reactor({.request = &request, .only_if_stream = true}, lock);
}

bool Crew::ask_reactor(Cancellation cancellation, Lock& lock) noexcept {
    cancellation.next = std::exchange(cancellations_, &cancellation);
    ++cancelling_;
    wake_reactor();
    state_changed_.wait(lock, [&] { return cancellation.answer != Cancellation::Answer::none; });
    --cancelling_;
    return cancellation.answer == Cancellation::Answer::yes;
}

void Crew::close() noexcept {
    Lock lock(mutex_);
    is_closing_ = true;
    work_came_.notify_all();
    wake_reactor();
    state_changed_.wait(lock, [this] { return reactor_state_ == ReactorState::none; });
    files_.close();
}

void Crew::abandon() noexcept {
    files_.close();
    kept_ = weak_from_this().lock();
}

// --- threads

// Which run with a reference of their own: the last one to go takes the object with it.
bool Crew::start_thread(void (Crew::*run)() noexcept) noexcept {
    struct Start {
        std::shared_ptr<Crew> crew;
        void (Crew::*run)() noexcept;
    };
    auto start = std::unique_ptr<Start>(new (std::nothrow) Start{weak_from_this().lock(), run});
    pthread_attr_t attributes;
    if (start == nullptr || pthread_attr_init(&attributes) != 0) {
        return false;
    }
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, stack_size);
    const SignalsBlocked blocked;
    pthread_t thread{};
    const int error = pthread_create(
        &thread, &attributes,
        [](void* argument) -> void* {
            const auto begun = std::unique_ptr<Start>(static_cast<Start*>(argument));
            std::invoke(begun->run, *begun->crew);
            return nullptr;
        },
        start.get());
    pthread_attr_destroy(&attributes);
    if (error == 0) {
        [[maybe_unused]] const auto* handed_over = start.release();
    }
    return error == 0;
}

// Returns 0 or an errno. The thread has opened its table of files when this returns.
int Crew::start_reactor(Lock& lock) noexcept {
    if (reactor_state_ == ReactorState::none) {
        if (!start_thread(&Crew::run_reactor)) {
            return ENOMEM;
        }
        reactor_state_ = ReactorState::starting;
    }
    state_changed_.wait(lock, [this] { return reactor_state_ != ReactorState::starting; });
    return 0;
}

// --- the reactor's thread

void Crew::run_reactor() noexcept {
    Lock lock(mutex_);
    files_.open_private_table();
    open_reactor();
    reactor_state_ = ReactorState::running;
    state_changed_.notify_all();
    auto idle_since = Clock::now();
    for (;;) {
        files_.receive();
        take_up_inbox();
        answer_cancellations();
        start_wanted_workers();
        send_signals(lock);
        send_held(lock);  // the request that its worker has gone on to may take long
        if (!inbox_.empty() || cancellations_ != nullptr || workers_wanted_ != 0) {
            continue;  // they came while the signals were sent
        }
        if (in_flight_ != 0) {
            idle_since = Clock::now();
        } else if (is_done_with(idle_since)) {
            break;
        }
        // What only the reactor can end wakes it; the last worker to go does so, too.
        const bool is_needed = in_flight_ != 0 && workers_ == 0;
        reactor_sleeps_ = true;
        lock.unlock();
        wait_in_reactor(is_needed ? std::chrono::hours(1) : Clock::duration(linger));
        lock.lock();
        reactor_sleeps_ = false;
        if (reactor_error_ == 0) {
            reactor_->handle();
        }
    }
    reactor_.reset();
    files_.forget_private_table();
    reactor_state_ = ReactorState::none;
    state_changed_.notify_all();
}

void Crew::open_reactor() noexcept {
    reactor_error_ = ENOMEM;
    has_second_choice_ = false;
    for (const auto make : {make_reactor_, second_choice_}) {
        if (make == nullptr) {
            continue;
        }
        has_second_choice_ = make == second_choice_;
        reactor_ = make(*this, files_.wake_number());
        reactor_error_ = reactor_ != nullptr ? reactor_->open() : ENOMEM;
        if (reactor_error_ == 0) {
            return;
        }
    }
}

void Crew::wait_in_reactor(std::chrono::nanoseconds timeout) noexcept {
    if (reactor_error_ == 0) {
        reactor_->wait(timeout);
        return;
    }
    pollfd wake{.fd = files_.wake_number(), .events = POLLIN, .revents = 0};
    const auto time = std::chrono::ceil<milliseconds>(timeout).count();
    if (poll(&wake, 1, static_cast<int>(time)) > 0) {
        std::uint64_t count = 0;
        [[maybe_unused]] const auto emptied = read(wake.fd, &count, sizeof count);
    }
}

void Crew::take_up_inbox() noexcept {
    while (auto* request = inbox_.pop_front()) {
        request->stage = Stage::in_reactor;
        if (const int error = refusal(*request); error != 0) {
            finish(*request, -error);
        } else {
            reactor_->start(*request);
        }
    }
}

// Why the reactor is not to begin with the request: 0 or an errno.
int Crew::refusal(const Request& request) const noexcept {
    if (request.cancelled) {
        return ECANCELED;
    }
    if (reactor_error_ != 0) {
        return reactor_error_;
    }
    if (request.file->fd < 0) {
        return request.file->error;
    }
    const bool may_never_end =
        ends_streams_ && transfers_data(request.opcode) && is_stream(request.file->fd);
    return may_never_end ? ECANCELED : 0;
}

void Crew::answer_cancellations() noexcept {
    while (auto* cancellation = cancellations_) {
        cancellations_ = cancellation->next;
        const auto& request = *cancellation->request;
        if (request.stage == Stage::in_reactor &&
            (!cancellation->only_if_stream || is_stream(request.file->fd))) {
            reactor_->cancel(*cancellation);
        } else {
            cancellation->answer = Cancellation::Answer::no;
        }
        answered();
    }
}

void Crew::finish(Request& request, std::int64_t result) noexcept {
    request.stage = Stage::none;
    auto* file = std::exchange(request.file, nullptr);
    auto* signal = std::exchange(request.signal_file, nullptr);
    // before anybody knows that the request is over
    if (files_.release(file)) {
        if (file->fd >= 0 && reactor_error_ == 0) {
            reactor_->close_file(std::exchange(file->fd, -1));
        }
        close_held(file);
    }
    --in_flight_;
    completions_.push(request, result);
    if (signal != nullptr) {
        add_signal(signal);
    }
}

// Signals wait until the lock is given up, those of one eventfd for each other.
void Crew::add_signal(HeldFile* file) noexcept {
    const auto signals = std::span(signals_).first(signal_count_);
    const auto found = std::ranges::find(signals, file, &Signal::file);
    if (found != signals.end()) {
        ++found->count;
        files_.release(file);
    } else if (signal_count_ < signals_.size()) {
        signals_[signal_count_++] = {.file = file, .count = 1};
    } else {
        signal_eventfd(file->fd);
        if (files_.release(file)) {
            close_held(file);
        }
    }
}

void Crew::send_signals(Lock& lock) noexcept {
    if (signal_count_ == 0) {
        return;
    }
    const auto signals = std::span(signals_).first(signal_count_);
    lock.unlock();
    for (const auto& signal : signals) {
        signal_eventfd(signal.file->fd, signal.count);
    }
    lock.lock();
    for (const auto& signal : signals) {
        if (files_.release(signal.file)) {
            close_held(signal.file);
        }
    }
    signal_count_ = 0;
}

bool Crew::is_done_with(Clock::time_point idle_since) const noexcept {
    return workers_ == 0 && submitting_ == 0 && cancelling_ == 0 && queue_.empty() &&
           (is_closing_ || Clock::now() - idle_since >= linger);
}

// --- workers

void Crew::leave_to_workers(Request& request) noexcept {
    request.stage = Stage::in_queue;
    queue_.push_back(request);
    call_for_worker();
}

// For what stands in the queue.
void Crew::call_for_worker() noexcept {
    if (!may_take(false) && stall_is_watched_) {
        return;
    }
    if (idle_ != 0) {
        work_came_.notify_one();
    } else if (workers_ + workers_wanted_ < most_workers) {
        ++workers_wanted_;
    }
}

// In a thread that has the private table, which the new one inherits.
void Crew::start_wanted_workers() noexcept {
    for (; workers_wanted_ != 0; --workers_wanted_) {
        workers_ += start_thread(&Crew::run_worker) ? 1 : 0;
    }
    if (workers_ == 0) {
        while (auto* request = queue_.pop_front()) {
            finish(*request, -ENOMEM);
        }
    }
}

// One worker is enough for requests that are a matter of microseconds, unless it got stuck.
bool Crew::may_take(bool is_stalled) const noexcept {
    return !queue_.empty() && (!queue_.front()->is_brief || brief_ == 0 || is_stalled);
}

// False when it is time to go.
bool Crew::wait_for_work(Lock& lock) noexcept {
    bool is_stalled = false;
    while (!may_take(is_stalled)) {
        if (is_closing_) {
            return false;
        }
        const auto* front = queue_.front();
        const bool watches = front != nullptr && !stall_is_watched_;
        stall_is_watched_ = stall_is_watched_ || watches;
        ++idle_;
        const auto status = work_came_.wait_for(lock, watches ? stall : linger);
        --idle_;
        stall_is_watched_ = stall_is_watched_ && !watches;
        if (status == std::cv_status::timeout) {
            if (queue_.empty() && !watches) {
                return false;
            }
            is_stalled = watches && front == queue_.front();
        }
    }
    return true;
}

void Crew::run_worker() noexcept {
    Lock lock(mutex_);
    for (;;) {
        const bool goes_on = held_.count < most_held && !queue_.empty() &&
                             queue_.front()->is_brief && may_take(false);
        if (!goes_on) {
            send_held(lock);
        }
        if (!goes_on && !wait_for_work(lock)) {
            break;
        }
        auto* request = queue_.pop_front();
        request->stage = Stage::in_worker;
        const bool is_brief = request->is_brief;
        brief_ += is_brief ? 1 : 0;
        if (!queue_.empty()) {
            call_for_worker();
            start_wanted_workers();
        }
        work_on(*request, lock);
        brief_ -= is_brief ? 1 : 0;
    }
    --workers_;
    if (workers_ == 0) {
        wake_reactor();
    }
}

void Crew::work_on(Request& request, Lock& lock) noexcept {
    files_.receive();
    auto* file = request.file;
    const int fd = file->fd;
    if (fd < 0) {
        finish_in_worker(request, -file->error, lock);
        return;
    }
    auto kind = file->kind;
    lock.unlock();
    if (kind == HeldFile::Kind::unknown) {
        kind = kind_of(fd);
        DeviceBook::learn(fd);
    }
    const bool has_no_offsets = kind == HeldFile::Kind::stream;
    if (has_no_offsets && request.route == Route::workers && transfers_data(request.opcode)) {
        // it may wait for ever
        lock.lock();
        file->kind = kind;
        request.route = Route::reactor;
        request.stage = Stage::in_inbox;
        inbox_.push_back(request);
        wake_reactor();
        return;
    }
    const auto result = carry_out_with_priority(request, fd, has_no_offsets);
    lock.lock();
    file->kind = kind;
    finish_in_worker(request, result, lock);
}

void Crew::finish_in_worker(Request& request, std::int64_t result, Lock& lock) noexcept {
    const bool may_be_held = request.is_brief;
    request.stage = Stage::none;
    auto* file = std::exchange(request.file, nullptr);
    auto* signal = std::exchange(request.signal_file, nullptr);
    const bool was_last = files_.release(file);
    --in_flight_;
    lock.unlock();
    if (was_last) {
        close_held(file);
    }
    completions_.push(request, result);
    lock.lock();
    if (signal == nullptr) {
        return;
    }
    while (held_.file != nullptr && held_.file != signal) {
        send_held(lock);
    }
    if (held_.file == signal) {
        ++held_.count;
        files_.release(signal);  // not the last
    } else {
        held_ = {.file = signal, .count = 1};
    }
    if (!may_be_held) {
        send_held(lock);
    }
}

void Crew::send_held(Lock& lock) noexcept {
    const auto signal = std::exchange(held_, {});
    if (signal.file == nullptr) {
        return;
    }
    lock.unlock();
    signal_eventfd(signal.file->fd, signal.count);
    lock.lock();
    if (files_.release(signal.file)) {
        close_held(signal.file);
    }
}

}  // namespace engine
