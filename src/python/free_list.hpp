// SPDX-License-Identifier: Apache-2.0
// Memory of objects that are gone, for those to come: programs make one for each request.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <new>

#include "python/refs.hpp"

namespace python {

// For objects `struct ThingObject : PyObject, Thing`, which the garbage collector knows.
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

    // For tp_dealloc: ends the fields, and keeps the memory in the list, if there is one, or frees
    // it.
    static void deallocate(FreeList* list, Object* object) noexcept {
        std::destroy_at(static_cast<Fields*>(object));
        auto* type = Py_TYPE(object);
        // the mark of one whose finalizer was called would stay
        const bool fit = list != nullptr && !PyObject_GC_IsFinalized(object);
        if (use && fit && list->count_ < capacity) {
            list->objects_[list->count_++] = object;
        } else {
            PyObject_GC_Del(object);
        }
        Py_DECREF(type);
    }

    // Frees what is kept.
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
