// SPDX-License-Identifier: Apache-2.0
// Decides whether to try a read that will miss the page cache, told not to wait (RWF_NOWAIT). The
// kernel refuses the read, but (from Linux 5.12 on) begins to read ahead before that. So the disk
// is already at work while the read goes to a thread of ours, which has to wake up first.
//
// A try is worth its price if several reads follow each other, the disk has little to do, and the
// submitting thread would only wait for it, because it has no completions to take.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace engine {

class ReadaheadProbe {
public:
    // Counts as one read. `unreaped`: completions that nobody has taken yet.
    bool is_needed(std::size_t unreaped) noexcept {
        if (unreaped > few) {
            return false;
        }
        const auto now = in_flight_.load(std::memory_order_relaxed);
        const auto most = most_.load(std::memory_order_relaxed);
        const auto before = most_before_.load(std::memory_order_relaxed);
        if (now >= enough || std::max(most, now == 0 ? 0 : before) < several) {
            return false;
        }
        const auto rest = rest_.load(std::memory_order_relaxed);
        if (rest != 0) {
            rest_.store(rest - 1, std::memory_order_relaxed);
        }
        return rest == 0;
    }

    // Notes how long a try took. A try may have to wait in spite of RWF_NOWAIT, for instance for
    // the metadata that says where on the disk the file's data is. After such a try, a number of
    // reads are not tried.
    void note_time(std::chrono::nanoseconds time) noexcept {
        if (time > longest) {
            rest_.store(long_rest, std::memory_order_relaxed);
        }
    }

    // A read that missed was sent to another thread (note_sent()), or came back from it.
    void note_sent() noexcept {
        const auto before = in_flight_.fetch_add(1, std::memory_order_relaxed);
        if (before == 0) {
            most_before_.store(most_.exchange(0, std::memory_order_relaxed),
                               std::memory_order_relaxed);
        }
        const auto most = most_.load(std::memory_order_relaxed);
        most_.store(std::max(most, before + 1), std::memory_order_relaxed);
    }
    void note_returned() noexcept { in_flight_.fetch_sub(1, std::memory_order_relaxed); }

private:
    static constexpr std::uint32_t enough = 32;
    static constexpr std::uint32_t several = 4;
    static constexpr std::size_t few = 4;
    static constexpr std::chrono::microseconds longest{100};
    static constexpr std::uint32_t long_rest = 256;

    std::atomic<std::uint32_t> in_flight_ = 0;
    std::atomic<std::uint32_t> most_ = 0;         // the most in flight since there last were none
    std::atomic<std::uint32_t> most_before_ = 0;  // the most in flight in the period before that
    std::atomic<std::uint32_t> rest_ = 0;         // how many of the next reads are not tried
};

}  // namespace engine
