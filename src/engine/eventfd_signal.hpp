// SPDX-License-Identifier: Apache-2.0
// Adding to an eventfd's counter, as the kernel does: without ever waiting.
#pragma once

#include <poll.h>
#include <unistd.h>

#include <cstdint>

namespace engine {

// One that does not block, or that nobody else adds to.
inline void signal_eventfd(int fd, std::uint64_t count = 1) noexcept {
    // It fails only where the counter is so high that it is readable anyway.
    [[maybe_unused]] const auto written = write(fd, &count, sizeof count);
}

// Any one: where writing to it may block, what its counter has no room for is left out.
inline void signal_any_eventfd(int fd, std::uint64_t count, bool may_block) noexcept {
    if (!may_block) {
        signal_eventfd(fd, count);
        return;
    }
    pollfd look{.fd = fd, .events = POLLIN | POLLOUT, .revents = 0};
    while (count != 0 && poll(&look, 1, 0) == 1 && (look.revents & POLLOUT) != 0) {
        // how much more fits is known of an empty one only
        const auto part = (look.revents & POLLIN) != 0 ? std::uint64_t{1} : count;
        signal_eventfd(fd, part);
        count -= part;
    }
}

}  // namespace engine
