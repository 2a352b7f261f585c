// SPDX-License-Identifier: Apache-2.0
#include "bulk/page_cache.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>

#include "engine/file_status.hpp"
#include "engine/page_cache.hpp"
#include "engine/system_call_number.hpp"

namespace bulk {
namespace {

using engine::page_size;

constexpr long cachestat_number = engine::number_of_new_call(451);

struct CachestatRange {
    std::uint64_t offset;
    std::uint64_t length;
};
struct Cachestat {
    std::uint64_t cached;
    std::uint64_t dirty;
    std::uint64_t writeback;
    std::uint64_t evicted;
    std::uint64_t recently_evicted;
};

int cachestat(int fd, CachestatRange range, Cachestat& answer) noexcept {
    return static_cast<int>(syscall(cachestat_number, fd, &range, &answer, 0U));
}

std::uint64_t pages_in(std::uint64_t offset, std::uint64_t end) noexcept {
    return (end + page_size() - 1) / page_size() - offset / page_size();
}

Residency judge(std::uint64_t cached, std::uint64_t pages) noexcept {
    if (cached >= pages) {
        return Residency::all;
    }
    return cached * 2 >= pages ? Residency::most : Residency::little;
}

// mincore(2) answers users who neither own the file nor may write to it that all pages are cached.
bool may_ask_mincore(int fd, const struct stat& status) noexcept {
    const auto user = geteuid();
    return user == 0 || user == status.st_uid ||
           faccessat(fd, "", W_OK, AT_EMPTY_PATH | AT_EACCESS) == 0;
}

}  // namespace

PageCache::PageCache(int fd) noexcept : fd_(fd), method_(choose()) {}

PageCache::Method PageCache::choose() noexcept {
    struct stat status{};
    if (fd_ < 0 || fstat(fd_, &status) != 0) {
        return Method::none;
    }
    size_ = static_cast<std::uint64_t>(std::max<off_t>(status.st_size, 0));
    if (S_ISBLK(status.st_mode)) {
        size_ = 0;
        ioctl(fd_, BLKGETSIZE64, &size_);
    } else if (!S_ISREG(status.st_mode)) {
        return Method::none;
    }
    const auto file_system = S_ISREG(status.st_mode)
                                 ? engine::file_system_of(engine::status_of(fd_))
                                 : engine::FileSystem::other;
    if (file_system == engine::FileSystem::memory) {
        return Method::memory;
    }
    Cachestat answer{};
    // overlayfs caches the pages of the underlying file, which cachestat(2) does not see
    if (file_system != engine::FileSystem::overlay &&
        cachestat(fd_, {.offset = 0, .length = 1}, answer) == 0) {
        return Method::cachestat;
    }
    return may_ask_mincore(fd_, status) && map() ? Method::mincore : Method::nowait;
}

// Nothing reads through the mapping, so there is no SIGBUS if the file shrinks.
bool PageCache::map() noexcept {
    return size_ != 0 && size_ <= SIZE_MAX / 2 &&
           mapping_.map(fd_, 0, static_cast<std::size_t>(size_));
}

Residency PageCache::residency(std::uint64_t offset, std::size_t length) noexcept {
    if (method_ == Method::memory) {
        return Residency::all;
    }
    if (method_ == Method::none) {
        return Residency::unknown;
    }
    const auto end = std::min(offset + length, size_);
    if (offset >= end) {
        return Residency::all;
    }
    switch (method_) {
        case Method::cachestat:
            return ask_cachestat(offset, end);
        case Method::mincore:
            return ask_mincore(offset, end);
        default:
            return try_to_read(offset);
    }
}

Residency PageCache::ask_cachestat(std::uint64_t offset, std::uint64_t end) const noexcept {
    Cachestat answer{};
    if (cachestat(fd_, {.offset = offset, .length = end - offset}, answer) != 0) {
        return Residency::unknown;
    }
    return judge(answer.cached, pages_in(offset, end));
}

Residency PageCache::ask_mincore(std::uint64_t offset, std::uint64_t end) noexcept {
    const auto start = offset - offset % page_size();
    const auto count = static_cast<std::size_t>(pages_in(offset, end));
    if (count > page_count_) {
        pages_.reset(new (std::nothrow) unsigned char[count]);
        page_count_ = pages_ != nullptr ? count : 0;
    }
    if (pages_ == nullptr) {
        return Residency::unknown;
    }
    auto* const mapped = mapping_.address();
    if (mapped == nullptr ||
        mincore(mapped + start, static_cast<std::size_t>(end - start), pages_.get()) != 0) {
        return Residency::unknown;
    }
    const auto cached = std::count_if(pages_.get(), pages_.get() + count,
                                      [](unsigned char page) { return (page & 1U) != 0; });
    return judge(static_cast<std::uint64_t>(cached), count);
}

// Tries to read the range's first byte, and takes the answer for the whole range.
Residency PageCache::try_to_read(std::uint64_t offset) const noexcept {
    std::byte byte{};
    iovec vector{.iov_base = &byte, .iov_len = 1};
    if (preadv2(fd_, &vector, 1, static_cast<off_t>(offset), RWF_NOWAIT) >= 0) {
        return Residency::most;
    }
    return errno == EAGAIN ? Residency::little : Residency::unknown;
}

}  // namespace bulk
