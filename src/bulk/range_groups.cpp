// SPDX-License-Identifier: Apache-2.0
#include "bulk/range_groups.hpp"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "bulk/sizes.hpp"
#include "engine/page_cache.hpp"

namespace bulk {
namespace {

std::int64_t add(std::int64_t offset, std::int64_t length) noexcept {
    return length > INT64_MAX - offset ? INT64_MAX : offset + length;
}

Range pages_of(const RangeGroup& group, std::uint64_t window) noexcept {
    const auto offset = static_cast<std::uint64_t>(group.offset);
    if (group.length == 0) {
        return {.offset = offset, .length = 0, .window = window};
    }
    const auto page = engine::page_size();
    const auto start = round_down(offset, page);
    const auto end = round_up(offset + static_cast<std::uint64_t>(group.length), page);
    return {.offset = start,
            .length = std::min<std::uint64_t>(end, INT64_MAX) - start,
            .window = window};
}

// Puts the ranges of a window into groups, and returns how many groups that makes.
std::size_t group_window(std::span<const WantedRange> ranges, std::int64_t begin,
                         std::span<std::int64_t> order, const GroupLimits& limits,
                         std::span<RangeGroup> groups) noexcept {
    std::ranges::sort(order, {}, [&](std::int64_t index) {
        const auto& range = ranges[static_cast<std::size_t>(index)];
        return std::tuple(range.offset, range.length, index);
    });
    std::size_t count = 0;
    std::int64_t reach = -1;  // where the next range of the group has to begin at most
    std::int64_t limit = -1;  // and to end at most
    auto place = begin;
    for (const auto index : order) {
        const auto [offset, length] = ranges[static_cast<std::size_t>(index)];
        const auto end = offset + length;
        if (offset > reach || end > limit) {
            limit = add(offset, limits.max_merge);
            reach = -1;
            groups[count++] = {.offset = offset, .length = 0, .first = place, .end = place};
        }
        auto& group = groups[count - 1];
        if (end - group.offset >= group.length) {
            group.length = end - group.offset;
            reach = add(end, limits.max_gap);
        }
        group.end = ++place;
    }
    return count;
}

}  // namespace

std::size_t group_ranges(std::span<const WantedRange> ranges, std::span<const std::int64_t> ends,
                         std::uint64_t first_window, const GroupLimits& limits,
                         const GroupMemory& memory) noexcept {
    std::iota(memory.order.begin(), memory.order.end(), 0);
    std::size_t count = 0;
    std::int64_t begin = 0;
    auto window = first_window;
    for (const auto end : ends) {
        const auto part = memory.order.subspan(static_cast<std::size_t>(begin),
                                               static_cast<std::size_t>(end - begin));
        const auto groups = memory.groups.subspan(count);
        const auto added = group_window(ranges, begin, part, limits, groups);
        for (std::size_t i = 0; i < added; ++i) {
            memory.pieces[count + i] = pages_of(groups[i], window);
        }
        count += added;
        begin = end;
        ++window;
    }
    return count;
}

}  // namespace bulk
