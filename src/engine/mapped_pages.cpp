// SPDX-License-Identifier: Apache-2.0
#include "engine/mapped_pages.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace engine {
namespace {

// How much of a file is mapped, so that the next read of it, too, is probably inside; 0: only what
// is asked for. A window must not use up a limit that other threads need meanwhile. RLIMIT_MEMLOCK
// counts what is mapped after mlockall(MCL_FUTURE); a window that is larger than it is refused.
std::uint64_t window_size() noexcept {
    constexpr std::uint64_t window = sizeof(void*) == 8 ? std::uint64_t{1} << 30U : 0;
    rlimit space{};
    rlimit locked{};
    const bool is_harmless = getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur == RLIM_INFINITY &&
                             getrlimit(RLIMIT_MEMLOCK, &locked) == 0 &&
                             (locked.rlim_cur == RLIM_INFINITY || locked.rlim_cur < window);
    return is_harmless ? window : 0;
}

// Of a read of more pages, has() says that it is unknown.
constexpr std::size_t most_pages = 65;

// Whether mincore(2) tells this process the truth about the file.
bool is_told_the_truth(int fd, const FileStatus& status) noexcept {
    return status.owner == geteuid() || (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR;
}

}  // namespace

InMemory MappedPages::has(int fd, const FileStatus& status, std::uint64_t offset,
                          std::size_t length) noexcept {
    if (offset >= status.size) {
        return InMemory::yes;
    }
    length = static_cast<std::size_t>(std::min<std::uint64_t>(length, status.size - offset));
    const auto count = pages_of(offset, length);
    const auto start = offset - offset % page_size();
    const auto size = static_cast<std::size_t>(count) * page_size();
    if (count > most_pages || (!covers(fd, status, start, size) && !map(fd, status, start, size))) {
        return InMemory::unknown;
    }
    std::array<unsigned char, most_pages> pages{};
    if (mincore(mapping_.address() + (start - start_), size, pages.data()) != 0) {
        return InMemory::unknown;
    }
    const bool is_there = std::all_of(pages.begin(), pages.begin() + static_cast<long>(count),
                                      [](unsigned char page_is) { return (page_is & 1U) != 0; });
    return is_there ? InMemory::yes : InMemory::no;
}

bool MappedPages::covers(int fd, const FileStatus& status, std::uint64_t start,
                         std::size_t length) const noexcept {
    const auto size = mapping_.size();
    return mapping_.address() != nullptr && fd_ == fd && identity_ == status.identity &&
           start >= start_ && start - start_ <= size && length <= size - (start - start_);
}

// Maps the part of the file, or a window with the part in it. If the window is refused, because of
// a limit, the part may still be mapped.
bool MappedPages::map(int fd, const FileStatus& status, std::uint64_t start,
                      std::size_t length) noexcept {
    unmap();
    if (!is_told_the_truth(fd, status)) {
        return false;
    }
    bool is_mapped = false;
    if (const auto window = is_shared_ ? window_size() : 0; window != 0) {
        const auto window_start = start - start % window;
        const auto end = std::max(std::min(status.size, window_start + window), start + length);
        start_ = window_start;
        is_mapped = mapping_.map(fd, start_, static_cast<std::size_t>(end - start_));
    }
    if (!is_mapped) {
        start_ = start;
        is_mapped = mapping_.map(fd, start_, length);
    }
    fd_ = fd;
    identity_ = status.identity;
    return is_mapped;
}

}  // namespace engine
