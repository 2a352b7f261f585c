// SPDX-License-Identifier: Apache-2.0
#include "python/arguments.hpp"

#include <algorithm>

namespace python {
namespace {

bool place_keyword(const Signature& signature, PyObject* name, PyObject* value,
                   std::span<PyObject*> values) {
    for (std::size_t i = 0; i < signature.parameters.size(); ++i) {
        if (PyUnicode_CompareWithASCIIString(name, signature.parameters[i]) != 0) {
            continue;
        }
        if (values[i] != nullptr) {
            PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%U'",
                         signature.function, name);
            return false;
        }
        values[i] = value;
        return true;
    }
    PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'",
                 signature.function, name);
    return false;
}

bool place_positional(const Signature& signature, PyObject* const* arguments, Py_ssize_t count,
                      std::span<PyObject*> values) {
    if (static_cast<std::size_t>(count) > signature.parameters.size()) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %zu arguments (%zd given)",
                     signature.function, signature.parameters.size(), count);
        return false;
    }
    std::ranges::fill(std::copy_n(arguments, count, values.begin()), values.end(), nullptr);
    return true;
}

bool check_required(const Signature& signature, std::span<PyObject* const> values) {
    for (std::size_t i = 0; i < signature.required; ++i) {
        if (values[i] == nullptr) {
            PyErr_Format(PyExc_TypeError, "%s() missing required argument '%s' (pos %zu)",
                         signature.function, signature.parameters[i], i + 1);
            return false;
        }
    }
    return true;
}

}  // namespace

bool bind_arguments(const Signature& signature, PyObject* const* arguments, Py_ssize_t count,
                    PyObject* keyword_names, std::span<PyObject*> values) {
    if (!place_positional(signature, arguments, count, values)) {
        return false;
    }
    const auto keywords = keyword_names != nullptr ? PyTuple_GET_SIZE(keyword_names) : 0;
    for (Py_ssize_t i = 0; i < keywords; ++i) {
        if (!place_keyword(signature, PyTuple_GET_ITEM(keyword_names, i), arguments[count + i],
                           values)) {
            return false;
        }
    }
    return check_required(signature, values);
}

bool bind_arguments(const Signature& signature, PyObject* arguments, PyObject* keywords,
                    std::span<PyObject*> values) {
    if (keywords != nullptr && PyArg_ValidateKeywordArguments(keywords) == 0) {
        return false;
    }
    std::array<PyObject*, 8> positional{};
    const auto count = PyTuple_GET_SIZE(arguments);
    for (Py_ssize_t i = 0; i < std::min<Py_ssize_t>(count, positional.size()); ++i) {
        positional[static_cast<std::size_t>(i)] = PyTuple_GET_ITEM(arguments, i);
    }
    if (!place_positional(signature, positional.data(), count, values)) {
        return false;
    }
    Py_ssize_t position = 0;
    PyObject* name = nullptr;
    PyObject* value = nullptr;
    while (keywords != nullptr && PyDict_Next(keywords, &position, &name, &value) != 0) {
        if (!place_keyword(signature, name, value, values)) {
            return false;
        }
    }
    return check_required(signature, values);
}

std::optional<std::int64_t> to_integer(PyObject* object, const char* parameter, std::int64_t least,
                                       std::int64_t most) {
    if (!PyIndex_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s must be an int, not %.200s", parameter,
                     Py_TYPE(object)->tp_name);
        return std::nullopt;
    }
    const auto integer = Ref::steal(PyNumber_Index(object));
    if (!integer) {
        return std::nullopt;
    }
    int overflow = 0;
    const long long value = PyLong_AsLongLongAndOverflow(integer.get(), &overflow);
    if (overflow == 0 && value >= least && value <= most) {
        return value;
    }
    if (most == INT64_MAX && (overflow < 0 || (overflow == 0 && value < least))) {
        PyErr_Format(PyExc_ValueError, "%s must be at least %lld, not %S", parameter,
                     static_cast<long long>(least), integer.get());
    } else {
        PyErr_Format(PyExc_ValueError, "%s must be from %lld to %lld, not %S", parameter,
                     static_cast<long long>(least), static_cast<long long>(most), integer.get());
    }
    return std::nullopt;
}

}  // namespace python
