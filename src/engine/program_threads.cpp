// SPDX-License-Identifier: Apache-2.0
#include "engine/program_threads.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <new>
#include <optional>
#include <thread>
#include <utility>

#include "engine/detached_thread.hpp"
#include "engine/file_device.hpp"
#include "engine/intrusive_list.hpp"
#include "engine/local_mounts.hpp"
#include "engine/per_process.hpp"
#include "engine/rights.hpp"
#include "engine/unique_fd.hpp"

namespace engine {
namespace {

constexpr std::size_t stack_size = std::size_t{256} * 1024;
constexpr std::chrono::milliseconds linger{100};

// How many threads may be at work on tasks of one kind: on those that need rights, and on the
// others, which only close.
constexpr unsigned most_threads = 32;
constexpr unsigned most_in_all = 4 * most_threads;  // with those that idle

// How many threads may be at work for one device: the others are for what else is to be done.
constexpr unsigned most_for_device = most_threads / 4;

struct Thread;

struct Task {
    int fd = -1;  // to be closed, if there is no request
    Request* request = nullptr;
    std::shared_ptr<ProgramThreadsOwner> owner;
    UniqueFd first;  // these are duplicates of the request's descriptors
    UniqueFd second;
    std::optional<Rights> rights;  // none: any thread will do
    // The device for which the task may wait; 0: none is known.
    std::uint64_t device = 0;
    // A thread with the right rights. It does not end before it has carried out the task: the
    // submitter may end meanwhile, and its rights can't be compared with a thread's after that.
    const Thread* thread = nullptr;
    Task* previous = nullptr;
    Task* next = nullptr;
};

class Pool;

struct Thread {
    Pool* pool;
    Rights rights;
    const Task* task = nullptr;  // the one at work
    Thread* previous = nullptr;
    Thread* next = nullptr;
};

class Pool {
public:
    // Returns 0, and then the task is the pool's, or an errno.
    int submit(std::unique_ptr<Task>& task) noexcept;

private:
    using Lock = std::unique_lock<std::mutex>;

    void run(Thread& self) noexcept;
    Task* take(const Thread& thread) noexcept;
    template <typename Condition>
    unsigned count_at_work(Condition condition) const noexcept;
    bool is_held_back(const Task& task) const noexcept;
    bool start_thread(const Rights& rights) noexcept;
    const Thread* find_thread_for(const Task& task) const noexcept;
    static void carry_out(Task& task) noexcept;

    std::mutex mutex_;
    std::condition_variable work_came_;
    IntrusiveList<Task, &Task::previous, &Task::next> tasks_;
    IntrusiveList<Thread, &Thread::previous, &Thread::next> running_;
    unsigned queued_ = 0;
    unsigned threads_ = 0;
    unsigned idle_ = 0;
};

// Null for lack of memory.
Pool* pool() noexcept {
    static PerProcess<Pool> pools;
    return pools.get();
}

int duplicate(int fd, UniqueFd& copy) noexcept {
    if (fd < 0) {
        return 0;
    }
    copy = UniqueFd(fcntl(fd, F_DUPFD_CLOEXEC, 3));
    return copy.is_open() ? 0 : errno;
}

int Pool::submit(std::unique_ptr<Task>& task) noexcept {
    const bool needs_rights = task->rights.has_value();
    if (needs_rights) {
        task->rights = Rights::of_this_thread();
    }
    {
        const Lock lock(mutex_);
        // An idle thread may have other rights, and is then of no use to a task that needs rights.
        const bool is_enough = idle_ > queued_ && !needs_rights;
        const auto of_other_kind = count_at_work(
            [&](const Task& other) { return other.rights.has_value() != needs_rights; });
        const auto of_no_use = of_other_kind + (needs_rights ? idle_ : 0);
        if (!is_enough && threads_ < most_in_all && threads_ - of_no_use < most_threads) {
            const auto rights = needs_rights ? *task->rights : Rights::of_this_thread();
            threads_ += start_thread(rights) ? 1 : 0;
        }
        task->thread = find_thread_for(*task);
        if (task->thread == nullptr) {
            return EUSERS;
        }
        tasks_.push_back(*task.release());
        ++queued_;
    }
    // Without the lock, which those that wake up need at once. A task that needs rights waits for a
    // thread that has them.
    if (needs_rights) {
        work_came_.notify_all();
    } else {
        work_came_.notify_one();
    }
    return 0;
}

// Returns the last started thread that has the rights for the task. Null if all have other rights.
const Thread* Pool::find_thread_for(const Task& task) const noexcept {
    const auto* thread = running_.front();
    while (thread != nullptr && task.rights && !thread->rights.allow_the_same(*task.rights)) {
        thread = thread->next;
    }
    return thread;
}

bool Pool::start_thread(const Rights& rights) noexcept {
    auto start = std::unique_ptr<Thread>(new (std::nothrow) Thread{.pool = this, .rights = rights});
    if (start == nullptr) {
        return false;
    }
    const int error = start_detached_thread(
        stack_size,
        [](void* argument) -> void* {
            pthread_setname_np(pthread_self(), "aio-program");
            const auto begun = std::unique_ptr<Thread>(static_cast<Thread*>(argument));
            begun->pool->run(*begun);
            return nullptr;
        },
        start.get());
    if (error == 0) {
        running_.push_front(*start.release());
    }
    return error == 0;
}

// Counts the threads at work on a task that meets the condition.
template <typename Condition>
unsigned Pool::count_at_work(Condition condition) const noexcept {
    unsigned count = 0;
    for (const auto* thread = running_.front(); thread != nullptr; thread = thread->next) {
        count += thread->task != nullptr && condition(*thread->task) ? 1 : 0;
    }
    return count;
}

// Whether enough threads are at work for the device of the task. A thread that has done its task
// looks for another one, so the task is not forgotten.
bool Pool::is_held_back(const Task& task) const noexcept {
    return task.device != 0 && count_at_work([&](const Task& other) {
                                   return other.device == task.device;
                               }) >= most_for_device;
}

// The first task that the thread may carry out; null if there is none.
Task* Pool::take(const Thread& thread) noexcept {
    for (auto* task = tasks_.front(); task != nullptr; task = task->next) {
        const bool has_rights =
            !task->rights || task->thread == &thread || thread.rights.allow_the_same(*task->rights);
        if (has_rights && !is_held_back(*task)) {
            tasks_.remove(*task);
            --queued_;
            return task;
        }
    }
    return nullptr;
}

void Pool::run(Thread& self) noexcept {
    Lock lock(mutex_);
    self.rights.thread = Rights::of_this_thread().thread;
    auto idle_since = std::chrono::steady_clock::now();
    for (;;) {
        if (auto task = std::unique_ptr<Task>(take(self))) {
            self.task = task.get();
            const bool leaves_others = queued_ != 0 && idle_ != 0;
            lock.unlock();
            if (leaves_others) {
                // Another thread may take them: their device may have been busy until now, or the
                // thread that was woken for them has taken this task.
                work_came_.notify_one();
            }
            carry_out(*task);
            lock.lock();
            self.task = nullptr;
            lock.unlock();
            task.reset();
            lock.lock();
            idle_since = std::chrono::steady_clock::now();
            continue;
        }
        if (std::chrono::steady_clock::now() - idle_since >= linger) {
            break;
        }
        ++idle_;
        work_came_.wait_for(lock, linger);
        --idle_;
    }
    running_.remove(self);
    --threads_;
}

void Pool::carry_out(Task& task) noexcept {
    if (task.request == nullptr) {
        ::close(task.fd);
        return;
    }
    auto& request = *task.request;
    const CallFiles files{.first = task.first.is_open() ? task.first.get() : request.fd,
                          .second = task.second.is_open() ? task.second.get() : request.second_fd,
                          .is_private = false,
                          .returns = nullptr,
                          .cancelled = &request.cancelled};
    auto result = request.call->run(files);
    while (result == Call::not_yet) {
        if (is_cancelled(request)) {
            request.call->abandon();
            result = -ECANCELED;
            break;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        result = request.call->run(files);
    }
    task.first = {};
    task.second = {};
    task.owner->hand_back(request, result);
}

}  // namespace

bool closes_at_once(int fd) noexcept {
    const int flags = fcntl(fd, F_GETFL);
    struct statx status{};
    return flags >= 0 && (flags & O_ACCMODE) == O_RDONLY &&
           statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
                 STATX_TYPE | STATX_NLINK | LocalMounts::mask, &status) == 0 &&
           S_ISREG(status.stx_mode) && status.stx_nlink != 0 && LocalMounts::is_local(status);
}

void close_soon(int fd) noexcept {
    if (!closes_at_once(fd)) {
        if (auto task = std::unique_ptr<Task>(new (std::nothrow) Task); task != nullptr) {
            task->fd = fd;
            task->device = device_of(fd);
            if (auto* threads = pool(); threads != nullptr && threads->submit(task) == 0) {
                return;
            }
        }
    }
    ::close(fd);
}

int run_in_program_thread(Request& request, std::shared_ptr<ProgramThreadsOwner> owner) noexcept {
    auto task = std::unique_ptr<Task>(new (std::nothrow) Task);
    if (task == nullptr) {
        return ENOMEM;
    }
    task->request = &request;
    task->owner = std::move(owner);
    if (request.call->needs() == Call::Needs::programs_table) {
        task->device = device_of(request.fd);
    } else {
        task->rights = Rights{};
        if (const int error = duplicate(request.fd, task->first); error != 0) {
            return error;
        }
        if (const int error = duplicate(request.second_fd, task->second); error != 0) {
            return error;
        }
    }
    auto* threads = pool();
    return threads != nullptr ? threads->submit(task) : ENOMEM;
}

}  // namespace engine
