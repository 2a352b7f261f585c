// SPDX-License-Identifier: Apache-2.0
// The device whose requests may hang together.
#pragma once

#include <cstdint>

namespace engine {

// The number of the device of a file; 0 if there is none. Does not wait. Files without a device,
// such as terminals, count as one device together.
std::uint64_t device_of(int fd) noexcept;

}  // namespace engine
