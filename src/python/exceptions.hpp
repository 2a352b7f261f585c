// SPDX-License-Identifier: Apache-2.0
// Exceptions that are set aside, kept and raised again, on all versions of Python.
#pragma once

#include "python/refs.hpp"

namespace python {

// The exception that is set, as an object, and none set; null if there was none.
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

// Sets the exception; none if it is null.
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

// Sets an exception aside, and back in its place at the end: for code that runs where one may
// already be set (finalizers) and must not disturb it.
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
