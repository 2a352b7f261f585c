// SPDX-License-Identifier: Apache-2.0
// The buffers of linux_aio.File: bytes that were read ahead, and bytes that the program wrote and
// that were not handed to the kernel yet.
#pragma once

#include <cstdint>

#include "python/refs.hpp"

namespace python {

// Bytes that were read ahead. The program takes them piece by piece.
class ReadBuffer {
public:
    Py_ssize_t size() const noexcept { return end_ - begin_; }
    const char* data() const noexcept { return PyBytes_AS_STRING(chunk_.get()) + begin_; }

    // Replaces the content by `bytes`, an exact bytes object.
    void assign(Ref bytes) noexcept;
    void clear() noexcept;

    // Takes out the next `count` bytes, at most size(). Returns a new bytes object, or null with
    // MemoryError.
    PyObject* take(Py_ssize_t count);
    // Skips the next `count` bytes.
    void skip(Py_ssize_t count) noexcept;

    // Returns the length of the first line, including its end. Looks for that in the first `limit`
    // bytes, or in all if `limit` is negative. Returns 0 if there is no line end.
    Py_ssize_t find_line(Py_ssize_t limit) const noexcept;

private:
    Ref chunk_;
    Py_ssize_t begin_ = 0;
    Py_ssize_t end_ = 0;
};

// The bytes to write, in order. Large bytes objects are kept by reference; all other data is
// copied, small pieces into blocks.
class WriteBuffer {
public:
    Py_ssize_t size() const noexcept { return size_; }

    // Adds bytes. If there is no memory, returns false with MemoryError, and adds nothing.
    bool add(const char* data, Py_ssize_t count);
    bool add_object(PyObject* bytes);  // exact bytes

    // Takes out all bytes, as a list of bytes objects, and leaves the buffer empty. Returns null
    // with MemoryError.
    PyObject* take();

    int traverse(visitproc visit, void* arg) const;
    void clear() noexcept;

private:
    bool append(PyObject* bytes);
    bool close_block();

    Ref pieces_;  // a list, or null
    Ref block_;   // bytes, or null: the first `used_` are filled; no other code has a reference
    Py_ssize_t used_ = 0;
    Py_ssize_t size_ = 0;
};

}  // namespace python
