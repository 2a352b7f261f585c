// SPDX-License-Identifier: Apache-2.0
// Converts times from and to the kernel's types.
#pragma once

#include <time.h>

#include <chrono>
#include <cstdint>

namespace engine {

// Converts a time to timespec, __kernel_timespec or the like. The seconds must fit.
template <class Timespec>
Timespec to_timespec(std::chrono::nanoseconds time) noexcept {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
    Timespec result{};
    result.tv_sec = static_cast<decltype(result.tv_sec)>(seconds.count());
    result.tv_nsec = static_cast<decltype(result.tv_nsec)>((time - seconds).count());
    return result;
}

// The time of CLOCK_MONOTONIC_COARSE in nanoseconds: cheap, but a few milliseconds late.
inline std::int64_t coarse_now() noexcept {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

}  // namespace engine
