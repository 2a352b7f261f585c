// SPDX-License-Identifier: Apache-2.0
#include "python/operation_memory.hpp"

#include <array>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <new>

#include "engine/mapped_memory.hpp"
#include "engine/stream_transfer.hpp"
#include "python/arguments.hpp"
#include "python/buffer_owners.hpp"
#include "python/exceptions.hpp"
#include "python/operation.hpp"

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

// Says which argument is no buffer, or not one that will do. The exception is set.
void name_argument(const char* name, PyObject* given) {
    if (PyErr_ExceptionMatches(PyExc_BufferError) != 0) {
        const auto refusal = take_exception();
        PyErr_Format(PyExc_BufferError, "%s: %S", name, refusal.get());
    } else if (!PyObject_CheckBuffer(given) && PyErr_ExceptionMatches(PyExc_TypeError) != 0) {
        PyErr_Format(PyExc_TypeError, "%s must be a bytes-like object, not %.200s%s", name,
                     Py_TYPE(given)->tp_name, PyUnicode_Check(given) ? " (encode it first)" : "");
    }
}

// Whether touching the memory may wait for a disk or a server: it is mapped from a file.
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
    swap(operation.memory.view, view);
    operation.memory.payload = Ref::borrow(buffer);
    return true;
}

// --- several buffers

// Says which of the buffers will not do. The exception is set.
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
    swap(operation.memory.vector, vector);
    swap(operation.memory.payload, buffers);
    return true;
}

// --- landings of reads

#ifndef Py_GIL_DISABLED
// The hash that a bytes object remembers would be that of its old contents.
void forget_hash(PyObject* bytes) {
    _Py_COMP_DIAG_PUSH _Py_COMP_DIAG_IGNORE_DEPR_DECLS reinterpret_cast<PyBytesObject*>(bytes)
        ->ob_shash = -1;
    _Py_COMP_DIAG_POP
}
#endif

// The last result, if it can be read into again: nobody else has it.
Ref last_landing([[maybe_unused]] const Operation& operation) {
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
    const auto* made = memory.landing.get();  // for a try that failed
    if (made == nullptr || PyBytes_GET_SIZE(made) != static_cast<Py_ssize_t>(operation.nbytes)) {
        memory.landing = last_landing(operation);
    }
    if (!memory.landing) {
        memory.landing = Ref::steal(
            PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(operation.nbytes)));
    }
    if (!memory.landing) {
        return false;
    }
    memory.lands_aligned = false;
    operation.request.address = PyBytes_AS_STRING(memory.landing.get());
    operation.request.length = operation.nbytes;
    operation.request.offset = operation.offset;
    return true;
}

// Copies the last result out of the aligned memory, if it is still there. False with MemoryError.
bool settle_payload(Operation& operation) {
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
    if (!settle_payload(operation)) {
        return false;
    }
    // At the file's position no more than was asked for is read, which would move it too far.
    auto range = engine::Range{.offset = operation.offset, .length = operation.nbytes};
    if (!operation.request.at_position) {
        range = engine::widen(range, alignment.transfer);
    }
    // At the limit of one request, a bit less is read: as everywhere, a read may be short.
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
    memory.lands_aligned = true;
    operation.request.address = memory.aligned.data();
    operation.request.length = range.length;
    operation.request.offset = range.offset;
    return true;
}

}  // namespace

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

int OperationMemory::traverse(visitproc visit, void* arg) const {
    Py_VISIT(payload.get());
    if (const int status = vector.traverse(visit, arg); status != 0) {
        return status;
    }
    return view.traverse(visit, arg);
}

void OperationMemory::clear() noexcept {
    view.release();
    vector.release();
    payload.reset();
    landing.reset();
}

bool set_payload(Operation& operation, PyObject* given) {
    return is_vectored(operation.kind) ? set_buffers(operation, given)
                                       : set_buffer(operation, given);
}

namespace {

// Bytes, or a view of bytes.
bool is_immutable(PyObject* buffer) noexcept {
    if (PyMemoryView_Check(buffer)) {
        PyObject* base = PyMemoryView_GET_BASE(buffer);
        return base != nullptr && PyBytes_CheckExact(base);
    }
    return PyBytes_CheckExact(buffer);
}

}  // namespace

bool has_mutable_payload(const Operation& operation) noexcept {
    if (!has_payload(operation.kind)) {
        return false;
    }
    PyObject* payload = operation.memory.payload.get();
    if (!is_vectored(operation.kind)) {
        return !is_immutable(payload);
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(payload); ++i) {
        if (!is_immutable(PyTuple_GET_ITEM(payload, i))) {
            return true;
        }
    }
    return false;
}

bool prepare_payload(Operation& operation) {
    operation.request.offset = operation.offset;
    if (operation.memory.is_exported()) {
        return true;
    }
    const auto payload = Ref::borrow(operation.memory.payload.get());
    return set_payload(operation, payload.get());
}

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

bool prepare_landing(Operation& operation, LastAlignment& alignments) {
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
    if (!(operation.kind == Kind::read ? prepare_bytes(operation) : prepare_payload(operation))) {
        return std::nullopt;
    }
    return engine::take_from_stream(operation.request, *fd);
}

std::int64_t land(Operation& operation, std::int64_t result) noexcept {
    auto& memory = operation.memory;
    memory.payload_aligned = memory.lands_aligned;
    if (!memory.lands_aligned) {
        swap(memory.payload, memory.landing);
        return result;
    }
    const auto landed = static_cast<std::size_t>(result);
    const auto asked_for = landed > memory.lead ? landed - memory.lead : 0;
    return static_cast<std::int64_t>(std::min(asked_for, operation.nbytes));
}

void release_memory(OperationMemory& memory) noexcept {
    // All out first: what is run may submit the operation again.
    const auto landing = std::move(memory.landing);
    BufferView view;
    swap(memory.view, view);
    memory.vector.release();
}

PyObject* read_result(Operation& operation) {
    auto& memory = operation.memory;
    if (memory.payload_aligned) {
        if (!settle_payload(operation)) {
            return nullptr;
        }
        pool_of(operation).put(std::move(memory.aligned));
    }
    const auto length = static_cast<Py_ssize_t>(operation.result);
    PyObject* bytes = memory.payload.get();
    if (PyBytes_GET_SIZE(bytes) == length) {
        return Py_NewRef(bytes);
    }
    // Cut to what was read.
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
