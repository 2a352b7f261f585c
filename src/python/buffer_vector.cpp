// SPDX-License-Identifier: Apache-2.0
#include "python/buffer_vector.hpp"

#include <memory>
#include <new>

namespace python {

BufferVector::~BufferVector() {
    release();
    PyMem_Free(parts_);
}

void BufferVector::destroy(BufferView* views, std::size_t count) noexcept {
    if (views != nullptr) {
        std::destroy_n(views, count);
        PyMem_Free(views);
    }
}

bool BufferVector::acquire(PyObject* buffers, int flags) {
    const auto count = static_cast<std::size_t>(PyTuple_GET_SIZE(buffers));
    views_ = PyMem_New(BufferView, count);
    parts_ = PyMem_New(iovec, count);
    if (views_ == nullptr || parts_ == nullptr) {
        PyErr_NoMemory();
        return false;
    }
    for (; count_ < count; ++count_) {
        auto& view = *new (&views_[count_]) BufferView;
        if (!view.acquire(PyTuple_GET_ITEM(buffers, static_cast<Py_ssize_t>(count_)), flags)) {
            return false;
        }
        parts_[count_] = {.iov_base = view.data(), .iov_len = view.size()};
        total_ += view.size();
    }
    return true;
}

void BufferVector::release() noexcept { destroy(std::exchange(views_, nullptr), count_); }

int BufferVector::traverse(visitproc visit, void* arg) const {
    for (std::size_t i = 0; views_ != nullptr && i < count_; ++i) {
        if (const int status = views_[i].traverse(visit, arg); status != 0) {
            return status;
        }
    }
    return 0;
}

}  // namespace python
