// SPDX-License-Identifier: Apache-2.0
#include "engine/idle_workers.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "check.hpp"

namespace {

using Clock = std::chrono::steady_clock;
using engine::IdleWorkers;
using engine::PoolLock;

// Work that is counted, and threads that do it as a pool's workers do.
class Pool {
public:
    explicit Pool(int workers) {
        for (int i = 0; i < workers; ++i) {
            threads_.emplace_back([this] { run(); });
        }
        auto lock = lock_now();
        are_asleep_.wait(lock.to_wait_with(), [&] { return asleep_ == workers; });
    }
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;
    ~Pool() {
        {
            const auto lock = lock_now();
            is_closing_ = true;
            idle.wake_all();
        }
        for (auto& thread : threads_) {
            thread.join();
        }
    }

    PoolLock lock_now() { return {mutex_, idle}; }

    // Adds work that `count` workers have to do at the same time.
    void do_together(int count) {
        auto lock = lock_now();
        work_ = count;
        is_held_ = true;
        check::is_true(idle.call(), "one is called");
        const bool are_done = all_at_work_.wait_for(lock.to_wait_with(), check::patience,
                                                    [&] { return at_work_ == count; });
        check::is_true(are_done, "all workers came");
        is_held_ = false;
        all_at_work_.notify_all();
        are_asleep_.wait(lock.to_wait_with(), [&] { return at_work_ == 0; });
    }

    IdleWorkers idle;

private:
    void run() {
        auto lock = lock_now();
        for (;;) {
            while (work_ == 0 && !is_closing_) {
                ++asleep_;
                are_asleep_.notify_all();
                idle.sleep_until(lock.to_wait_with(), Clock::now() + std::chrono::minutes(1));
                --asleep_;
            }
            if (is_closing_) {
                return;
            }
            --work_;
            if (work_ != 0) {
                check::is_true(idle.call(), "the next one is called");
            }
            ++at_work_;
            all_at_work_.notify_all();
            all_at_work_.wait(lock.to_wait_with(), [&] { return !is_held_; });
            --at_work_;
            are_asleep_.notify_all();
        }
    }

    std::mutex mutex_;
    std::condition_variable are_asleep_;
    std::condition_variable all_at_work_;
    int work_ = 0;
    int at_work_ = 0;
    bool is_held_ = false;
    int asleep_ = 0;
    bool is_closing_ = false;
    std::vector<std::thread> threads_;
};

void test_nobody_is_idle() {
    std::mutex mutex;
    IdleWorkers idle;
    const PoolLock lock(mutex, idle);
    check::is_true(!idle.call(), "there is nobody to call");
    check::equal(idle.take_called().sleepers, 0U);
}

// Two that come for work for one would find nothing.
void test_one_comes_at_a_time() {
    for (bool was_brief = false; !was_brief;) {
        Pool pool(3);
        const auto lock = pool.lock_now();
        const auto begin = Clock::now();
        check::is_true(pool.idle.call(), "one is called");
        check::is_true(pool.idle.call(), "one is on its way");
        was_brief = Clock::now() - begin < std::chrono::milliseconds(1);
        const auto called = pool.idle.take_called();
        check::is_true(called.sleepers == 1 || !was_brief, "one is woken");
        pool.idle.wake(called);
    }
}

// Whoever waits for work does not wait long for one that was called and does not come.
void test_one_takes_long_to_come() {
    Pool pool(2);
    const auto lock = pool.lock_now();
    check::is_true(pool.idle.call(), "one is called");
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    check::is_true(pool.idle.call(), "another one is called");
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    check::is_true(!pool.idle.call(), "there is no third one");
    const auto called = pool.idle.take_called();
    check::equal(called.sleepers, 2U);
    pool.idle.wake(called);
}

void test_each_calls_the_next() {
    Pool pool(8);
    for (int i = 0; i < 200; ++i) {
        pool.do_together(8);
    }
}

// The counts stay right if a worker is called when its time is over.
void test_time_is_over() {
    std::mutex mutex;
    IdleWorkers idle;
    for (int i = 0; i < 200; ++i) {
        std::atomic<bool> is_over = false;
        std::thread worker([&] {
            {
                PoolLock lock(mutex, idle);
                idle.sleep_until(lock.to_wait_with(), Clock::now() + std::chrono::microseconds(50));
            }
            is_over = true;
        });
        while (!is_over) {
            std::this_thread::yield();
            const PoolLock lock(mutex, idle);
            idle.call();
        }
        worker.join();
        const PoolLock lock(mutex, idle);
        check::is_true(!idle.call(), "nobody is on its way afterwards");
        check::equal(idle.take_called().sleepers, 0U);
    }
}

void test_spin() {
    std::mutex mutex;
    IdleWorkers idle;
    PoolLock lock(mutex, idle);
    idle.begin_spin();
    check::is_true(idle.has_spinner(), "one spins");
    check::is_true(idle.call(), "the one that spins is called");
    check::is_true(!idle.has_spinner(), "it was called");
    const auto called = idle.take_called();
    check::is_true(called.spinner, "it is to be told");
    check::equal(called.sleepers, 0U);
    check::is_true(idle.end_spin(), "it has found work");
    idle.begin_spin();
    check::is_true(!idle.end_spin(), "it has found none");
    lock.unlock();
}

}  // namespace

int main() {
    return check::run({
        {"nobody is idle", test_nobody_is_idle},
        {"one comes at a time", test_one_comes_at_a_time},
        {"one takes long to come", test_one_takes_long_to_come},
        {"each calls the next", test_each_calls_the_next},
        {"the time is over", test_time_is_over},
        {"a spin", test_spin},
    });
}
