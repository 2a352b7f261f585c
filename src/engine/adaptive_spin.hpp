// SPDX-License-Identifier: Apache-2.0
// How a thread without work looks for new work for a moment before it sleeps. To sleep and to be
// woken takes tens of microseconds. A program that makes one request after the other often makes
// its next one sooner.
#pragma once

#include <sched.h>

#include <atomic>
#include <chrono>

namespace engine {

class AdaptiveSpin {
public:
    // Whether to spin now. It is not worth it if the last work took long or was long in coming, nor
    // if there is one processor: the program could make no request meanwhile.
    bool is_worth_it() noexcept {
        if (pause_ != 0) {
            --pause_;
            return false;
        }
        return was_brief_ && is_soon_ && has_several_processors_;
    }

    // Spins until `has_news` is true, but no longer than `longest`.
    void spin(const std::atomic<bool>& has_news) const noexcept {
        const auto end = Clock::now() + longest;
        do {
            for (int i = 0; i < looks_between_times; ++i) {
                if (has_news.load(std::memory_order_acquire)) {
                    return;
                }
                relax();
            }
        } while (Clock::now() < end);
    }

    // Notes how a spin ended. After some in a row that ended without work there is none for a
    // while.
    void note_spin(bool has_found) noexcept {
        failures_ = has_found ? 0 : failures_ + 1;
        if (failures_ == most_failures) {
            failures_ = 0;
            pause_ = length_of_pause;
        }
    }

    // Notes how long the thread had no work, the time included that it took to wake up.
    void note_idle(std::chrono::nanoseconds time) noexcept { is_soon_ = time <= 2 * longest; }

    // Notes how long the last work took.
    void note_work(std::chrono::nanoseconds time) noexcept { was_brief_ = time <= longest / 2; }

    // Looks up how many processors the calling thread may run on.
    void count_processors() noexcept {
        cpu_set_t processors;
        CPU_ZERO(&processors);
        // an error means more processors than cpu_set_t has room for
        has_several_processors_ =
            sched_getaffinity(0, sizeof processors, &processors) != 0 || CPU_COUNT(&processors) > 1;
    }

private:
    using Clock = std::chrono::steady_clock;
    static constexpr std::chrono::microseconds longest{100};
    static constexpr int looks_between_times = 16;
    static constexpr int most_failures = 4;
    static constexpr int length_of_pause = 64;

    static void relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        asm volatile("yield" ::: "memory");
#endif
    }

    int failures_ = 0;
    int pause_ = 0;  // how often not to spin
    bool was_brief_ = false;
    bool is_soon_ = false;
    bool has_several_processors_ = false;
};

}  // namespace engine
