// SPDX-License-Identifier: Apache-2.0
// The workers of a pool that have no work: one may spin, the others sleep.
//
// A worker that is woken needs the pool's lock at once. So a thread that holds the lock only notes
// that it calls a worker (call()). PoolLock wakes the worker after it has given the lock back.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "engine/adaptive_spin.hpp"

namespace engine {

class IdleWorkers {
public:
    using Clock = std::chrono::steady_clock;

    // All of these are called with the pool's lock held, unless they say otherwise.

    // Calls one of the workers, unless one is on its way: that one calls the next if it finds work
    // for two. Returns false if all are at work. One that takes long to come is not counted on:
    // it may wait for a processor, and older glibc may lose a wake-up (its bug 25847).
    bool call() noexcept {
        if (std::exchange(is_spinning_, false)) {
            calls_spinner_ = true;
            return true;
        }
        const auto now = Clock::now();
        if (coming_ != 0 && now - called_at_ < longest_way) {
            return true;
        }
        if (sleeping_ == 0) {
            return false;
        }
        --sleeping_;
        ++coming_;
        ++called_;
        called_at_ = now;
        return true;
    }

    // The workers that were called since this was last asked for.
    struct Called {
        unsigned sleepers = 0;
        bool spinner = false;
    };
    Called take_called() noexcept {
        return {.sleepers = std::exchange(called_, 0),
                .spinner = std::exchange(calls_spinner_, false)};
    }

    // May be called without the lock.
    void wake(const Called& called) noexcept {
        if (called.spinner) {
            has_work_.store(true, std::memory_order_release);
        }
        for (auto left = called.sleepers; left != 0; --left) {
            work_came_.notify_one();
        }
    }

    void wake_all() noexcept { work_came_.notify_all(); }

    // The calling worker sleeps until it is called, at most until `end`. It may wake up too soon.
    std::cv_status sleep_until(std::unique_lock<std::mutex>& lock, Clock::time_point end) noexcept {
        ++sleeping_;
        const auto status = work_came_.wait_until(lock, end);
        // Which of the sleepers was meant does not matter: the first to wake up counts as called.
        --(coming_ != 0 ? coming_ : sleeping_);
        return status;
    }

    bool has_spinner() const noexcept { return is_spinning_; }
    void begin_spin() noexcept {
        has_work_.store(false, std::memory_order_relaxed);
        is_spinning_ = true;
    }
    // Called without the lock.
    void spin(const AdaptiveSpin& spin) const noexcept { spin.spin(has_work_); }
    // Returns whether the worker that spun was called.
    bool end_spin() noexcept { return !std::exchange(is_spinning_, false); }

private:
    static constexpr std::chrono::milliseconds longest_way{1};

    std::condition_variable work_came_;
    unsigned sleeping_ = 0;
    unsigned coming_ = 0;  // were called, and do not have the lock yet
    Clock::time_point called_at_;
    unsigned called_ = 0;
    bool is_spinning_ = false;
    bool calls_spinner_ = false;
    std::atomic<bool> has_work_ = false;  // tells the worker that spins
};

// Holds the lock of a pool.
class PoolLock {
public:
    PoolLock(std::mutex& mutex, IdleWorkers& idle) noexcept : lock_(mutex), idle_(idle) {}
    PoolLock(std::unique_lock<std::mutex> lock, IdleWorkers& idle) noexcept
        : lock_(std::move(lock)), idle_(idle) {}
    PoolLock(const PoolLock&) = delete;
    PoolLock& operator=(const PoolLock&) = delete;
    ~PoolLock() {
        if (lock_.owns_lock()) {
            unlock();
        }
    }

    void lock() noexcept { lock_.lock(); }

    void unlock() noexcept {
        const auto called = idle_.take_called();
        lock_.unlock();
        idle_.wake(called);
    }

    // For a wait, which gives the lock back.
    std::unique_lock<std::mutex>& to_wait_with() noexcept {
        idle_.wake(idle_.take_called());
        return lock_;
    }

private:
    std::unique_lock<std::mutex> lock_;
    IdleWorkers& idle_;
};

}  // namespace engine
