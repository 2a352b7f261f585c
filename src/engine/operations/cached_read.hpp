// SPDX-License-Identifier: Apache-2.0
// Reads data from the page cache in the submitting thread, without waiting.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace engine {

// Reads up to `capacity` bytes from `offset` on; the file has `size` bytes from there on. Returns
// how many were read; no value if that may wait.
std::optional<std::size_t> read_cached(int fd, std::uint64_t offset, std::size_t size, char* data,
                                       std::size_t capacity) noexcept;

}  // namespace engine
