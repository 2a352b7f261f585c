// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace engine {

// Writes all of the data where the file stands, in as many calls as that takes. In a thread that
// may wait. Returns 0 or a negative errno.
std::int64_t write_all(int fd, const char* data, std::size_t size) noexcept;

}  // namespace engine
