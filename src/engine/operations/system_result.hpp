// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <cstdint>

namespace engine {

// What a system call returned, or its negative errno.
inline std::int64_t result_of(std::int64_t status) noexcept { return status < 0 ? -errno : status; }

}  // namespace engine
