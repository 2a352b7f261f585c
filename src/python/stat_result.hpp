// SPDX-License-Identifier: Apache-2.0
// Makes an os.stat_result from the result of statx(2).
#pragma once

#include <sys/stat.h>

#include <array>
#include <cstddef>

#include "python/refs.hpp"

namespace python {

// The places of the fields in the interpreter's os.stat_result.
struct StatResultType {
    static constexpr std::size_t fields = 19;

    Ref type;
    std::array<Py_ssize_t, fields> places{};
    Py_ssize_t size = 0;  // how many fields the type has, including those that we don't know
};

// False with an exception set.
bool find_stat_result_type(StatResultType& type);

// A new os.stat_result, or null with an exception set.
PyObject* make_stat_result(const StatResultType& type, const struct statx& status);

}  // namespace python
