// SPDX-License-Identifier: Apache-2.0
// Exceptions that are set aside, kept and raised again, on all versions of Python.
#pragma once

#include "python/refs.hpp"

namespace python {

#if PY_VERSION_HEX < 0x030C0000
// What Python 3.12 has under this name: the exception that is set, as an object, and none set.
inline PyObject* PyErr_GetRaisedException() noexcept {
    PyObject* type = nullptr;
    PyObject* value = nullptr;
    PyObject* traceback = nullptr;
    PyErr_Fetch(&type, &value, &traceback);
    if (type == nullptr) {
        return nullptr;
    }
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != nullptr) {
        PyException_SetTraceback(value, traceback);
    }
    Py_DECREF(type);
    Py_XDECREF(traceback);
    return value;
}

// What Python 3.12 has under this name: raises the exception, a reference to which it takes.
inline void PyErr_SetRaisedException(PyObject* exception) noexcept {
    if (exception == nullptr) {
        PyErr_Clear();
        return;
    }
    PyErr_Restore(Py_NewRef(reinterpret_cast<PyObject*>(Py_TYPE(exception))), exception,
                  PyException_GetTraceback(exception));
}
#endif

inline Ref take_exception() noexcept { return Ref::steal(PyErr_GetRaisedException()); }
inline void raise(Ref exception) noexcept { PyErr_SetRaisedException(exception.release()); }

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
