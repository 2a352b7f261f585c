// SPDX-License-Identifier: Apache-2.0
// The Python type of a watcher (watcher.hpp), which the loop calls.
#pragma once

#include "python/refs.hpp"

namespace python {

PyTypeObject* make_watcher_type(PyObject* module);

}  // namespace python
