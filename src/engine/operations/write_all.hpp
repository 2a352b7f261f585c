// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace engine {

// Writes all of the data at the file's position, in as many system calls as that takes. Must be
// called in a thread that may wait. Returns 0 or a negative errno.
std::int64_t write_all(int fd, const char* data, std::size_t size) noexcept;

}  // namespace engine
