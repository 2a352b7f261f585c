// SPDX-License-Identifier: Apache-2.0
// How many operations of a context in flight were submitted lately. Operations that hang, and polls
// of streams that stay idle, are in flight but say nothing of how many operations a disk works on.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace python {

// Time is divided into periods. An operation is recent in the period of its submission and in the
// next one.
class RecentFlights {
public:
    using Clock = std::chrono::steady_clock;

    std::size_t count() const noexcept { return current_ + previous_; }

    // Counts an operation that begins its flight. Returns the period, which end() takes.
    std::uint32_t begin() noexcept {
        ++current_;
        return period_;
    }

    void end(std::uint32_t period) noexcept {
        if (period == period_) {
            --current_;
        } else if (period == period_ - 1) {
            --previous_;
        }
    }

    // Begins a new period if the current one has lasted long enough.
    void advance(Clock::time_point now) noexcept {
        if (now - start_ >= length) {
            start_ = now;
            ++period_;
            previous_ = current_;
            current_ = 0;
        }
    }

private:
    // How long a period lasts. Even a slow disk needs less time for one operation.
    static constexpr std::chrono::milliseconds length{100};

    Clock::time_point start_;
    std::uint32_t period_ = 1;
    std::size_t current_ = 0;
    std::size_t previous_ = 0;
};

}  // namespace python
