// SPDX-License-Identifier: Apache-2.0
// Questions about a file that a transfer asks before it begins. The calls may wait for the file
// system.
#pragma once

#include <cstdint>

namespace bulk {

// The size of a regular file or a block device; 0 for other files, and if it can't be found out.
std::uint64_t size_of_file(int fd) noexcept;

// Whether direct I/O is likely to be faster than reading the file through the page cache. It is
// faster on local disks, and not on file systems in memory or on the network.
bool gains_by_direct(int fd) noexcept;

// Whether the file system, or its server, copies the data itself in copy_file_range(2).
bool copies_by_itself(int fd) noexcept;

// Whether this process has POSIX record locks on the file (fcntl_locking(2)). They would be lost
// when the process closes any other descriptor of the file. True if that can't be found out.
bool holds_record_locks(int fd) noexcept;

}  // namespace bulk
