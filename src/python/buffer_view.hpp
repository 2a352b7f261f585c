// SPDX-License-Identifier: Apache-2.0
// An exported buffer: while the view is held, its memory stays where it is.
#pragma once

#include <utility>

#include "python/refs.hpp"

namespace python {

class BufferView {
public:
    BufferView() = default;
    BufferView(const BufferView&) = delete;
    BufferView& operator=(const BufferView&) = delete;
    ~BufferView() { release(); }

    // `flags` is PyBUF_SIMPLE or PyBUF_WRITABLE: contiguous bytes. False with an exception set.
    bool acquire(PyObject* object, int flags) {
        release();
        held_ = PyObject_GetBuffer(object, &view_, flags) == 0;
        return held_;
    }

    // May run Python code, which may acquire another buffer.
    void release() noexcept {
        if (std::exchange(held_, false)) {
            auto view = view_;
            PyBuffer_Release(&view);
        }
    }

    bool is_held() const noexcept { return held_; }
    void* data() const noexcept { return view_.buf; }
    std::size_t size() const noexcept { return static_cast<std::size_t>(view_.len); }

    friend void swap(BufferView& left, BufferView& right) noexcept {
        std::swap(left.view_, right.view_);
        std::swap(left.held_, right.held_);
    }

    int traverse(visitproc visit, void* arg) const {
        if (held_) {
            Py_VISIT(view_.obj);
        }
        return 0;
    }

private:
    Py_buffer view_;  // valid while held
    bool held_ = false;
};

}  // namespace python
