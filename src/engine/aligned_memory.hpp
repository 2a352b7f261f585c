// SPDX-License-Identifier: Apache-2.0
// Memory at an aligned address.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <utility>

namespace engine {

class AlignedMemory {
public:
    AlignedMemory() = default;

    // `alignment` is a power of two. Empty if there is not that much memory.
    AlignedMemory(std::size_t size, std::size_t alignment) noexcept
        : data_(allocate(size, alignment)), size_(data_ != nullptr ? size : 0) {}

    AlignedMemory(AlignedMemory&& other) noexcept
        : data_(std::move(other.data_)), size_(std::exchange(other.size_, 0)) {}
    AlignedMemory& operator=(AlignedMemory&& other) noexcept {
        data_ = std::move(other.data_);
        size_ = std::exchange(other.size_, 0);
        return *this;
    }
    ~AlignedMemory() = default;

    std::byte* data() const noexcept { return data_.get(); }
    std::size_t size() const noexcept { return size_; }

private:
    struct Free {
        void operator()(std::byte* data) const noexcept { std::free(data); }
    };

    static std::byte* allocate(std::size_t size, std::size_t alignment) noexcept {
        void* data = nullptr;
        alignment = alignment < sizeof(void*) ? sizeof(void*) : alignment;
        // at least one byte, so that no memory and no size are told apart
        const bool failed = posix_memalign(&data, alignment, size != 0 ? size : 1) != 0;
        return failed ? nullptr : static_cast<std::byte*>(data);
    }

    std::unique_ptr<std::byte, Free> data_;
    std::size_t size_ = 0;
};

}  // namespace engine
