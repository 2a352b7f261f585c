// SPDX-License-Identifier: Apache-2.0
#include "python/read_memory.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "engine/stream_transfer.hpp"
#include "python/arguments.hpp"
#include "python/payload.hpp"

namespace python {
namespace {

#ifndef Py_GIL_DISABLED
// Clears the hash that a bytes object caches, since the object gets new contents.
void forget_hash(PyObject* bytes) {
    _Py_COMP_DIAG_PUSH _Py_COMP_DIAG_IGNORE_DEPR_DECLS reinterpret_cast<PyBytesObject*>(bytes)
        ->ob_shash = -1;
    _Py_COMP_DIAG_POP
}
#endif

// Returns the last result if the next read can reuse it, since no other code has a reference to it.
Ref last_result([[maybe_unused]] const Operation& operation) {
#ifndef Py_GIL_DISABLED
    PyObject* last = operation.memory.payload.get();
    // Python shares its bytes objects of length 0 and 1.
    if (last != nullptr && Py_REFCNT(last) == 1 && operation.nbytes > 1 &&
        PyBytes_GET_SIZE(last) == static_cast<Py_ssize_t>(operation.nbytes)) {
        forget_hash(last);
        return Ref::borrow(last);
    }
#endif
    return {};
}

bool prepare_bytes(Operation& operation) {
    auto& memory = operation.memory;
    const auto* made = memory.read_bytes.get();  // for a try that failed
    if (made == nullptr || PyBytes_GET_SIZE(made) != static_cast<Py_ssize_t>(operation.nbytes)) {
        memory.read_bytes = last_result(operation);
    }
    if (!memory.read_bytes) {
        memory.read_bytes = Ref::steal(
            PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(operation.nbytes)));
    }
    if (!memory.read_bytes) {
        return false;
    }
    memory.reads_aligned = false;
    operation.request.address = PyBytes_AS_STRING(memory.read_bytes.get());
    operation.request.length = operation.nbytes;
    operation.request.offset = operation.offset;
    return true;
}

// Copies the last result out of the aligned memory, if it is still there. Returns false with
// MemoryError.
bool copy_out_payload(Operation& operation) {
    auto& memory = operation.memory;
    if (!memory.payload_aligned) {
        return true;
    }
    const auto* data = reinterpret_cast<const char*>(memory.aligned.data() + memory.lead);
    memory.payload =
        Ref::steal(PyBytes_FromStringAndSize(data, static_cast<Py_ssize_t>(operation.result)));
    memory.payload_aligned = !memory.payload;
    return !memory.payload_aligned;
}

AlignedPool& pool_of(Operation& operation) noexcept {
    return state_of(static_cast<OperationObject*>(&operation)).aligned_pool;
}

bool is_aligned(const engine::AlignedMemory& memory, std::uint32_t alignment) noexcept {
    return reinterpret_cast<std::uintptr_t>(memory.data()) % alignment == 0;
}

bool prepare_aligned(Operation& operation, LastAlignment& alignments) {
    auto& memory = operation.memory;
    engine::Alignment alignment;
    if (const int error = alignments.find(operation.request.fd, alignment); error != 0) {
        errno = error;
        PyErr_SetFromErrno(PyExc_OSError);
        return false;
    }
    if (!copy_out_payload(operation)) {
        return false;
    }
    // A read at the file's position must not read more than was asked for: that would move the
    // position too far.
    auto range = engine::Range{.offset = operation.offset, .length = operation.nbytes};
    if (!operation.request.at_position) {
        range = engine::widen(range, alignment.transfer);
    }
    // At the limit of one request, the range is cut a little: like any read, this one may be short.
    const auto most = static_cast<std::size_t>(max_transfer);
    range.length = std::min(range.length, most - most % alignment.transfer);
    if (!operation.request.at_position) {
        range.length = engine::clip_to_file(operation.request.fd, range, alignment.transfer);
    }
    if (memory.aligned.size() < range.length || !is_aligned(memory.aligned, alignment.memory)) {
        memory.aligned = pool_of(operation).take(range.length, alignment.memory);
        if (memory.aligned.data() == nullptr) {
            PyErr_NoMemory();
            return false;
        }
    }
    memory.lead = static_cast<std::size_t>(operation.offset - range.offset);
    memory.reads_aligned = true;
    operation.request.address = memory.aligned.data();
    operation.request.length = range.length;
    operation.request.offset = range.offset;
    return true;
}

}  // namespace

int LastAlignment::find(int fd, engine::Alignment& alignment) noexcept {
    if (fd != fd_) {
        if (const int error = engine::find_alignment(fd, alignment_); error != 0) {
            return error;
        }
        fd_ = fd;
    }
    alignment = alignment_;
    return 0;
}

bool prepare_read_memory(Operation& operation, LastAlignment& alignments) {
    return operation.request.is_direct ? prepare_aligned(operation, alignments)
                                       : prepare_bytes(operation);
}

std::optional<std::int64_t> take_from_stream(Operation& operation) {
    const auto fd = operation.file.ask();
    if (!fd) {
        return std::nullopt;
    }
    if (engine::status_of(*fd).identity != operation.request.ready_file) {
        return -EBADF;  // closed, and perhaps another file by now
    }
    operation.request.fd = *fd;
    operation.request.is_direct = false;
    operation.request.is_aligned_later = false;
    if (!(operation.kind == OperationKind::read ? prepare_bytes(operation)
                                                : prepare_payload(operation))) {
        return std::nullopt;
    }
    return engine::take_from_stream(operation.request, *fd);
}

std::int64_t accept_read(Operation& operation, std::int64_t result) noexcept {
    auto& memory = operation.memory;
    memory.payload_aligned = memory.reads_aligned;
    if (!memory.reads_aligned) {
        swap(memory.payload, memory.read_bytes);
        return result;
    }
    const auto filled = static_cast<std::size_t>(result);
    const auto asked_for = filled > memory.lead ? filled - memory.lead : 0;
    return static_cast<std::int64_t>(std::min(asked_for, operation.nbytes));
}

PyObject* read_result(Operation& operation) {
    auto& memory = operation.memory;
    if (memory.payload_aligned) {
        if (!copy_out_payload(operation)) {
            return nullptr;
        }
        pool_of(operation).put(std::move(memory.aligned));
    }
    const auto length = static_cast<Py_ssize_t>(operation.result);
    PyObject* bytes = memory.payload.get();
    if (bytes == nullptr) {
        PyErr_SetString(PyExc_RuntimeError, "the garbage collector has cleared the operation");
        return nullptr;
    }
    if (PyBytes_GET_SIZE(bytes) == length) {
        return Py_NewRef(bytes);
    }
    // Cut the object to the bytes that were read.
    if (Py_REFCNT(bytes) == 1) {
        bytes = memory.payload.release();
        if (_PyBytes_Resize(&bytes, length) != 0) {
            operation.result = -ENOMEM;  // they are gone
            return nullptr;
        }
    } else {
        bytes = PyBytes_FromStringAndSize(PyBytes_AS_STRING(bytes), length);
        if (bytes == nullptr) {
            return nullptr;
        }
    }
    memory.payload = Ref::steal(bytes);
    return memory.payload.new_ref();
}

}  // namespace python
