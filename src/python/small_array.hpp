// SPDX-License-Identifier: Apache-2.0
// An array whose size is known when it is made. A small one is stored inside the object; a larger
// one in memory of Python's allocator, so that a failure is a MemoryError and no C++ exception.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>

#include "python/refs.hpp"

namespace python {

template <class T, std::size_t inside>
class SmallArray {
public:
    // Makes elements with their default values. If there is no memory, the array is empty and
    // MemoryError is set.
    explicit SmallArray(std::size_t size) noexcept {
        void* data = storage_.data();
        if (size > inside) {
            data = PyMem_Malloc(size * sizeof(T));
        }
        if (data == nullptr) {
            PyErr_NoMemory();
            return;
        }
        data_ = static_cast<T*>(data);
        size_ = size;
        std::uninitialized_value_construct_n(data_, size_);
    }
    SmallArray(const SmallArray&) = delete;
    SmallArray& operator=(const SmallArray&) = delete;
    ~SmallArray() {
        std::destroy_n(data_, size_);
        if (size_ > inside) {
            PyMem_Free(static_cast<void*>(data_));
        }
    }

    bool is_allocated() const noexcept { return data_ != nullptr; }
    std::size_t size() const noexcept { return size_; }
    T& operator[](std::size_t place) noexcept { return data_[place]; }
    std::span<T> span() noexcept { return {data_, size_}; }
    std::span<const T> span() const noexcept { return {data_, size_}; }

private:
    alignas(T) std::array<std::byte, inside * sizeof(T)> storage_;
    T* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace python
