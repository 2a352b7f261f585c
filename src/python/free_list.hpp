// SPDX-License-Identifier: Apache-2.0
// Keeps the memory of destroyed objects for new ones, since programs make an object for each
// request.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <new>

#include "python/refs.hpp"

namespace python {

// For objects `struct ThingObject : PyObject, Thing` that the garbage collector tracks.
template <class Object, class Fields, std::size_t capacity>
class FreeList {
public:
    // A new object that is not tracked yet, or null with MemoryError.
    Object* allocate(PyTypeObject* type) {
        PyObject* object =
            count_ != 0 ? PyObject_Init(objects_[--count_], type) : PyObject_GC_New(PyObject, type);
        if (object == nullptr) {
            return nullptr;
        }
        auto* result = static_cast<Object*>(object);
        new (static_cast<Fields*>(result)) Fields;
        return result;
    }

    // For tp_dealloc: destroys the fields. Keeps the memory if there is a list and room in it; else
    // frees the memory.
    static void deallocate(FreeList* list, Object* object) noexcept {
        std::destroy_at(static_cast<Fields*>(object));
        auto* type = Py_TYPE(object);
        // an object whose finalizer was called would stay marked as finalized
        const bool fit = list != nullptr && !PyObject_GC_IsFinalized(object);
        if (use && fit && list->count_ < capacity) {
            list->objects_[list->count_++] = object;
        } else {
            PyObject_GC_Del(object);
        }
        Py_DECREF(type);
    }

    // Frees the memory that the list keeps.
    void clear() noexcept {
        while (count_ != 0) {
            PyObject_GC_Del(objects_[--count_]);
        }
    }

private:
    // In free-threaded Python the list would need a lock that costs more than it saves.
#ifdef Py_GIL_DISABLED
    static constexpr bool use = false;
#else
    static constexpr bool use = true;
#endif

    std::array<PyObject*, capacity> objects_;
    std::size_t count_ = 0;
};

}  // namespace python
