// SPDX-License-Identifier: Apache-2.0
// Which devices are known to be local disks. To find out, fstatfs(2), can wait for a server on the
// network; so only who may wait learns, for the whole process, and others look it up.
#pragma once

#include <cstdint>

namespace engine {

class DeviceBook {
public:
    // May block.
    static void learn(int fd) noexcept;

    static bool is_local_disk(std::uint64_t device) noexcept;
};

}  // namespace engine
