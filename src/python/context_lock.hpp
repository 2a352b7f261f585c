// SPDX-License-Identifier: Apache-2.0
// Keeping other threads out of a context, with the GIL and without.
#pragma once

#include "python/context.hpp"
#include "python/gil.hpp"

namespace python {

class ContextLock {
public:
    explicit ContextLock(ContextObject* context) noexcept
        : context_(context), lock_(usable_lock_of(context)) {}
    ContextLock(const ContextLock&) = delete;
    ContextLock& operator=(const ContextLock&) = delete;
    ~ContextLock() = default;

    // Releases the lock for the life of the object, for calls that may come back to the context.
    // Such a call may lock the context again. CPython allows that in the same thread, but spins for
    // a while first.
    class Pause {
    public:
        explicit Pause(ContextLock& paused) noexcept : paused_(paused) { paused_.lock_.unlock(); }
        Pause(const Pause&) = delete;
        Pause& operator=(const Pause&) = delete;
        ~Pause() { paused_.lock_.lock(usable_lock_of(paused_.context_)); }

    private:
        ContextLock& paused_;
    };

    // Returns the context. In a child process, first resets the context's lock: a thread that does
    // not exist there may have held the lock, or have been given it, at the fork.
    static PyObject* usable_lock_of(ContextObject* context) noexcept {
#ifdef Py_GIL_DISABLED
        if (context->lock_guard.is_inherited()) {
            static std::mutex one_at_a_time;
            const std::lock_guard lock(one_at_a_time);
            if (context->lock_guard.is_inherited()) {
                context->ob_mutex = {};
                context->lock_guard = {};
            }
        }
#endif
        return context;
    }

private:
    ContextObject* context_;
    ObjectLock lock_;
};

}  // namespace python
