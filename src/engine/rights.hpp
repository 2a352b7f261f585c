// SPDX-License-Identifier: Apache-2.0
// What a thread may do with paths, and what they name for it, as far as it can be seen: a thread of
// ours carries out operations on paths only for threads that have the same.
//
// A domain of Landlock can't be seen, but an unprivileged thread has to set no_new_privs before it
// enters one.
#pragma once

#include <linux/capability.h>
#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>

namespace engine {

struct Rights {
    // Of the calling thread.
    static Rights of_this_thread() noexcept;

    // The same credentials and restrictions, and the same root, working directory, umask and mount
    // namespace. To be asked by one of the two threads.
    bool allow_the_same(const Rights& other) const noexcept;

    pid_t thread = 0;
    std::array<std::uint32_t, 8> ids{};  // real, effective, saved and file system's
    std::uint64_t groups = 0;            // a digest
    std::array<std::uint32_t, 6> capabilities{};
    int no_new_privs = 0;
    int seccomp = 0;
};

}  // namespace engine
