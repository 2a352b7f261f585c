// SPDX-License-Identifier: Apache-2.0
// How a worker pool's threads carry out calls (call.hpp): which thread may carry one out, and how
// calls are run again after a while.
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <utility>

#include "engine/call.hpp"
#include "engine/operations/cached_path.hpp"
#include "engine/program_threads.hpp"
#include "engine/worker_pool.hpp"

namespace engine {

namespace {

// The shortest and the longest time between two checks whether the other side of a FIFO is open by
// now.
constexpr std::chrono::milliseconds first_delay{1};
constexpr std::chrono::milliseconds longest_delay{16};

}  // namespace

// Returns the calling thread's rights if one of the requests needs them.
std::optional<Rights> WorkerPool::rights_for(std::span<Request* const> requests) noexcept {
    const bool needs_rights = std::ranges::any_of(requests, [](const Request* request) {
        return request->opcode == Opcode::call && request->call->needs() == Call::Needs::rights;
    });
    return needs_rights ? std::optional(Rights::of_this_thread()) : std::nullopt;
}

// Called in the submitting thread: whether a thread that shares the program's table, and not a
// worker, has to carry out the request. `is_allowed_the_same`: the workers have this thread's
// rights.
bool WorkerPool::is_for_program_thread(const Request& request, bool is_allowed_the_same) noexcept {
    if (request.opcode != Opcode::call) {
        return false;
    }
    switch (request.call->needs()) {
        case Call::Needs::programs_table:
            return true;
        case Call::Needs::files:
            return false;
        case Call::Needs::rights:
            break;
    }
    if (is_allowed_the_same) {
        table_.open_return();
        request.call->look_for_room();
        return false;
    }
    rights_are_old_ = true;
    wake_reactor();
    return true;
}

void WorkerPool::give_to_program_thread(Request& request) noexcept {
    request.stage = Stage::in_program_thread;
    if (const int error = run_in_program_thread(request, weak_from_this().lock()); error != 0) {
        request.result = request.call->without_thread(error);
        give_to_reactor(request, Stage::over);
    }
}

void WorkerPool::hand_back(Request& request, std::int64_t result) noexcept {
    const auto lock = lock_now();
    request.result = result;
    give_to_reactor(request, Stage::over);
}

// Called in the I/O thread: notes its rights, which are also those of the workers.
void WorkerPool::note_rights() noexcept {
    if (std::exchange(rights_are_old_, false)) {
        rights_ = Rights::of_this_thread();
    }
}

// Called in a worker before it carries out a call: counts the call as one of the device that its
// paths lead to. The kernel's cache tells which that is, without a wait for the device. Returns
// false if the device has its limit of requests at work: then the request waits, and has no place.
bool WorkerPool::counts_for_its_device(Request& request, int& place, Lock& lock) noexcept {
    const auto paths = request.call->paths();
    const bool has_paths = paths.first != nullptr || paths.second != nullptr;
    if (request.path_device != 0 || !has_paths || is_cancelled(request)) {
        return true;
    }
    table_.receive();
    const auto directory = [](const FileRef* file, int fd) {
        return file != nullptr ? file->fd : fd;
    };
    const int first = directory(request.file, request.fd);
    const int second = directory(request.second_file, request.second_fd);
    lock.unlock();
    std::array<std::uint64_t, 2> devices{};
    if (paths.first != nullptr) {
        devices[0] = find_cached_device(first, paths.first);
    }
    if (paths.second != nullptr) {
        devices[1] = find_cached_device(second, paths.second);
    }
    lock.lock();
    // of two devices, the one with more requests at work
    const bool is_second =
        devices[1] != 0 && working_.at_work(devices[1]) > working_.at_work(devices[0]);
    request.path_device = is_second || devices[0] == 0 ? devices[1] : devices[0];
    if (request.path_device == 0 || is_cancelled(request)) {
        return true;
    }
    give_place_back(working_, std::exchange(place, DeviceQueues::none));
    if (!queue_.empty()) {
        // Another worker has to take up the request that got the place, for this one may go on
        // with its own call, which may hang.
        call_for_worker();
        start_wanted_workers(lock);
    }
    if (!working_.enter(request, request.path_device)) {
        request.stage = Stage::behind_device;
        return false;
    }
    place = std::exchange(request.device_place, DeviceQueues::none);
    return true;
}

void WorkerPool::work_on_call(Request& request, Lock& lock) noexcept {
    table_.receive();
    if (wait_for_files(request)) {
        return;
    }
    CallFiles files{.first = request.fd,
                    .second = request.second_fd,
                    .is_private = table_.is_private(),
                    .returns = table_.returns(),
                    .cancelled = &request.cancelled};
    int error = 0;
    for (const auto& [file, fd] :
         {std::pair(request.file, &files.first), std::pair(request.second_file, &files.second)}) {
        if (file != nullptr) {
            *fd = file->fd;
            error = file->fd < 0 ? file->error : error;
        }
    }
    if (error != 0) {
        files.returns.reset();
        finish_in_worker(request, -error, lock);
        return;
    }
    if (request.client->ends_streams) {
        set_cancelled(request, true);  // as of a call that was at work when its context was closed
    }
    lock.unlock();
    const auto result = request.call->run(files);
    files.returns.reset();  // before the request is over: the last owner closes a number
    lock.lock();
    if (result != Call::not_yet) {
        finish_in_worker(request, result, lock);
    } else if (is_cancelled(request) || request.client->ends_streams) {
        request.call->abandon();
        finish_in_worker(request, -ECANCELED, lock);
    } else {
        delay(request);
    }
}

void WorkerPool::delay(Request& request) noexcept {
    request.stage = Stage::delayed;
    const bool is_first = !std::exchange(request.was_delayed, true);
    if (is_first) {
        delay_ = first_delay;
    }
    if (is_first || delayed_.empty()) {
        delayed_due_ = Clock::now() + delay_;
    }
    delayed_.push_back(request);
}

// Called in a worker without work. Returns whether there may be work by now.
bool WorkerPool::wait_for_delayed(Lock& lock) noexcept {
    if (delayed_.empty() || delayed_are_watched_) {
        return false;
    }
    delayed_are_watched_ = true;
    idle_.sleep_until(lock.to_wait_with(), delayed_due_);
    delayed_are_watched_ = false;
    enqueue_due(Clock::now());
    return true;
}

// Has the delayed calls run again if it is time. Other requests may have come meanwhile, any number
// of them.
void WorkerPool::enqueue_due(Clock::time_point now) noexcept {
    if (!delayed_.empty() && now >= delayed_due_) {
        delay_ = std::min(delay_ * 2, longest_delay);
        enqueue_delayed();
    }
}

void WorkerPool::enqueue_delayed() noexcept {
    while (auto* request = delayed_.pop_front()) {
        enqueue(*request);
    }
}

// Called in the I/O thread, for a call that was cancelled before a worker took it, or that a thread
// with the program's table carried out. A worker closes its files, which may take long.
void WorkerPool::finish_call(Request& request) noexcept {
    if (request.result == -ECANCELED) {
        request.call->abandon();
    }
    if (request.file == nullptr && request.second_file == nullptr) {
        complete(request);
        return;
    }
    enqueue_over(request);
}

// For the end of a context: cancels a call that waits for the other side of a FIFO, which may never
// come, or that reads or copies a file, which may have no end. All other calls are carried out. A
// call that was not run yet is run once, and told to end: work_on_call() does both.
CancelAnswer WorkerPool::cancel_waiting_call(Request& request) noexcept {
    const bool may_wait = request.stage == Stage::delayed || request.was_delayed ||
                          request.stage == Stage::in_worker ||
                          request.stage == Stage::in_program_thread;
    return may_wait ? cancel_outside_reactor(request) : CancelAnswer::no;
}

}  // namespace engine
