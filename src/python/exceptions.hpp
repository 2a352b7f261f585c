// SPDX-License-Identifier: Apache-2.0
// Sets exceptions aside and raises them again, on all versions of Python.
#pragma once

#include "python/refs.hpp"

namespace python {

// Returns the exception that is set, as an object, and clears it. Returns null if none was set.
inline Ref take_exception() noexcept {
#if PY_VERSION_HEX >= 0x030C0000
    return Ref::steal(PyErr_GetRaisedException());
#else
    PyObject* type = nullptr;
    PyObject* value = nullptr;
    PyObject* traceback = nullptr;
    PyErr_Fetch(&type, &value, &traceback);
    if (type == nullptr) {
        return {};
    }
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != nullptr) {
        PyException_SetTraceback(value, traceback);
    }
    Py_DECREF(type);
    Py_XDECREF(traceback);
    return Ref::steal(value);
#endif
}

// Sets the exception. If it is null, clears the one that is set.
inline void raise(Ref exception) noexcept {
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(exception.release());
#else
    PyObject* value = exception.release();
    if (value == nullptr) {
        PyErr_Clear();
        return;
    }
    auto* type = reinterpret_cast<PyObject*>(Py_TYPE(value));
    PyErr_Restore(Py_NewRef(type), value, PyException_GetTraceback(value));
#endif
}

// Sets the current exception aside, and restores it at the end of the object's life. For code that
// runs while an exception may be set, such as finalizers, and must not disturb it.
class KeptException {
public:
    KeptException() noexcept : exception_(take_exception()) {}
    KeptException(const KeptException&) = delete;
    KeptException& operator=(const KeptException&) = delete;
    ~KeptException() { raise(std::move(exception_)); }

private:
    Ref exception_;
};

}  // namespace python
