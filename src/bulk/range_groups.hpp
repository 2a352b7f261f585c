// SPDX-License-Identifier: Apache-2.0
// Puts ranges of a file that lie close together into groups. A group is read by one request.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "bulk/piece_reader.hpp"

namespace bulk {

// Offsets and lengths are not negative, and no range ends behind INT64_MAX.
struct WantedRange {
    std::int64_t offset;
    std::int64_t length;
};

struct RangeGroup {
    std::int64_t offset;
    std::int64_t length;
    std::int64_t first;  // its ranges have these places in the order: from first to end - 1
    std::int64_t end;
};

struct GroupLimits {
    std::int64_t max_gap;    // bytes between two ranges of a group, at most
    std::int64_t max_merge;  // bytes of a group of several ranges, at most
};

// Where the result goes: memory for as many elements as there are ranges.
struct GroupMemory {
    std::span<std::int64_t> order;  // indices of ranges
    std::span<RangeGroup> groups;   // by window, then by offset
    std::span<Range> pieces;        // of each group, the whole pages that it lies in
};

// `ends` has the end of each window: only ranges of one window are put into one group. The windows
// are numbered from `first_window` on. Returns the number of groups.
std::size_t group_ranges(std::span<const WantedRange> ranges, std::span<const std::int64_t> ends,
                         std::uint64_t first_window, const GroupLimits& limits,
                         const GroupMemory& memory) noexcept;

}  // namespace bulk
