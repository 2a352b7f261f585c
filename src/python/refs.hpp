// SPDX-License-Identifier: Apache-2.0
// Owning references to Python objects.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <utility>

namespace python {

class Ref {
public:
    Ref() = default;
    static Ref steal(PyObject* object) noexcept { return Ref(object); }
    static Ref borrow(PyObject* object) noexcept { return Ref(Py_XNewRef(object)); }

    Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
    Ref& operator=(Ref&& other) noexcept {
        // release the old object last: its finalizer may look at this Ref
        Ref old(std::exchange(object_, std::exchange(other.object_, nullptr)));
        return *this;
    }
    ~Ref() { Py_XDECREF(object_); }

    PyObject* get() const noexcept { return object_; }
    explicit operator bool() const noexcept { return object_ != nullptr; }

    // Return a new reference for a caller that will own it; null or None if there is no object.
    PyObject* new_ref() const noexcept { return Py_XNewRef(object_); }
    PyObject* new_ref_or_none() const noexcept {
        return Py_NewRef(object_ != nullptr ? object_ : Py_None);
    }

    PyObject* release() noexcept { return std::exchange(object_, nullptr); }
    void reset() noexcept { Ref old(release()); }

    friend void swap(Ref& left, Ref& right) noexcept { std::swap(left.object_, right.object_); }

private:
    explicit Ref(PyObject* object) noexcept : object_(object) {}

    PyObject* object_ = nullptr;
};

}  // namespace python
