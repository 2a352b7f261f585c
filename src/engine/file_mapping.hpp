// SPDX-License-Identifier: Apache-2.0
// A mapping of a file, by which mincore(2) tells what is in memory. Nothing is read through it.
//
// A mapping keeps its file open, and so a child process that inherited it would. No child does.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/fork_guard.hpp"

namespace engine {

class FileMapping {
public:
    FileMapping() = default;
    FileMapping(const FileMapping&) = delete;
    FileMapping& operator=(const FileMapping&) = delete;
    ~FileMapping() { unmap(); }

    // Maps a part of the file, instead of what is mapped now. `start` is a multiple of the page
    // size. False if the system refuses.
    bool map(int fd, std::uint64_t start, std::size_t length) noexcept;

    void unmap() noexcept;

    // Null if nothing is mapped in this process.
    std::byte* address() const noexcept { return guard_.is_inherited() ? nullptr : address_; }
    std::size_t size() const noexcept { return size_; }  // whole pages

private:
    std::byte* address_ = nullptr;
    std::size_t size_ = 0;
    ForkGuard guard_;
};

}  // namespace engine
