// SPDX-License-Identifier: Apache-2.0
// The buffers of linux_aio.File: bytes that were read ahead of the program, and bytes that the
// program wrote and that were not handed to the kernel yet.
#pragma once

#include <cstdint>

#include "python/refs.hpp"

namespace python {

// Bytes of the file in front of the program, of which it is given one piece after the other.
class ReadBuffer {
public:
    Py_ssize_t size() const noexcept { return end_ - begin_; }
    const char* data() const noexcept { return PyBytes_AS_STRING(chunk_.get()) + begin_; }

    // Takes over `bytes`, an exact bytes object, in place of what is there.
    void assign(Ref bytes) noexcept;
    void clear() noexcept;

    // The next `count` bytes, at most size(): a new bytes object, or null with MemoryError.
    PyObject* take(Py_ssize_t count);
    // Leaves out the next `count`.
    void skip(Py_ssize_t count) noexcept;

    // The length of the first line with its end, looked for in the first `limit` bytes (negative:
    // in all). 0 if there is none.
    Py_ssize_t find_line(Py_ssize_t limit) const noexcept;

private:
    Ref chunk_;
    Py_ssize_t begin_ = 0;
    Py_ssize_t end_ = 0;
};

// What is to be written, in order. Large bytes objects are kept by reference; all else is copied,
// small pieces into blocks.
class WriteBuffer {
public:
    Py_ssize_t size() const noexcept { return size_; }

    // Each of these: false with MemoryError, and nothing is added.
    bool add(const char* data, Py_ssize_t count);
    bool add_object(PyObject* bytes);  // exact bytes

    // All of it as a list of bytes; the buffer is empty then. Null with MemoryError.
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
