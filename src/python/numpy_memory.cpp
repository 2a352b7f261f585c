// SPDX-License-Identifier: Apache-2.0
// Gives NumPy's arrays memory at addresses that suit direct I/O: see "Memory management in NumPy"
// (NEP 49). The build needs neither NumPy nor its headers: NumPy's table of functions and the types
// declared here are part of its binary interface.
#include <malloc.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "python/bulk_load.hpp"
#include "python/exceptions.hpp"
#include "python/refs.hpp"

namespace python {
namespace {

struct DataAllocator {
    void* context;
    void* (*allocate)(void* context, std::size_t size);
    void* (*allocate_zeroed)(void* context, std::size_t count, std::size_t size);
    void* (*reallocate)(void* context, void* data, std::size_t size);
    void (*release)(void* context, void* data, std::size_t size);
};
struct DataHandler {
    char name[127];
    std::uint8_t version;
    DataAllocator allocator;
};
constexpr const char* capsule_name = "mem_handler";

// Places in NumPy's table.
constexpr std::size_t feature_version_place = 211;
constexpr std::size_t set_handler_place = 304;
constexpr unsigned first_version_with_handlers = 0xf;  // NumPy 1.22

// Data begin at a multiple of this, plus the shift in the handler's context.
constexpr std::size_t alignment = 4096;

constexpr std::size_t huge_page = std::size_t{2} << 20U;

std::size_t shift_of(void* context) noexcept {
    return static_cast<std::size_t>(reinterpret_cast<std::uintptr_t>(context));
}

void* allocate(void* context, std::size_t size) {
    const auto shift = shift_of(context);
    if (size > SIZE_MAX - alignment) {
        return nullptr;
    }
    const bool is_large = size >= 2 * huge_page;
    void* start = nullptr;
    if (posix_memalign(&start, is_large ? huge_page : alignment, size + shift) != 0) {
        return nullptr;
    }
    if (is_large) {
        // NumPy asks for huge pages, too: the kernel then has fewer pages to make.
        madvise(start, size + shift, MADV_HUGEPAGE);
    }
    return static_cast<std::byte*>(start) + shift;
}

void* start_of(void* data) noexcept {
    auto* const address = static_cast<std::byte*>(data);
    return address - reinterpret_cast<std::uintptr_t>(address) % alignment;
}

void* allocate_zeroed(void* context, std::size_t count, std::size_t size) {
    if (size != 0 && count > SIZE_MAX / size) {
        return nullptr;
    }
    void* data = allocate(context, count * size);
    if (data != nullptr) {
        std::memset(data, 0, count * size);
    }
    return data;
}

void release(void* /*context*/, void* data, std::size_t /*size*/) {
    if (data != nullptr) {
        std::free(start_of(data));
    }
}

void* reallocate(void* context, void* data, std::size_t size) {
    void* moved = allocate(context, size);
    if (moved != nullptr && data != nullptr) {
        const auto old_size = malloc_usable_size(start_of(data)) - shift_of(context);
        std::memcpy(moved, data, std::min(old_size, size));
        release(context, data, old_size);
    }
    return moved;
}

void delete_handler(PyObject* capsule) {
    delete static_cast<DataHandler*>(PyCapsule_GetPointer(capsule, capsule_name));
}

// A handler that NumPy keeps as long as an array with its memory lives.
Ref make_handler(std::size_t shift) {
    auto handler = std::unique_ptr<DataHandler>(new (std::nothrow) DataHandler{
        .name = "linux_aio",
        .version = 1,
        .allocator = {.context = reinterpret_cast<void*>(static_cast<std::uintptr_t>(shift)),
                      .allocate = allocate,
                      .allocate_zeroed = allocate_zeroed,
                      .reallocate = reallocate,
                      .release = release},
    });
    if (handler == nullptr) {
        PyErr_NoMemory();
        return {};
    }
    auto capsule = Ref::steal(PyCapsule_New(handler.get(), capsule_name, delete_handler));
    if (capsule) {
        [[maybe_unused]] const auto* handed_over = handler.release();
    }
    return capsule;
}

}  // namespace

const char numpy_memory_doc[] =
    "_numpy_memory(api, shift, make, /)\n--\n\n"
    "Return make(), during which NumPy's arrays get memory at multiples of 4096 plus shift. `api` "
    "is\nNumPy's table of functions. Older versions than 1.22 choose the memory themselves.";

PyObject* numpy_memory(PyObject* /*module*/, PyObject* arguments) {
    PyObject* api = nullptr;
    Py_ssize_t shift = 0;
    PyObject* make = nullptr;
    if (PyArg_ParseTuple(arguments, "OnO", &api, &shift, &make) == 0) {
        return nullptr;
    }
    if (shift < 0 || shift >= static_cast<Py_ssize_t>(alignment)) {
        PyErr_Format(PyExc_ValueError, "shift must be from 0 to %zu", alignment - 1);
        return nullptr;
    }
    auto* const* const table = static_cast<void**>(PyCapsule_GetPointer(api, nullptr));
    if (table == nullptr) {
        return nullptr;
    }
    const auto feature_version = reinterpret_cast<unsigned (*)()>(table[feature_version_place]);
    if (feature_version() < first_version_with_handlers) {
        return PyObject_CallNoArgs(make);
    }
    // Sets the handler for the contextvars context of this thread or task, and returns the one
    // before.
    const auto set_handler = reinterpret_cast<PyObject* (*)(PyObject*)>(table[set_handler_place]);
    const auto handler = make_handler(static_cast<std::size_t>(shift));
    if (!handler) {
        return nullptr;
    }
    const auto before = Ref::steal(set_handler(handler.get()));
    if (!before) {
        return nullptr;
    }
    auto made = Ref::steal(PyObject_CallNoArgs(make));
    const KeptException error;
    static_cast<void>(Ref::steal(set_handler(before.get())));
    return made.release();
}

}  // namespace python
