// SPDX-License-Identifier: Apache-2.0
// Limits the time that operations that complete at once may take of one turn of an event loop.
//
// A task that reads cached data never has to suspend, and would keep all other tasks waiting. So
// the time of submissions is added up. Once it reaches the limit, awaited operations are queued
// until the next turn. There is one budget for each thread, since a thread runs one loop; all
// contexts share it.
//
// If several tasks read cached data, each task has a slice of that time, and then queues behind the
// others. So one round of all tasks takes `round`, and as much again for the suspensions.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace python {

class TurnBudget {
public:
    using Clock = std::chrono::steady_clock;

    // The time in a turn for operations that complete at once, and as much for waking tasks.
    static constexpr std::chrono::nanoseconds limit = std::chrono::microseconds(300);

    static TurnBudget& of_this_thread() noexcept {
        static thread_local TurnBudget budget;
        return budget;
    }

    bool is_used_up() const noexcept { return spent_ >= limit; }

    // Whether `who`, one of the objects that share the budget, may spend of it.
    bool may_spend(const void* who) noexcept {
        if (is_used_up()) {
            is_contended_ = is_contended_ || who != last_spender_;
            return false;
        }
        last_spender_ = who;
        return true;
    }

    // Whether the running task may go on, while `waiting` other tasks wait for their turn.
    bool has_slice(Clock::time_point now, std::size_t waiting) noexcept {
        if (slice_begin_ == Clock::time_point()) {
            slice_begin_ = now;
        }
        return waiting == 0 || now - slice_begin_ < std::max<std::chrono::nanoseconds>(
                                                        round / waiting, shortest_slice);
    }

    // Whether the running task is to let others run before a call that a file's buffers may answer.
    // Such a call takes less time than to read the clock. So calls are counted by their work, and
    // the clock is read when that may have taken `limit` / 10. A slice seems to begin when the
    // clock is first read, and to go on while the task waits for other things than our operations:
    // then a call in many lets others run in vain.
    bool is_slice_over(std::size_t work) noexcept {
        if (is_over_) {
            return true;
        }
        buffered_work_ += work;
        if (buffered_work_ < work_between_looks) {
            return false;
        }
        buffered_work_ = 0;
        const auto now = Clock::now();
        if (calls_begin_ == Clock::time_point()) {
            calls_begin_ = now;
        }
        is_over_ = now - calls_begin_ >= limit;
        return is_over_;
    }

    // The work of a call, as is_slice_over() counts it: 1 is about 20 ns.
    static constexpr std::size_t work_of_python = 100;
    static std::size_t work_of_call(std::size_t bytes) noexcept { return 20 + bytes / 256; }

    // A task suspends: the next one begins a slice of its own.
    void end_slice() noexcept {
        slice_begin_ = {};
        calls_begin_ = {};
        is_over_ = false;
    }

    // Spends the time that a short operation took.
    void spend(std::chrono::nanoseconds time) noexcept { spent_ += time + overhead; }

    // Whether, lately, one spender has used up time that another needed. Then no task should go on
    // without suspending.
    bool is_contended() const noexcept {
        return is_contended_ || (was_contended_ && Clock::now() - contended_at_ < memory);
    }

    // Returns the number of the current turn. Code that has to wait for the next turn passes this
    // number to start_next() there.
    std::uint64_t turn() const noexcept { return turn_; }

    // The first call in a turn starts a new budget. Does nothing if `past` is not the current turn.
    void start_next(std::uint64_t past) noexcept {
        if (past == turn_) {
            ++turn_;
            spent_ = {};
            was_contended_ = std::exchange(is_contended_, false);
            if (was_contended_) {
                contended_at_ = Clock::now();
            }
        }
    }

    // Spends the time of the object's life. Reading the clock costs a tenth of a small transfer, so
    // only one small transfer in `sample` is measured, and counts for all of them.
    class Measure {
    public:
        Measure(TurnBudget& budget, std::size_t bytes) noexcept : budget_(budget) {
            const bool is_small = bytes <= small_bytes;
            if (!is_small) {
                weight_ = 1;
            } else if (budget.small_count_++ % sample == 0) {
                weight_ = sample;
            }
            if (weight_ != 0) {
                start_ = Clock::now();
            }
        }
        Measure(const Measure&) = delete;
        Measure& operator=(const Measure&) = delete;
        ~Measure() {
            if (weight_ != 0) {
                budget_.spent_ += (Clock::now() - start_) * weight_;
            }
        }

    private:
        static constexpr std::size_t small_bytes = std::size_t{16} * 1024;
        static constexpr unsigned sample = 8;

        TurnBudget& budget_;
        unsigned weight_ = 0;
        Clock::time_point start_;
    };

private:
    static constexpr std::chrono::nanoseconds memory = std::chrono::milliseconds(10);
    static constexpr std::chrono::nanoseconds round = std::chrono::microseconds(400);
    static constexpr std::chrono::nanoseconds shortest_slice = std::chrono::microseconds(4);
    // The time that a short operation takes besides its system call.
    static constexpr std::chrono::nanoseconds overhead = std::chrono::microseconds(1);
    // The work of the calls after which is_slice_over() reads the clock.
    static constexpr std::size_t work_between_looks = 1500;

    std::chrono::nanoseconds spent_{};
    std::uint64_t turn_ = 0;
    Clock::time_point slice_begin_;
    Clock::time_point calls_begin_;
    std::size_t buffered_work_ = 0;
    bool is_over_ = false;  // the slice, until a task suspends
    unsigned small_count_ = 0;
    const void* last_spender_ = nullptr;
    bool is_contended_ = false;   // in this turn
    bool was_contended_ = false;  // in the turn before, which ended at:
    Clock::time_point contended_at_;
};

}  // namespace python
