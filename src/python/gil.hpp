// SPDX-License-Identifier: Apache-2.0
// Releases the GIL, and keeps other threads out of an object.
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

// Keeps other threads out of an object for the life of the lock. With the GIL, the GIL does that.
// Without, the lock acts as the GIL would: where Python would release the GIL, it lets other
// threads in.
class ObjectLock {
public:
#ifdef Py_GIL_DISABLED
    explicit ObjectLock(PyObject* object) noexcept { lock(object); }
    ~ObjectLock() { unlock(); }
#else
    explicit ObjectLock(PyObject* /*object*/) noexcept {}
    ~ObjectLock() = default;
#endif
    ObjectLock(const ObjectLock&) = delete;
    ObjectLock& operator=(const ObjectLock&) = delete;

#ifdef Py_GIL_DISABLED
    void lock(PyObject* object) noexcept { PyCriticalSection_Begin(&section_, object); }
    void unlock() noexcept { PyCriticalSection_End(&section_); }

private:
    PyCriticalSection section_;
#else
    void lock(PyObject* /*object*/) noexcept {}
    void unlock() noexcept {}
#endif
};

}  // namespace python
