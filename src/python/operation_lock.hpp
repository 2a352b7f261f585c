// SPDX-License-Identifier: Apache-2.0
// Keeping other threads out of an operation.
//
// With the GIL this is nothing. Without, the fields of an operation belong to the lock of its
// context, since completions arrive under that; those of one that has no context, and the question
// which context it is, to its own. The context changes under both. Locks are taken where Python
// calls us, and not again on the way: taken twice by one thread, a critical section lets others in.
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
            PyCriticalSection2_End(&section_);  // submitted to another one in between
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

    Ref context_;  // given back after the lock
    PyCriticalSection2 section_;
#endif
};

}  // namespace python
