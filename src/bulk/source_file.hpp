// SPDX-License-Identifier: Apache-2.0
// What a transfer asks about a file before it begins. These calls may wait for a file system.
#pragma once

#include <cstdint>

namespace bulk {

// The size of a regular file or a block device; 0 for others, and where it is not known.
std::uint64_t size_of_file(int fd) noexcept;

// Whether direct I/O on the file is likely to be faster than reading it into the page cache: it is
// on a local disk. File systems in memory and on the network don't gain.
bool gains_by_direct(int fd) noexcept;

// Whether the file system copies files by itself, when copy_file_range(2) asks it to.
bool copies_by_itself(int fd) noexcept;

// Whether this process has record locks of POSIX on the file (fcntl_locking(2)): to close another
// descriptor of it would drop them. True where that can't be known.
bool holds_record_locks(int fd) noexcept;

}  // namespace bulk
