// SPDX-License-Identifier: Apache-2.0
// Questions to the kernel about what of a file is in memory. They start nothing and wait for
// nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/file_status.hpp"

namespace engine {

enum class InMemory : std::uint8_t { unknown, no, yes };

// Whether the page cache has all of these bytes, by cachestat(2), which came with Linux 6.5.
// Unknown for others' files that were opened read-only. A file system on top of another one, as
// overlayfs, has no pages itself: no. `status` is set if the answer is no.
InMemory is_cached(int fd, std::uint64_t offset, std::size_t length, FileStatus& status) noexcept;

// The same by mincore(2) of a mapping of the file: also on overlayfs, but costs more. Of others'
// files the kernel says nothing that is true: unknown.
InMemory is_cached_below(int fd, const FileStatus& status, std::uint64_t offset,
                         std::size_t length) noexcept;

// Whether the kernel knows where on the disk these bytes of an ext4 file are. If not, each kind of
// read, also one that is told not to wait, reads that from the disk first.
InMemory are_extents_known(int fd, const FileStatus& status, std::uint64_t offset,
                           std::size_t length) noexcept;

}  // namespace engine
