// SPDX-License-Identifier: Apache-2.0
// Devices, as those who count what is at work for each tell them apart.
#pragma once

#include <cstdint>

namespace engine {

// The number of a device, of files and paths alike. Even: an odd one is that of no device.
constexpr std::uint64_t device_number(std::uint32_t device_major,
                                      std::uint32_t device_minor) noexcept {
    return (std::uint64_t{device_major} << 32U | device_minor) << 1U;
}

}  // namespace engine
