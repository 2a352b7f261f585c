// SPDX-License-Identifier: Apache-2.0
// Reads in the submitting thread of what is in the page cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "engine/operations/cached_path.hpp"
#include "engine/unique_fd.hpp"

namespace engine {

// Opens for reading a regular file that find_cached() found. Not open: that may wait.
UniqueFd open_cached(const CachedPath& found) noexcept;

// Reads up to `capacity` bytes from `offset` on, of which the first `size` are in the file. Returns
// how many were read; no value if that may wait.
std::optional<std::size_t> read_cached(int fd, std::uint64_t offset, std::size_t size, char* data,
                                       std::size_t capacity) noexcept;

}  // namespace engine
