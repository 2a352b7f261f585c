// SPDX-License-Identifier: Apache-2.0
// Finding a file without waiting: its path is in the kernel's cache, and the file on a local mount.
#pragma once

#include <sys/stat.h>

#include <cstdint>

#include "engine/unique_fd.hpp"

namespace engine {

struct CachedPath {
    UniqueFd file;  // opened with O_PATH; not open: it can't be told without waiting, or `error`
    int error = 0;  // what the path leads to, beyond doubt
    struct statx status{};
};

// Looks a path up, if that needs nothing but the kernel's cache. `follows`: if the last part of the
// path is a symbolic link, what it leads to. The status has the fields of STATX_BASIC_STATS.
CachedPath find_cached(int dir_fd, const char* path, bool follows) noexcept;

// The number of the device that the path leads to, as far as the kernel's cache knows the way: the
// rest most likely lies on the same one. 0: nothing is known.
std::uint64_t find_cached_device(int dir_fd, const char* path) noexcept;

}  // namespace engine
