// SPDX-License-Identifier: Apache-2.0
// References to objects of ours where other threads may drop theirs at the same time. With the GIL
// all of this is what it looks like; without, a count is in two parts, one of them the owner's (see
// Include/refcount.h of CPython).
#pragma once

#include <optional>

#include "python/refs.hpp"

namespace python {

#if defined(Py_GIL_DISABLED) && PY_VERSION_HEX < 0x030E0000
// For CPython 3.13: the function of this name that 3.14 has.
inline void PyUnstable_EnableTryIncRef(PyObject* object) noexcept {
    auto shared = __atomic_load_n(&object->ob_ref_shared, __ATOMIC_RELAXED);
    while ((shared & _Py_REF_SHARED_FLAG_MASK) == 0 &&
           !__atomic_compare_exchange_n(&object->ob_ref_shared, &shared,
                                        shared | _Py_REF_MAYBE_WEAKREF, true, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED)) {
    }
}

inline int PyUnstable_TryIncRef(PyObject* object) noexcept {
    if (__atomic_load_n(&object->ob_tid, __ATOMIC_RELAXED) == _Py_ThreadId()) {
        Py_INCREF(object);
        return 1;
    }
    auto shared = __atomic_load_n(&object->ob_ref_shared, __ATOMIC_RELAXED);
    do {
        if (shared == 0 || shared == _Py_REF_MERGED) {
            return 0;
        }
    } while (!__atomic_compare_exchange_n(&object->ob_ref_shared, &shared,
                                          shared + (1 << _Py_REF_SHARED_SHIFT), true,
                                          __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
    return 1;
}
#endif

// For objects of which somebody has a pointer that does not own them, and which at their end take
// it away under a lock: to be called first, while there is a reference.
inline void allow_try_reference([[maybe_unused]] PyObject* object) noexcept {
#ifdef Py_GIL_DISABLED
    PyUnstable_EnableTryIncRef(object);
#endif
}

// A reference, under that lock; null if the object's end has begun in another thread.
inline Ref try_reference(PyObject* object) noexcept {
#ifdef Py_GIL_DISABLED
    return Ref::steal(PyUnstable_TryIncRef(object) != 0 ? object : nullptr);
#else
    return Ref::borrow(object);
#endif
}

// How many references there are. If all of them are the caller's to count, nobody else can make
// one. No value while that can't be told, as the part that is another thread's may change
// meanwhile.
inline std::optional<Py_ssize_t> count_references(PyObject* object) noexcept {
#ifdef Py_GIL_DISABLED
    const auto owner = __atomic_load_n(&object->ob_tid, __ATOMIC_RELAXED);
    if (owner != 0 && owner != _Py_ThreadId()) {
        return std::nullopt;
    }
#endif
    return Py_REFCNT(object);
}

// Whether somebody else than the caller, who has one reference, has another. Not for what can't be
// undone: without the GIL it may be wrong, though hardly twice, while references change hands.
inline bool seems_shared(PyObject* object) noexcept {
#ifdef Py_GIL_DISABLED
    if (Py_REFCNT(object) > 1) {
        return true;
    }
#endif
    return Py_REFCNT(object) > 1;
}

}  // namespace python
