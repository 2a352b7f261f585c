// SPDX-License-Identifier: Apache-2.0
// Asks the kernel which pages of a file are in memory, by mincore(2) of a mapping. This also works
// on file systems on top of another one, such as overlayfs, which have no pages themselves.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/file_mapping.hpp"
#include "engine/file_status.hpp"
#include "engine/page_cache.hpp"

namespace engine {

// Keeps the mapping of the last question for the next one, since to map takes longer than to ask.
// The mapping keeps the file open. So it is unmapped before a completion of its submission is seen.
class MappedPages {
public:
    // `questions`: how many are expected.
    explicit MappedPages(std::size_t questions) noexcept : is_shared_(questions > 1) {}

    // Whether all of these bytes are in memory. Starts no I/O and does not wait. The answer is
    // unknown for other users' files, of which the kernel does not tell the truth. `status` is that
    // of the file which `fd` is now.
    InMemory has(int fd, const FileStatus& status, std::uint64_t offset,
                 std::size_t length) noexcept;

    void unmap() noexcept { mapping_.unmap(); }

private:
    bool map(int fd, const FileStatus& status, std::uint64_t start, std::size_t length) noexcept;
    bool covers(int fd, const FileStatus& status, std::uint64_t start,
                std::size_t length) const noexcept;

    const bool is_shared_;  // by several questions
    FileMapping mapping_;
    std::uint64_t start_ = 0;  // the offset in the file
    int fd_ = -1;
    FileIdentity identity_;
};

}  // namespace engine
