// SPDX-License-Identifier: Apache-2.0
#include "python/stat_result.hpp"

#include <structmember.h>
#include <sys/sysmacros.h>

#include <algorithm>

namespace python {
namespace {

// The first ten fields are the sequence. The times in whole seconds have no name there.
constexpr std::array<const char*, StatResultType::fields> names{
    "st_mode",     "st_ino",      "st_dev",     "st_nlink",  "st_uid",   "st_gid",   "st_size",
    nullptr,       nullptr,       nullptr,      "st_atime",  "st_mtime", "st_ctime", "st_atime_ns",
    "st_mtime_ns", "st_ctime_ns", "st_blksize", "st_blocks", "st_rdev"};
constexpr std::size_t first_second = 7;

// The index of a field in the structure, or -1 with an exception set.
Py_ssize_t find_field(PyObject* type, const char* name) {
    const auto field = Ref::steal(PyObject_GetAttrString(type, name));
    if (!field) {
        return -1;
    }
    if (!PyObject_TypeCheck(field.get(), &PyMemberDescr_Type)) {
        PyErr_Format(PyExc_TypeError, "os.stat_result.%s is not a field", name);
        return -1;
    }
    const auto* member = reinterpret_cast<PyMemberDescrObject*>(field.get())->d_member;
    constexpr auto start = static_cast<Py_ssize_t>(offsetof(PyTupleObject, ob_item));
    return (member->offset - start) / static_cast<Py_ssize_t>(sizeof(PyObject*));
}

PyObject* nanoseconds_of(const statx_timestamp& time) {
    constexpr long long second = 1'000'000'000;
    constexpr long long most = 9'000'000'000;  // seconds; more don't fit
    if (time.tv_sec > -most && time.tv_sec < most) {
        return PyLong_FromLongLong(time.tv_sec * second + time.tv_nsec);
    }
    const auto seconds = Ref::steal(PyLong_FromLongLong(time.tv_sec));
    const auto factor = Ref::steal(PyLong_FromLongLong(second));
    const auto rest = Ref::steal(PyLong_FromUnsignedLong(time.tv_nsec));
    if (!seconds || !factor || !rest) {
        return nullptr;
    }
    const auto product = Ref::steal(PyNumber_Multiply(seconds.get(), factor.get()));
    return product ? PyNumber_Add(product.get(), rest.get()) : nullptr;
}

PyObject* seconds_of(const statx_timestamp& time) {
    return PyFloat_FromDouble(static_cast<double>(time.tv_sec) + 1e-9 * time.tv_nsec);
}

PyObject* number(unsigned long long value) { return PyLong_FromUnsignedLongLong(value); }

}  // namespace

bool find_stat_result_type(StatResultType& type) {
    const auto module = Ref::steal(PyImport_ImportModule("os"));
    type.type = Ref::steal(module ? PyObject_GetAttrString(module.get(), "stat_result") : nullptr);
    const auto size =
        Ref::steal(type.type ? PyObject_GetAttrString(type.type.get(), "n_fields") : nullptr);
    if (!size) {
        return false;
    }
    type.size = PyLong_AsSsize_t(size.get());
    for (std::size_t i = 0; i < names.size(); ++i) {
        type.places[i] = names[i] != nullptr ? find_field(type.type.get(), names[i])
                                             : static_cast<Py_ssize_t>(i);
        if (type.places[i] < 0 || type.places[i] >= type.size) {
            return false;
        }
    }
    return true;
}

PyObject* make_stat_result(const StatResultType& type, const struct statx& status) {
    auto result =
        Ref::steal(PyStructSequence_New(reinterpret_cast<PyTypeObject*>(type.type.get())));
    if (!result) {
        return nullptr;
    }
    const std::array times{&status.stx_atime, &status.stx_mtime, &status.stx_ctime};
    std::array<PyObject*, StatResultType::fields> values{
        number(status.stx_mode),
        number(status.stx_ino),
        number(makedev(status.stx_dev_major, status.stx_dev_minor)),
        number(status.stx_nlink),
        number(status.stx_uid),
        number(status.stx_gid),
        number(status.stx_size),
    };
    for (std::size_t i = 0; i < times.size(); ++i) {
        values[first_second + i] = PyLong_FromLongLong(times[i]->tv_sec);
        values[first_second + 3 + i] = seconds_of(*times[i]);
        values[first_second + 6 + i] = nanoseconds_of(*times[i]);
    }
    values[16] = number(status.stx_blksize);
    values[17] = number(status.stx_blocks);
    values[18] = number(makedev(status.stx_rdev_major, status.stx_rdev_minor));
    bool is_complete = true;
    for (std::size_t i = 0; i < values.size(); ++i) {
        is_complete = is_complete && values[i] != nullptr;
        PyStructSequence_SetItem(result.get(), type.places[i], values[i]);
    }
    // later versions may have fields that are not known here
    for (Py_ssize_t i = 0; i < type.size; ++i) {
        if (PyStructSequence_GetItem(result.get(), i) == nullptr &&
            std::ranges::find(type.places, i) == type.places.end()) {
            PyStructSequence_SetItem(result.get(), i, Py_NewRef(Py_None));
        }
    }
    return is_complete ? result.release() : nullptr;
}

}  // namespace python
