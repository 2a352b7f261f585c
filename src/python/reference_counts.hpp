// SPDX-License-Identifier: Apache-2.0
// References to our objects, while other threads may release theirs. With the GIL, the functions do
// what their names say, by plain counting. Without, CPython keeps a count in two parts, one of
// which only the owning thread changes (see Include/refcount.h of CPython).
#pragma once

#include <optional>

#include "python/refs.hpp"

namespace python {

#if defined(Py_GIL_DISABLED) && PY_VERSION_HEX < 0x030E0000
// For CPython 3.13: functions that CPython 3.14 has under these names.
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

// For objects to which some code keeps a pointer without owning them, and which remove that pointer
// under a lock when they end. Called before try_reference(), by a caller that has a reference.
inline void allow_try_reference([[maybe_unused]] PyObject* object) noexcept {
#ifdef Py_GIL_DISABLED
    PyUnstable_EnableTryIncRef(object);
#endif
}

// Returns a reference, or null if the object's end has begun in another thread. The caller holds
// the lock under which the object's end removes the pointer.
inline Ref try_reference(PyObject* object) noexcept {
#ifdef Py_GIL_DISABLED
    return Ref::steal(PyUnstable_TryIncRef(object) != 0 ? object : nullptr);
#else
    return Ref::borrow(object);
#endif
}

// Returns how many references there are. If the caller accounts for all of them, no other code can
// make a new one. Returns no value if another thread owns a part of the count, which may change
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

// Whether other code than the caller, who has one reference, seems to have another. Without the
// GIL, the answer may be wrong while references change hands, though hardly twice in a row. So
// nothing that can't be undone may depend on it.
inline bool seems_shared(PyObject* object) noexcept {
#ifdef Py_GIL_DISABLED
    if (Py_REFCNT(object) > 1) {
        return true;
    }
#endif
    return Py_REFCNT(object) > 1;
}

}  // namespace python
