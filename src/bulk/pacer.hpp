// SPDX-License-Identifier: Apache-2.0
// Limits the number of requests in flight: fewer on a slow disk. A program that is interrupted by
// Ctrl-C has to wait for the requests in flight, and that wait must be short on a slow disk, too.
#pragma once

#include <algorithm>
#include <chrono>

namespace bulk {

class Pacer {
public:
    using Clock = std::chrono::steady_clock;

    explicit Pacer(unsigned depth) noexcept : depth_(depth), allowed_(depth) {}

    unsigned allowed() const noexcept { return allowed_; }

    void completed(Clock::duration latency) noexcept {
        if (latency > slow) {
            allowed_ = std::max(least, allowed_ / 2);
        } else if (latency < fast) {
            allowed_ = std::min(depth_, allowed_ + 1);
        }
    }

private:
    static constexpr std::chrono::milliseconds slow{60};
    static constexpr std::chrono::milliseconds fast{30};
    static constexpr unsigned least = 1;

    unsigned depth_;
    unsigned allowed_;
};

}  // namespace bulk
