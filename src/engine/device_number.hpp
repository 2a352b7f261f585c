// SPDX-License-Identifier: Apache-2.0
// The number under which DeviceQueues counts the requests of a device.
#pragma once

#include <cstdint>

namespace engine {

// The number of a device, the same for its files and its paths. It is always even: odd numbers are
// free for requests without a device.
constexpr std::uint64_t device_number(std::uint32_t device_major,
                                      std::uint32_t device_minor) noexcept {
    return (std::uint64_t{device_major} << 32U | device_minor) << 1U;
}

}  // namespace engine
