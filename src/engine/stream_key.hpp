// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace engine {

// Names what a stream's bytes come from, however often it is open.
struct StreamKey {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::uint64_t special = 0;  // of a device
    std::int64_t made_at = 0;   // another terminal, or FIFO, may get the number of one that is gone
    std::uint32_t made_at_ns = 0;  // nanoseconds
    bool operator==(const StreamKey&) const = default;
};

}  // namespace engine
