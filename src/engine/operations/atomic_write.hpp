// SPDX-License-Identifier: Apache-2.0
// A file's contents replaced as a whole: whoever opens it, and whatever happens, finds the old or
// the new.
#pragma once

#include <cstddef>
#include <cstdint>

namespace engine {

// Writes a new file, syncs it, and gives it the name. A symbolic link is followed. The mode of a
// file that was there is kept, and its owner and attributes as far as that is allowed; what is no
// regular file is refused. `is_durable`: the name is on the disk, too. In a thread that may wait.
// Returns 0 or a negative errno.
//
// Killed between two of its last steps it leaves a file whose name begins with ".linux-aio-".
std::int64_t write_atomically(int dir_fd, const char* path, const char* data, std::size_t size,
                              bool is_durable) noexcept;

}  // namespace engine
