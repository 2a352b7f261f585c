// SPDX-License-Identifier: Apache-2.0
#include "engine/file_mapping.hpp"

#include <sys/mman.h>

#include "engine/clofork_fd.hpp"
#include "engine/page_cache.hpp"

namespace engine {

// PROT_NONE: after mlockall(MCL_FUTURE), mmap(2) reads all of a mapping that can be read.
bool FileMapping::map(int fd, std::uint64_t start, std::size_t length) noexcept {
    unmap();
    guard_ = {};
    void* mapping = MAP_FAILED;
    {
        const ForkBarrier barrier;
        mapping = mmap(nullptr, length, PROT_NONE, MAP_SHARED, fd, static_cast<off_t>(start));
        if (mapping != MAP_FAILED) {
            madvise(mapping, length, MADV_DONTFORK);
        }
    }
    if (mapping == MAP_FAILED) {
        return false;
    }
    address_ = static_cast<std::byte*>(mapping);
    size_ = static_cast<std::size_t>(pages_of(start, length)) * page_size();
    return true;
}

// In a child, the address may be that of something else by now.
void FileMapping::unmap() noexcept {
    if (auto* const mapped = address(); mapped != nullptr) {
        munmap(mapped, size_);
    }
    address_ = nullptr;
}

}  // namespace engine
