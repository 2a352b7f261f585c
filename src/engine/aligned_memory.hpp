// SPDX-License-Identifier: Apache-2.0
// Memory at an aligned address.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace engine {

class AlignedMemory {
public:
    AlignedMemory() = default;

    // `alignment` is a power of two. Empty if there is not that much memory.
    AlignedMemory(std::size_t size, std::size_t alignment) noexcept
        : data_(allocate(size, alignment)), size_(data_ != nullptr ? size : 0) {}

    // Zeroed memory. What is large is mapped: the kernel clears each page when it is first used.
    static AlignedMemory zeroed(std::size_t size, std::size_t alignment) noexcept {
        if (size >= least_mapped) {
            return map(size, alignment);
        }
        AlignedMemory memory(size, alignment);
        if (memory.data() != nullptr) {
            std::memset(memory.data(), 0, size);
        }
        return memory;
    }

    AlignedMemory(AlignedMemory&& other) noexcept { swap(other); }
    AlignedMemory& operator=(AlignedMemory&& other) noexcept {
        AlignedMemory moved(std::move(other));
        swap(moved);
        return *this;
    }
    ~AlignedMemory() {
        if (mapped_ != 0) {
            munmap(data_, mapped_);
        } else {
            std::free(data_);
        }
    }

    std::byte* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }

private:
    static constexpr std::size_t least_mapped = std::size_t{128} * 1024;

    void swap(AlignedMemory& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(mapped_, other.mapped_);
    }

    // Maps more than is needed, and gives back what lies before and behind the aligned part.
    static AlignedMemory map(std::size_t size, std::size_t alignment) noexcept {
        const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        const auto spare = alignment > page ? alignment : 0;
        if (size > SIZE_MAX - page - spare) {
            return {};
        }
        const auto whole = (size + page - 1) / page * page;
        void* mapping = mmap(nullptr, whole + spare, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapping == MAP_FAILED) {
            return {};
        }
        auto* start = static_cast<std::byte*>(mapping);
        const auto past = reinterpret_cast<std::uintptr_t>(start) % alignment;
        const auto before = past != 0 ? static_cast<std::size_t>(alignment - past) : 0;
        if (before != 0) {
            munmap(start, before);
        }
        if (before != spare) {
            munmap(start + before + whole, spare - before);
        }
        AlignedMemory memory;
        memory.data_ = start + before;
        memory.size_ = size;
        memory.mapped_ = whole;
        return memory;
    }

    static std::byte* allocate(std::size_t size, std::size_t alignment) noexcept {
        void* data = nullptr;
        alignment = alignment < sizeof(void*) ? sizeof(void*) : alignment;
        // at least one byte is allocated, so that a null pointer only means a lack of memory
        const bool failed = posix_memalign(&data, alignment, size != 0 ? size : 1) != 0;
        return failed ? nullptr : static_cast<std::byte*>(data);
    }

    std::byte* data_ = nullptr;
    std::size_t size_ = 0;
    std::size_t mapped_ = 0;  // bytes, if the memory is a mapping; 0: from the allocator
};

}  // namespace engine
