// SPDX-License-Identifier: Apache-2.0
// Letting other threads run, and keeping them out of an object.
#pragma once

#include <cxxabi.h>
#include <unistd.h>

#include "python/refs.hpp"

namespace python {

// Takes the GIL back. Up to Python 3.13, a daemon thread that does so while the interpreter ends is
// made to exit by unwinding its stack, through frames that own references. As later versions do,
// let it sleep instead: the process is about to end.
inline void acquire_gil(PyThreadState* state) noexcept {
    try {
        PyEval_RestoreThread(state);
    } catch (abi::__forced_unwind&) {
        for (;;) {
            pause();
        }
    }
}

// Releases the GIL for the life of the object.
class GilRelease {
public:
    GilRelease() noexcept : state_(PyEval_SaveThread()) {}
    GilRelease(const GilRelease&) = delete;
    GilRelease& operator=(const GilRelease&) = delete;
    ~GilRelease() { acquire_gil(state_); }

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
