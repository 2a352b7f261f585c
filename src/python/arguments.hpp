// SPDX-License-Identifier: Apache-2.0
// Takes the arguments of functions that are called with METH_FASTCALL | METH_KEYWORDS: sorts them
// by parameter, and converts integers, with CPython's error texts.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "python/refs.hpp"

namespace python {

// The largest number of bytes that the kernel transfers in one request (MAX_RW_COUNT; read(2)).
inline constexpr std::int64_t max_transfer = 0x7ffff000;

// A function's parameters: the first `required` have no default.
struct Signature {
    const char* function;
    std::span<const char* const> parameters;
    std::size_t required;
};

// Sorts the arguments into `values`, one for each parameter. The references are borrowed; a
// parameter that was left out is null. If the arguments don't fit, returns false with a TypeError
// worded as CPython words it.
bool bind_arguments(const Signature& signature, PyObject* const* arguments, Py_ssize_t count,
                    PyObject* keyword_names, std::span<PyObject*> values);

// The same for a tp_new, which gets a tuple and a dict.
bool bind_arguments(const Signature& signature, PyObject* arguments, PyObject* keywords,
                    std::span<PyObject*> values);

// Converts `object` to an integer from `least` to `most`. Returns no value with an exception set:
// TypeError if the object is no integer, or a ValueError that names the parameter and its limits.
std::optional<std::int64_t> to_integer(PyObject* object, const char* parameter, std::int64_t least,
                                       std::int64_t most);

}  // namespace python
