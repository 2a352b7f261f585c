// SPDX-License-Identifier: Apache-2.0
#include "python/buffer_owners.hpp"

#include <cstring>

#include "python/exceptions.hpp"

namespace python {
namespace {

bool is_named(PyObject* object, const char* type) noexcept {
    return std::strcmp(Py_TYPE(object)->tp_name, type) == 0;
}

}  // namespace

bool owns_plain_memory(PyObject* buffer) {
    constexpr int most_views = 16;
    auto owner = Ref::borrow(buffer);
    for (int i = 0; i < most_views && owner; ++i) {
        PyObject* object = owner.get();
        if (PyBytes_CheckExact(object) || PyByteArray_CheckExact(object) ||
            is_named(object, "array.array") || is_named(object, "linux_aio._core._AlignedBuffer")) {
            return true;
        }
        if (PyMemoryView_Check(object)) {
            owner = Ref::borrow(PyMemoryView_GET_BUFFER(object)->obj);
        } else if (is_named(object, "numpy.ndarray")) {
            const KeptException kept;
            owner = Ref::steal(PyObject_GetAttrString(object, "base"));
            PyErr_Clear();
            if (owner.get() == Py_None) {
                return true;
            }
        } else {
            return false;
        }
    }
    return false;
}

}  // namespace python
