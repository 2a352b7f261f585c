// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <cstdint>

namespace engine {

// The value that a system call returned or, if it failed, its negative errno.
inline std::int64_t result_of(std::int64_t status) noexcept { return status < 0 ? -errno : status; }

}  // namespace engine
