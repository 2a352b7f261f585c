// SPDX-License-Identifier: Apache-2.0
// Keeps other threads out of an operation.
//
// With the GIL, this does nothing. Without, the lock of an operation's context protects the
// operation's fields, since completions arrive under that lock. The operation's own lock protects
// `context`, and all fields of an operation without a context. `context` is changed under both
// locks. The locks are taken where Python calls this extension, and not again further down: if one
// thread takes a critical section twice, CPython lets other threads in.
#pragma once

#include "python/context_lock.hpp"
#include "python/operation.hpp"

namespace python {

class OperationLock {
public:
#ifdef Py_GIL_DISABLED
    explicit OperationLock(OperationObject* operation) noexcept {
        for (;;) {
            {
                const ObjectLock lock(operation);
                context_ = Ref::borrow(operation->context.get());
            }
            PyCriticalSection2_Begin(&section_, operation, lock_of_context(operation));
            if (operation->context.get() == context_.get()) {
                return;
            }
            PyCriticalSection2_End(&section_);  // submitted to another context in between
        }
    }
    ~OperationLock() { PyCriticalSection2_End(&section_); }
#else
    explicit OperationLock(OperationObject* /*operation*/) noexcept {}
    ~OperationLock() = default;
#endif
    OperationLock(const OperationLock&) = delete;
    OperationLock& operator=(const OperationLock&) = delete;

private:
#ifdef Py_GIL_DISABLED
    PyObject* lock_of_context(OperationObject* operation) const noexcept {
        auto* context = static_cast<ContextObject*>(context_.get());
        return context != nullptr ? ContextLock::usable_lock_of(context) : operation;
    }

    Ref context_;  // declared before the lock, so that it is released after it
    PyCriticalSection2 section_;
#endif
};

}  // namespace python
