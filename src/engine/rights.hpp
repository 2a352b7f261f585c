// SPDX-License-Identifier: Apache-2.0
// The rights of a thread: what it may do with paths, and which files paths name for it. A thread of
// ours carries out operations on paths only for threads that have the same rights.
//
// The kernel does not tell all rights. A thread's Landlock domain can't be seen; but an
// unprivileged thread has to set no_new_privs before it enters one, and that can be seen.
#pragma once

#include <linux/capability.h>
#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>

namespace engine {

struct Rights {
    // The rights of the calling thread.
    static Rights of_this_thread() noexcept;

    // Whether two threads have the same credentials and restrictions, and the same root, working
    // directory, umask and mount namespace. Must be called in one of the two threads.
    bool allow_the_same(const Rights& other) const noexcept;

    pid_t thread = 0;
    std::array<std::uint32_t, 8> ids{};  // real, effective, saved and file system's
    std::uint64_t groups = 0;            // a digest
    std::array<std::uint32_t, 6> capabilities{};
    int no_new_privs = 0;
    int seccomp = 0;
};

}  // namespace engine
