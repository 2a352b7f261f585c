// SPDX-License-Identifier: Apache-2.0
#include "engine/page_cache.hpp"

#include <linux/fiemap.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "engine/file_status.hpp"
#include "engine/system_call_number.hpp"

namespace engine {
namespace {

constexpr long cachestat_number = number_of_new_call(451);

std::atomic<bool> has_cachestat{true};

}  // namespace

std::size_t page_size() noexcept {
    static const auto size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    return size;
}

std::uint64_t pages_of(std::uint64_t offset, std::size_t length) noexcept {
    const auto page = page_size();
    return (offset % page + std::max<std::size_t>(length, 1) + page - 1) / page;
}

InMemory is_cached(int fd, std::uint64_t offset, std::size_t length, FileStatus& status) noexcept {
    struct Range {
        std::uint64_t offset;
        std::uint64_t length;
    };
    struct Counts {
        std::uint64_t cached;
        std::uint64_t dirty;
        std::uint64_t written_back;
        std::uint64_t evicted;
        std::uint64_t recently_evicted;
    };
    if (!has_cachestat.load(std::memory_order_relaxed)) {
        return InMemory::unknown;
    }
    const Range range{.offset = offset, .length = std::max<std::size_t>(length, 1)};
    Counts counts{};
    if (syscall(cachestat_number, fd, &range, &counts, 0) != 0) {
        if (errno == ENOSYS) {
            has_cachestat.store(false, std::memory_order_relaxed);
        }
        return InMemory::unknown;
    }
    if (counts.cached >= pages_of(offset, length)) {
        return InMemory::yes;
    }
    // behind the end there are no pages
    status = status_of(fd);
    if (offset >= status.size) {
        return InMemory::yes;
    }
    const auto rest = std::min<std::uint64_t>(length, status.size - offset);
    const auto expected = pages_of(offset, static_cast<std::size_t>(rest));
    return counts.cached >= expected ? InMemory::yes : InMemory::no;
}

InMemory are_extents_known(int fd, const FileStatus& status, std::uint64_t offset,
                           std::size_t length) noexcept {
    if (offset >= status.size) {
        return InMemory::yes;
    }
    length = static_cast<std::size_t>(std::min<std::uint64_t>(length, status.size - offset));
    // fs/ext4/ext4.h, Linux 5.4: the extents that are in memory, as FS_IOC_FIEMAP gives all.
    constexpr unsigned long ask = _IOWR('f', 42, struct fiemap);
    constexpr std::size_t most = 8;
    struct Question {
        alignas(fiemap) std::array<std::byte, sizeof(fiemap) + most * sizeof(fiemap_extent)> memory;
    } question{};
    auto& map = *reinterpret_cast<fiemap*>(question.memory.data());
    map.fm_start = offset;
    map.fm_length = std::max<std::size_t>(length, 1);
    map.fm_extent_count = most;
    if (ioctl(fd, ask, &map) != 0) {
        return InMemory::unknown;
    }
    auto known_to = offset;
    const auto* extents =
        reinterpret_cast<const fiemap_extent*>(question.memory.data() + sizeof map);
    for (std::size_t i = 0; i < std::min<std::size_t>(map.fm_mapped_extents, most); ++i) {
        if (extents[i].fe_logical > known_to) {
            break;
        }
        known_to = std::max<std::uint64_t>(known_to, extents[i].fe_logical + extents[i].fe_length);
    }
    return known_to - offset >= length ? InMemory::yes : InMemory::no;
}

}  // namespace engine
