// SPDX-License-Identifier: Apache-2.0
// Adding to an eventfd's counter.
#pragma once

#include <unistd.h>

#include <cstdint>

namespace engine {

inline void signal_eventfd(int fd, std::uint64_t count = 1) noexcept {
    // It fails only where the counter is so high that it is readable anyway.
    [[maybe_unused]] const auto written = write(fd, &count, sizeof count);
}

}  // namespace engine
