// SPDX-License-Identifier: Apache-2.0
// How much time operations that complete at once may take of one turn of an event loop.
//
// A task that reads cached data never has to suspend, and would keep all the others waiting. So the
// time that submissions take is added up; once it is used up, awaited operations queue until the
// next turn. There is one budget for each thread, as a loop has one: for all contexts together.
#pragma once

#include <chrono>
#include <cstdint>

namespace python {

class TurnBudget {
public:
    using Clock = std::chrono::steady_clock;

    static TurnBudget& of_this_thread() noexcept {
        static thread_local TurnBudget budget;
        return budget;
    }

    bool is_used_up() const noexcept { return spent_ >= limit; }
    void spend(Clock::duration time) noexcept { spent_ += time; }

    // Names the turn that runs. Who has to wait for the next one gives it to start_next() there.
    std::uint64_t turn() const noexcept { return turn_; }

    // The first one in a turn begins it anew; nothing if `past` is not the turn that runs.
    void start_next(std::uint64_t past) noexcept {
        if (past == turn_) {
            ++turn_;
            spent_ = {};
        }
    }

private:
    static constexpr Clock::duration limit = std::chrono::microseconds(300);

    Clock::duration spent_{};
    std::uint64_t turn_ = 0;
};

}  // namespace python
