// SPDX-License-Identifier: Apache-2.0
// Finds the folder and the name to which a path leads, if its last part is a symbolic link.
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
    struct statx status{};  // of the target, if it exists
};

// Must be called in a thread that may wait. It is an error if the path can't be the name of a file,
// or leads to a file that has no name.
LinkTarget find_link_target(int dir_fd, const char* path) noexcept;

// Whether open(2) would open the target for writing, if it exists. Returns 0 or a negative errno.
int may_write(const LinkTarget& target) noexcept;

// Syncs a folder, so that its names are on the disk. If the folder can't be synced, syncs the whole
// file system, by `file`, which is any open file on it. Returns 0 or a negative errno.
int sync_folder(int folder, int file) noexcept;

}  // namespace engine
