// SPDX-License-Identifier: Apache-2.0
// Remembers which mounts are local: of a file system on a disk of this machine or in memory. The
// kernel's cached inodes of such a file system are up to date, and it asks no server for them.
// fstatfs(2), which tells, may wait for a server. So only threads that may wait call learn(), for
// the whole process, and other threads call is_local().
#pragma once

#include <sys/stat.h>

#include <cstdint>

namespace engine {

class LocalMounts {
public:
    // The mask with which the caller has to call statx(2).
    static constexpr unsigned mask = 0x1000U | 0x4000U;  // STATX_MNT_ID and STATX_MNT_ID_UNIQUE

    // Learns about the mount of the file `fd`, whose status is `status`. May block.
    static void learn(int fd, const struct statx& status) noexcept;

    // Whether the mount of a file is local. False also for mounts that were not learnt yet.
    static bool is_local(const struct statx& status) noexcept;
};

}  // namespace engine
