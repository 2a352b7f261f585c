// SPDX-License-Identifier: Apache-2.0
// How much of a range of a file is in the page cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace bulk {

enum class Residency : std::uint8_t {
    all,   // a buffered read would not wait for the disk
    most,  // at least half of it
    little,
    unknown,
};

// The kernel has three ways to tell, and none works everywhere: cachestat(2), from Linux 6.5 on and
// not for overlayfs; mincore(2), only for owners and writers of the file; and a read with
// RWF_NOWAIT, which starts to read ahead where it fails.
class PageCache {
public:
    // `fd` is open for reading without O_DIRECT; it must stay open. -1: nothing is known.
    explicit PageCache(int fd) noexcept;
    PageCache(const PageCache&) = delete;
    PageCache& operator=(const PageCache&) = delete;
    ~PageCache();

    // Beyond the end of the file there is nothing to wait for.
    Residency residency(std::uint64_t offset, std::size_t length) noexcept;

private:
    enum class Method : std::uint8_t { memory, cachestat, mincore, nowait, none };

    Method choose() noexcept;
    bool map() noexcept;
    Residency ask_cachestat(std::uint64_t offset, std::uint64_t end) const noexcept;
    Residency ask_mincore(std::uint64_t offset, std::uint64_t end) noexcept;
    Residency try_to_read(std::uint64_t offset) const noexcept;

    int fd_;
    std::uint64_t size_ = 0;  // when it was opened
    Method method_ = Method::none;
    void* mapping_ = nullptr;
    std::unique_ptr<unsigned char[]> pages_;
    std::size_t page_count_ = 0;
};

}  // namespace bulk
