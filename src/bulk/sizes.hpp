// SPDX-License-Identifier: Apache-2.0
// The sizes and numbers of requests: defaults and limits.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace bulk {

// With these, a disk gives nearly its full speed, and a request costs little more processor time
// per byte than a larger one.
inline constexpr std::size_t default_chunk = std::size_t{1} << 20U;
inline constexpr unsigned default_depth = 16;

// The kernel transfers less than 2 GiB in one request.
inline constexpr std::size_t most_chunk = std::size_t{1} << 30U;
inline constexpr unsigned most_depth = 1024;

// The offsets and lengths of direct requests are multiples of at least this, because file systems
// split requests that are not whole blocks.
inline constexpr std::uint32_t least_transfer_alignment = 4096;

// How often the loader tells a source its progress.
inline constexpr std::chrono::milliseconds tick_interval{40};

inline std::uint64_t round_down(std::uint64_t value, std::uint64_t multiple) noexcept {
    return value - value % multiple;
}
inline std::uint64_t round_up(std::uint64_t value, std::uint64_t multiple) noexcept {
    return round_down(value + multiple - 1, multiple);
}

inline std::size_t chunk_of(std::size_t wanted, std::uint32_t alignment) noexcept {
    const auto chunk = std::min(wanted != 0 ? wanted : default_chunk, most_chunk);
    return static_cast<std::size_t>(round_up(chunk, alignment));
}
inline unsigned depth_of(unsigned wanted) noexcept {
    return std::min(wanted != 0 ? wanted : default_depth, most_depth);
}

}  // namespace bulk
