// SPDX-License-Identifier: Apache-2.0
#include "python/payload.hpp"

#include <array>
#include <climits>
#include <cstdio>
#include <span>
#include <utility>

#include "engine/mapped_memory.hpp"
#include "python/arguments.hpp"
#include "python/buffer_owners.hpp"
#include "python/exceptions.hpp"

namespace python {
namespace {

int export_flags(const Operation& operation) noexcept {
    return reads(operation.kind) ? PyBUF_WRITABLE : PyBUF_SIMPLE;
}

bool check_total(std::size_t total) {
    if (total <= static_cast<std::size_t>(max_transfer)) {
        return true;
    }
    PyErr_Format(PyExc_ValueError,
                 "buffers must have from 0 to %lld bytes, not %zu: the kernel transfers no more in "
                 "one request",
                 static_cast<long long>(max_transfer), total);
    return false;
}

// --- one buffer

// Replaces the current exception by one that names the argument.
void name_argument(const char* name, PyObject* given) {
    if (PyErr_ExceptionMatches(PyExc_BufferError) != 0) {
        const auto refusal = take_exception();
        PyErr_Format(PyExc_BufferError, "%s: %S", name, refusal.get());
    } else if (!PyObject_CheckBuffer(given) && PyErr_ExceptionMatches(PyExc_TypeError) != 0) {
        PyErr_Format(PyExc_TypeError, "%s must be a bytes-like object, not %.200s%s", name,
                     Py_TYPE(given)->tp_name, PyUnicode_Check(given) ? " (encode it first)" : "");
    }
}

// Whether access to the memory may wait for a disk or a server, since the memory is mapped from a
// file.
bool may_wait(PyObject* buffer, const void* address, std::size_t size) {
    return !owns_plain_memory(buffer) && engine::is_mapped_from_disk(address, size);
}

bool may_wait(PyObject* buffers, std::span<const iovec> parts) {
    for (std::size_t i = 0; i < parts.size(); ++i) {
        if (may_wait(PyTuple_GET_ITEM(buffers, static_cast<Py_ssize_t>(i)), parts[i].iov_base,
                     parts[i].iov_len)) {
            return true;
        }
    }
    return false;
}

// Whether the buffer is a bytes object, or a view of one.
bool is_immutable(PyObject* buffer) noexcept {
    if (PyMemoryView_Check(buffer)) {
        PyObject* base = PyMemoryView_GET_BASE(buffer);
        return base != nullptr && PyBytes_CheckExact(base);
    }
    return PyBytes_CheckExact(buffer);
}

bool are_immutable(PyObject* buffers) noexcept {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(buffers); ++i) {
        if (!is_immutable(PyTuple_GET_ITEM(buffers, i))) {
            return false;
        }
    }
    return true;
}

bool set_buffer(Operation& operation, PyObject* buffer) {
    BufferView view;
    if (!view.acquire(buffer, export_flags(operation))) {
        name_argument(writes(operation.kind) ? "payload" : "buffer", buffer);
        return false;
    }
    if (!check_total(view.size())) {
        return false;
    }
    operation.request.address = view.data();
    operation.request.length = view.size();
    operation.request.memory_may_wait = may_wait(buffer, view.data(), view.size());
    operation.nbytes = view.size();
    operation.memory.payload_is_mutable = !is_immutable(buffer);
    swap(operation.memory.view, view);
    operation.memory.payload = Ref::borrow(buffer);
    return true;
}

// --- several buffers

// Replaces the current exception by one that names the unsuitable buffer.
void name_element(PyObject* given, PyObject* buffers, std::size_t index) {
    const auto place = static_cast<Py_ssize_t>(index);
    if (place >= PyTuple_GET_SIZE(buffers)) {
        return;  // no memory
    }
    if (PyObject_CheckBuffer(given) && PyErr_ExceptionMatches(PyExc_TypeError) != 0) {
        PyErr_Format(PyExc_TypeError,
                     "buffers must be a sequence of bytes-like objects, not one %.200s by itself",
                     Py_TYPE(given)->tp_name);
        return;
    }
    std::array<char, 40> name{};
    std::snprintf(name.data(), name.size(), "buffers[%zu]", index);
    name_argument(name.data(), PyTuple_GET_ITEM(buffers, place));
}

bool set_buffers(Operation& operation, PyObject* given) {
    auto buffers = Ref::steal(PySequence_Tuple(given));
    if (!buffers) {
        if (Py_TYPE(given)->tp_iter == nullptr && !PySequence_Check(given)) {
            PyErr_Format(PyExc_TypeError,
                         "buffers must be a sequence of bytes-like objects, not %.200s",
                         Py_TYPE(given)->tp_name);
        }
        return false;
    }
    if (PyTuple_GET_SIZE(buffers.get()) > IOV_MAX) {
        PyErr_Format(PyExc_ValueError, "at most %d buffers can be given (IOV_MAX), not %zd",
                     IOV_MAX, PyTuple_GET_SIZE(buffers.get()));
        return false;
    }
    BufferVector vector;
    if (!vector.acquire(buffers.get(), export_flags(operation))) {
        name_element(given, buffers.get(), vector.count());
        return false;
    }
    if (!check_total(vector.total())) {
        return false;
    }
    operation.request.address = vector.parts().data();
    operation.request.length = vector.parts().size();
    operation.request.memory_may_wait = may_wait(buffers.get(), vector.parts());
    operation.nbytes = vector.total();
    operation.memory.payload_is_mutable = !are_immutable(buffers.get());
    swap(operation.memory.vector, vector);
    swap(operation.memory.payload, buffers);
    return true;
}

}  // namespace

bool set_payload(Operation& operation, PyObject* given) {
    return is_vectored(operation.kind) ? set_buffers(operation, given)
                                       : set_buffer(operation, given);
}

bool has_mutable_payload(const Operation& operation) noexcept {
    return has_payload(operation.kind) && operation.memory.payload_is_mutable;
}

bool prepare_payload(Operation& operation) {
    operation.request.offset = operation.offset;
    if (operation.memory.is_exported()) {
        return true;
    }
    const auto payload = Ref::borrow(operation.memory.payload.get());
    return set_payload(operation, payload.get());
}

}  // namespace python
