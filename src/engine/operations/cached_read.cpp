// SPDX-License-Identifier: Apache-2.0
#include "engine/operations/cached_read.hpp"

#include <sys/uio.h>

#include <cerrno>

#include "engine/file_status.hpp"
#include "engine/operations/system_result.hpp"
#include "engine/page_cache.hpp"

namespace engine {

std::optional<std::size_t> read_cached(int fd, std::uint64_t offset, std::size_t size, char* data,
                                       std::size_t capacity) noexcept {
    FileStatus status;
    const auto cached = is_cached(fd, offset, size, status);
    if (cached == InMemory::no) {
        return std::nullopt;
    }
    if (cached == InMemory::unknown) {
        // even a read that is told not to wait waits for the metadata that says where the data is
        status = status_of(fd);
        if (file_system_of(status) == FileSystem::ext4 &&
            are_extents_known(fd, status, offset, size) != InMemory::yes) {
            return std::nullopt;
        }
    }
    const iovec part{.iov_base = data, .iov_len = capacity};
    const auto start = static_cast<off_t>(offset);
    auto result = result_of(preadv2(fd, &part, 1, start, RWF_NOWAIT));
    if (result == -EOPNOTSUPP && cached == InMemory::yes &&
        file_system_of(status_of(fd)) == FileSystem::memory) {
        // file systems in memory refuse the flag, and never wait for a page that is there
        result = result_of(preadv(fd, &part, 1, start));
    }
    return result >= 0 ? std::optional(static_cast<std::size_t>(result)) : std::nullopt;
}

}  // namespace engine
