// SPDX-License-Identifier: Apache-2.0
// Decides what happens to reads of files that can't be read with RWF_NOWAIT, such as those of
// overlayfs. If few are asked for at a time, the submitting thread asks for the pages of each
// (mapped_pages.hpp) and reads what is in memory. If many are, workers read them side by side: to
// ask takes longer than to hand over, which many reads share.
#pragma once

#include <atomic>
#include <cstddef>

namespace engine {

class SideBySide {
public:
    // Whether workers are faster than the submitting thread. `submitted`: how many requests are
    // submitted together. No two threads may call this at a time.
    bool is_faster(std::size_t submitted) noexcept {
        const auto at_a_time = submitted + in_flight_.load(std::memory_order_relaxed);
        is_faster_ = at_a_time >= many || (is_faster_ && at_a_time > few);
        return is_faster_;
    }

    // Such a read was given to a worker (note_sent()), or came back from it.
    void note_sent() noexcept { in_flight_.fetch_add(1, std::memory_order_relaxed); }
    void note_returned() noexcept { in_flight_.fetch_sub(1, std::memory_order_relaxed); }

private:
    static constexpr std::size_t many = 9;
    static constexpr std::size_t few = 2;

    std::atomic<std::size_t> in_flight_ = 0;
    bool is_faster_ = false;
};

}  // namespace engine
