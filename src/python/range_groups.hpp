// SPDX-License-Identifier: Apache-2.0
// linux_aio._core._group_ranges: puts ranges of a file that lie close together into groups.
#pragma once

#include "python/refs.hpp"

namespace python {

extern const char group_ranges_doc[];

PyObject* group_ranges(PyObject* module, PyObject* arguments);

}  // namespace python
