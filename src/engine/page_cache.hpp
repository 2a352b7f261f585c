// SPDX-License-Identifier: Apache-2.0
// Asks the kernel which parts of a file are in memory. The functions start no I/O and do not wait.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/file_status.hpp"

namespace engine {

enum class InMemory : std::uint8_t { unknown, no, yes };

// The size of a page of memory, in bytes.
std::size_t page_size() noexcept;

// How many pages the bytes touch. At least one.
std::uint64_t pages_of(std::uint64_t offset, std::size_t length) noexcept;

// Whether the page cache has all of these bytes, by cachestat(2) of Linux 6.5. The answer is
// unknown for another user's file that was opened read-only, and no for a file system on top of
// another one, such as overlayfs, which has no pages itself (mapped_pages.hpp). `status` is set if
// the answer is no.
InMemory is_cached(int fd, std::uint64_t offset, std::size_t length, FileStatus& status) noexcept;

// Whether the kernel has in memory where on the disk these bytes of an ext4 file are. If not, every
// read, even one that is told not to wait, first reads this from the disk.
InMemory are_extents_known(int fd, const FileStatus& status, std::uint64_t offset,
                           std::size_t length) noexcept;

}  // namespace engine
