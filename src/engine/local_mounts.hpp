// SPDX-License-Identifier: Apache-2.0
// Which mounts are of a file system on a local disk or in memory: its inodes in memory are up to
// date, and are found without asking anybody. To find out, fstatfs(2), may wait for a server: only
// threads that may wait learn, for the whole process, and others look it up.
#pragma once

#include <sys/stat.h>

#include <cstdint>

namespace engine {

class LocalMounts {
public:
    // What statx(2) is to be asked for.
    static constexpr unsigned mask = 0x1000U | 0x4000U;  // STATX_MNT_ID and STATX_MNT_ID_UNIQUE

    // For the file that `status` is of. May block.
    static void learn(int fd, const struct statx& status) noexcept;

    // False also for those not learnt yet.
    static bool is_local(const struct statx& status) noexcept;
};

}  // namespace engine
