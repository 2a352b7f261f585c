// SPDX-License-Identifier: Apache-2.0
// Letting other threads run, and keeping them out of an object.
#pragma once

#include "python/refs.hpp"

namespace python {

// Releases the GIL for the life of the object.
class GilRelease {
public:
    GilRelease() noexcept : state_(PyEval_SaveThread()) {}
    GilRelease(const GilRelease&) = delete;
    GilRelease& operator=(const GilRelease&) = delete;
    ~GilRelease() { PyEval_RestoreThread(state_); }

private:
    PyThreadState* state_;
};

// Keeps other threads out of an object for the life of the lock, as the GIL does by itself: also
// in that it lets them in where the GIL would be released.
class ObjectLock {
public:
#ifdef Py_GIL_DISABLED
    explicit ObjectLock(PyObject* object) noexcept { PyCriticalSection_Begin(&section_, object); }
    ~ObjectLock() { PyCriticalSection_End(&section_); }
#else
    explicit ObjectLock(PyObject* /*object*/) noexcept {}
    ~ObjectLock() = default;
#endif
    ObjectLock(const ObjectLock&) = delete;
    ObjectLock& operator=(const ObjectLock&) = delete;

private:
#ifdef Py_GIL_DISABLED
    PyCriticalSection section_;
#endif
};

}  // namespace python
