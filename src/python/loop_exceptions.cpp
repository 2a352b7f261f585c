// SPDX-License-Identifier: Apache-2.0
#include "python/loop_exceptions.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <utility>

#include "python/exceptions.hpp"

namespace python {
namespace {

// Signal handlers run in the main thread of the main interpreter.
bool may_run_signal_handlers() noexcept {
    return syscall(__NR_gettid) == getpid() &&
           PyInterpreterState_Get() == PyInterpreterState_Main();
}

int raise_later(void* exception) {
    raise(Ref::steal(static_cast<PyObject*>(exception)));
    return -1;
}

}  // namespace

// An OSError that is none of its subclasses is the kernel's answer to the loop, such as EMFILE or
// ENOSPC. Handlers raise subclasses, such as TimeoutError.
bool is_of_signal_handler() noexcept {
    const bool is_loops = PyErr_Occurred() == PyExc_OSError ||
                          PyErr_ExceptionMatches(PyExc_RuntimeError) != 0 ||
                          PyErr_ExceptionMatches(PyExc_AttributeError) != 0 ||
                          PyErr_ExceptionMatches(PyExc_MemoryError) != 0;
    return !is_loops && may_run_signal_handlers();
}

void drop_loops_exception() noexcept {
    if (PyErr_Occurred() == nullptr) {
        return;
    }
    if (!is_of_signal_handler()) {
        PyErr_Clear();
        return;
    }
    auto* later = take_exception().release();
    if (Py_AddPendingCall(raise_later, later) != 0) {
        Py_DECREF(later);  // too many are pending
    }
}

}  // namespace python
