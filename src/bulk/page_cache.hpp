// SPDX-License-Identifier: Apache-2.0
// How much of a range of a file is in the page cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "engine/file_mapping.hpp"

namespace bulk {

enum class Residency : std::uint8_t {
    all,   // a buffered read would not wait for the disk
    most,  // at least half of the pages
    little,
    unknown,
};

// There are three ways to ask the kernel, and none works everywhere: cachestat(2) needs Linux 6.5
// and does not work on overlayfs; mincore(2) answers only users who own the file or may write to
// it; and a read with RWF_NOWAIT makes the kernel read ahead where the data is not cached.
class PageCache {
public:
    // `fd` is open for reading without O_DIRECT; it must stay open. -1: all is `unknown`.
    explicit PageCache(int fd) noexcept;

    // A range beyond the end of the file counts as `all`: reading it does not wait for the disk.
    Residency residency(std::uint64_t offset, std::size_t length) noexcept;

private:
    enum class Method : std::uint8_t { memory, cachestat, mincore, nowait, none };

    Method choose() noexcept;
    bool map() noexcept;
    Residency ask_cachestat(std::uint64_t offset, std::uint64_t end) const noexcept;
    Residency ask_mincore(std::uint64_t offset, std::uint64_t end) noexcept;
    Residency try_to_read(std::uint64_t offset) const noexcept;

    int fd_;
    std::uint64_t size_ = 0;  // when the PageCache was made
    Method method_ = Method::none;
    engine::FileMapping mapping_;
    std::unique_ptr<unsigned char[]> pages_;
    std::size_t page_count_ = 0;
};

}  // namespace bulk
