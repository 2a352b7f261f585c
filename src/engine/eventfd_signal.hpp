// SPDX-License-Identifier: Apache-2.0
// Adds to an eventfd's counter without ever waiting, as the kernel does.
#pragma once

#include <poll.h>
#include <unistd.h>

#include <cstdint>

namespace engine {

// For an eventfd that does not block, or that only we add to.
inline void signal_eventfd(int fd, std::uint64_t count = 1) noexcept {
    // The write fails only if the counter is so high that the eventfd is readable anyway.
    [[maybe_unused]] const auto written = write(fd, &count, sizeof count);
}

// For any eventfd. If a write to it may block, adds only as much as its counter has room for.
inline void signal_any_eventfd(int fd, std::uint64_t count, bool may_block) noexcept {
    if (!may_block) {
        signal_eventfd(fd, count);
        return;
    }
    pollfd look{.fd = fd, .events = POLLIN | POLLOUT, .revents = 0};
    while (count != 0 && poll(&look, 1, 0) == 1 && (look.revents & POLLOUT) != 0) {
        // only of an empty counter is it known how much it has room for
        const auto part = (look.revents & POLLIN) != 0 ? std::uint64_t{1} : count;
        signal_eventfd(fd, part);
        count -= part;
    }
}

}  // namespace engine
