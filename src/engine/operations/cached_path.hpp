// SPDX-License-Identifier: Apache-2.0
// Finds a file without waiting, if its path is in the kernel's cache and it is on a local mount.
#pragma once

#include <sys/stat.h>

#include <cstdint>

#include "engine/unique_fd.hpp"

namespace engine {

struct CachedPath {
    UniqueFd file;  // opened with O_PATH; not open if `error` is set, or if to look would wait
    int error = 0;  // the errno to which the path leads for sure; 0: none
    struct statx status{};
};

// Looks a path up, if that needs nothing but the kernel's cache. `follows`: follows a symbolic link
// at the end of the path. The status has the fields of STATX_BASIC_STATS.
CachedPath find_cached(int dir_fd, const char* path, bool follows) noexcept;

// Opens the regular file that find_cached() found by this path, with O_NONBLOCK, so that the open
// does not wait for the end of another process's lease (fcntl_locking(2)). Not open if the path is
// no longer in the kernel's cache, or leads to another file by now.
UniqueFd open_cached(const CachedPath& found, int dir_fd, const char* path, int flags) noexcept;

// The number of the device on which the path most likely lies: the device of the last part of the
// path that is in the kernel's cache. 0: nothing is known.
std::uint64_t find_cached_device(int dir_fd, const char* path) noexcept;

}  // namespace engine
