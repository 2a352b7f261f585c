// SPDX-License-Identifier: Apache-2.0
// Where a path leads to if its last part is a symbolic link: the folder and the name there.
#pragma once

#include <sys/stat.h>

#include <array>

#include "engine/unique_fd.hpp"

namespace engine {

struct LinkTarget {
    int error = 0;
    UniqueFd folder;  // opened with O_PATH
    std::array<char, 256> name{};
    bool exists = false;
    struct statx status{};  // of what exists
};

// In a thread that may wait. An error, too, if the path can't be the name of a file, or leads to
// what has no name.
LinkTarget find_link_target(int dir_fd, const char* path) noexcept;

// Whether open(2) would let the file be written, if there is one. Returns 0 or a negative errno.
int may_write(const LinkTarget& target) noexcept;

// Has the names of a folder on the disk. `file` is any open file on the same file system, which is
// synced as a whole where the folder can't be. Returns 0 or a negative errno.
int sync_folder(int folder, int file) noexcept;

}  // namespace engine
