// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <span>
#include <utility>

#include "python/buffer_view.hpp"
#include "python/refs.hpp"

namespace python {

// The buffers of a readv or writev, and the array of iovec that the kernel gets.
class BufferVector {
public:
    BufferVector() = default;
    BufferVector(const BufferVector&) = delete;
    BufferVector& operator=(const BufferVector&) = delete;
    ~BufferVector();

    // Exports the buffers of the tuple. False with an exception set.
    bool acquire(PyObject* buffers, int flags);

    // Releases the buffers. This may run Python code, which may put another vector in the place of
    // this one. The parts stay, for error messages.
    void release() noexcept;

    bool is_held() const noexcept { return views_ != nullptr && count_ != 0; }
    std::span<iovec> parts() const noexcept { return {parts_, count_}; }
    std::size_t total() const noexcept { return total_; }
    std::size_t count() const noexcept { return count_; }
    int traverse(visitproc visit, void* arg) const;

    friend void swap(BufferVector& left, BufferVector& right) noexcept {
        std::swap(left.views_, right.views_);
        std::swap(left.parts_, right.parts_);
        std::swap(left.count_, right.count_);
        std::swap(left.total_, right.total_);
    }

private:
    static void destroy(BufferView* views, std::size_t count) noexcept;

    BufferView* views_ = nullptr;
    iovec* parts_ = nullptr;
    std::size_t count_ = 0;
    std::size_t total_ = 0;  // bytes
};

}  // namespace python
