// SPDX-License-Identifier: Apache-2.0
#include "python/direct_io.hpp"

#include <array>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <utility>

#include "engine/aligned_memory.hpp"
#include "engine/alignment.hpp"
#include "python/arguments.hpp"
#include "python/descriptor.hpp"

namespace python {
namespace {

// --- aligned_buffer

struct AlignedBuffer {
    engine::AlignedMemory memory;
};
struct AlignedBufferObject : PyObject, AlignedBuffer {};

AlignedBufferObject* cast(PyObject* self) { return static_cast<AlignedBufferObject*>(self); }

int get_buffer(PyObject* object, Py_buffer* view, int flags) {
    const auto& memory = cast(object)->memory;
    return PyBuffer_FillInfo(view, object, memory.data(), static_cast<Py_ssize_t>(memory.size()), 0,
                             flags);
}

void dealloc(PyObject* object) {
    std::destroy_at(static_cast<AlignedBuffer*>(cast(object)));
    auto* type = Py_TYPE(object);
    type->tp_free(object);
    Py_DECREF(type);
}

PyType_Slot slots[] = {
    {Py_tp_dealloc, as_slot(dealloc)},
    {Py_bf_getbuffer, as_slot(get_buffer)},
    {Py_tp_doc, const_cast<char*>("The memory behind aligned_buffer().")},
    {0, nullptr},
};

PyType_Spec spec{
    .name = "linux_aio._core._AlignedBuffer",
    .basicsize = sizeof(AlignedBufferObject),
    .itemsize = 0,
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

bool is_power_of_two(std::int64_t value) { return value > 0 && (value & (value - 1)) == 0; }

// --- describe_misalignment

void add_finding(std::string& text, const std::string& what, std::uint64_t value,
                 std::uint32_t alignment) {
    if (value % alignment != 0) {
        text += (text.empty() ? "" : ", ") + what + " is " + std::to_string(value % alignment) +
                " bytes past a multiple of " + std::to_string(alignment);
    }
}

void add_memory(std::string& text, const std::string& of, const iovec& part,
                engine::Alignment alignment) {
    add_finding(text, "the address of " + of, reinterpret_cast<std::uintptr_t>(part.iov_base),
                alignment.memory);
    add_finding(text, "the length of " + of, part.iov_len, alignment.transfer);
}

}  // namespace

PyObject* wrap_aligned_memory(ModuleState& state, engine::AlignedMemory memory) {
    auto* type = state.aligned_buffer_type;
    const auto object = Ref::steal(type->tp_alloc(type, 0));
    if (!object) {
        return nullptr;
    }
    auto* buffer = new (static_cast<AlignedBuffer*>(cast(object.get()))) AlignedBuffer;
    buffer->memory = std::move(memory);
    return PyMemoryView_FromObject(object.get());
}

const char aligned_buffer_doc[] =
    "aligned_buffer(nbytes, alignment=4096)\n--\n\n"
    "Return a writable memoryview of nbytes zero bytes at an address that is a multiple of\n"
    "alignment, a power of two, for direct I/O. See direct_alignment and the notes on O_DIRECT in\n"
    "open(2).";

PyObject* aligned_buffer(PyObject* module, PyObject* const* arguments, Py_ssize_t count,
                         PyObject* names) {
    static constexpr std::array<const char*, 2> parameters{"nbytes", "alignment"};
    std::array<PyObject*, parameters.size()> values{};
    if (!bind_arguments({"aligned_buffer", parameters, 1}, arguments, count, names, values)) {
        return nullptr;
    }
    constexpr std::int64_t most = PTRDIFF_MAX / 2;
    const auto nbytes = to_integer(values[0], "nbytes", 0, most);
    if (!nbytes) {
        return nullptr;
    }
    std::int64_t alignment = 4096;
    if (values[1] != nullptr) {
        const auto value = to_integer(values[1], "alignment", 1, most);
        if (!value) {
            return nullptr;
        }
        alignment = *value;
    }
    if (!is_power_of_two(alignment)) {
        PyErr_Format(PyExc_ValueError, "alignment must be a power of two, not %lld",
                     static_cast<long long>(alignment));
        return nullptr;
    }
    const auto size = static_cast<std::size_t>(*nbytes);
    auto memory = engine::AlignedMemory::zeroed(size, static_cast<std::size_t>(alignment));
    if (memory.data() == nullptr) {
        return PyErr_NoMemory();
    }
    return wrap_aligned_memory(*static_cast<ModuleState*>(PyModule_GetState(module)),
                               std::move(memory));
}

const char direct_alignment_doc[] =
    "direct_alignment(fd, /)\n--\n\n"
    "Return what direct I/O on the file needs, whether or not it was opened with O_DIRECT: the\n"
    "alignment of memory, and that of offset and length, in bytes. (1, 1): any will do.\n\n"
    "From statx(2) where it tells (STATX_DIOALIGN, Linux 6.1), else the logical block size of the\n"
    "device, else what the file system is known to take, else a page. OSError for a bad fd.";

PyObject* direct_alignment(PyObject* module, PyObject* fd) {
    File file;
    if (!file.assign(*static_cast<ModuleState*>(PyModule_GetState(module)), fd, false) ||
        !file.ask()) {
        return nullptr;
    }
    engine::Alignment alignment;
    // AT_FDCWD is a negative number, and no file
    const int error = file.number() < 0 ? EBADF : engine::find_alignment(file.number(), alignment);
    if (error != 0) {
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return Py_BuildValue("II", alignment.memory, alignment.transfer);
}

std::string describe_misalignment(const Operation& operation) {
    const auto& request = operation.request;
    engine::Alignment alignment;
    if (!has_payload(operation.kind) || !engine::is_direct(request.fd) ||
        engine::find_alignment(request.fd, alignment) != 0) {
        return {};
    }
    std::string text;
    add_finding(text, "the offset", operation.offset, alignment.transfer);
    if (!is_vectored(operation.kind)) {
        add_memory(text, "the buffer", {.iov_base = request.address, .iov_len = request.length},
                   alignment);
        return text;
    }
    const auto& parts = operation.memory.vector.parts();
    for (std::size_t i = 0; i < parts.size(); ++i) {
        add_memory(text, "buffer " + std::to_string(i), parts[i], alignment);
    }
    return text;
}

PyTypeObject* add_aligned_buffer_type(PyObject* module) {
    return reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, nullptr));
}

}  // namespace python
