// SPDX-License-Identifier: Apache-2.0
#include "python/file_buffer.hpp"

#include <algorithm>
#include <cstring>

namespace python {
namespace {

constexpr Py_ssize_t block_size = 64 * 1024;
// From this size on, a reference costs less than a copy.
constexpr Py_ssize_t least_reference = 4096;

}  // namespace

// --- reading

void ReadBuffer::assign(Ref bytes) noexcept {
    end_ = PyBytes_GET_SIZE(bytes.get());
    begin_ = 0;
    chunk_ = std::move(bytes);
}

void ReadBuffer::clear() noexcept {
    begin_ = 0;
    end_ = 0;
    chunk_.reset();
}

PyObject* ReadBuffer::take(Py_ssize_t count) {
    if (begin_ == 0 && count == end_ && count != 0) {
        end_ = 0;
        return chunk_.release();
    }
    PyObject* result = PyBytes_FromStringAndSize(count != 0 ? data() : nullptr, count);
    if (result != nullptr) {
        skip(count);
    }
    return result;
}

void ReadBuffer::skip(Py_ssize_t count) noexcept {
    begin_ += count;
    if (begin_ == end_) {
        clear();
    }
}

Py_ssize_t ReadBuffer::find_line(Py_ssize_t limit) const noexcept {
    const auto count = limit < 0 ? size() : std::min(limit, size());
    if (count == 0) {
        return 0;
    }
    const void* end = std::memchr(data(), '\n', static_cast<std::size_t>(count));
    return end != nullptr ? static_cast<const char*>(end) - data() + 1 : 0;
}

// --- writing

bool WriteBuffer::append(PyObject* bytes) {
    if (!pieces_) {
        pieces_ = Ref::steal(PyList_New(0));
    }
    return pieces_ && PyList_Append(pieces_.get(), bytes) == 0;
}

bool WriteBuffer::close_block() {
    if (used_ == 0) {
        return true;
    }
    if (used_ == PyBytes_GET_SIZE(block_.get())) {
        if (!append(block_.get())) {
            return false;
        }
        block_.reset();
    } else {
        const auto filled =
            Ref::steal(PyBytes_FromStringAndSize(PyBytes_AS_STRING(block_.get()), used_));
        if (!filled || !append(filled.get())) {
            return false;
        }
    }
    used_ = 0;
    return true;
}

bool WriteBuffer::add(const char* data, Py_ssize_t count) {
    if (block_ && count > PyBytes_GET_SIZE(block_.get()) - used_) {
        if (!close_block()) {
            return false;
        }
        if (block_ && count > PyBytes_GET_SIZE(block_.get())) {
            block_.reset();
        }
    }
    if (!block_) {
        block_ = Ref::steal(PyBytes_FromStringAndSize(nullptr, std::max(block_size, count)));
        if (!block_) {
            return false;
        }
    }
    std::memcpy(PyBytes_AS_STRING(block_.get()) + used_, data, static_cast<std::size_t>(count));
    used_ += count;
    size_ += count;
    return true;
}

bool WriteBuffer::add_object(PyObject* bytes) {
    const auto count = PyBytes_GET_SIZE(bytes);
    if (count < least_reference) {
        return add(PyBytes_AS_STRING(bytes), count);
    }
    if (!close_block() || !append(bytes)) {
        return false;
    }
    size_ += count;
    return true;
}

PyObject* WriteBuffer::take() {
    if (!close_block()) {
        return nullptr;
    }
    size_ = 0;
    return pieces_ ? pieces_.release() : PyList_New(0);
}

int WriteBuffer::traverse(visitproc visit, void* arg) const {
    Py_VISIT(pieces_.get());
    return 0;
}

void WriteBuffer::clear() noexcept {
    pieces_.reset();
    block_.reset();
    used_ = 0;
    size_ = 0;
}

}  // namespace python
