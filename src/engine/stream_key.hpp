// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace engine {

// Identifies a stream: the same for all descriptors from which the same bytes can be read.
struct StreamKey {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::uint64_t special = 0;     // the number of a device file's device
    std::int64_t made_at = 0;      // a new terminal or FIFO may get the inode of one that is gone
    std::uint32_t made_at_ns = 0;  // nanoseconds
    bool operator==(const StreamKey&) const = default;
};

}  // namespace engine
