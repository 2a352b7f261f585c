// SPDX-License-Identifier: Apache-2.0
// Replaces a file's contents as a whole: a program that opens the file, even after a crash, finds
// either the old contents or the new ones.
#pragma once

#include <cstddef>
#include <cstdint>

namespace engine {

// Writes a new file, syncs it, and gives it the name `path`. Follows a symbolic link. The new file
// gets the mode of the old one, and its owner and attributes as far as that is allowed. A path that
// is no regular file is refused. `is_durable`: at the end, the name is on the disk, too. Must be
// called in a thread that may wait. Returns 0 or a negative errno.
//
// If the process is killed between two of the last steps, a file remains whose name begins with
// ".linux-aio-".
std::int64_t write_atomically(int dir_fd, const char* path, const char* data, std::size_t size,
                              bool is_durable) noexcept;

}  // namespace engine
