// SPDX-License-Identifier: Apache-2.0
// linux_aio._core's private functions for linux_aio.bulk: reading many parts of a file.
#pragma once

#include "python/refs.hpp"

namespace python {

// Adds them to the module; false with an exception set.
bool add_bulk_functions(PyObject* module);

PyObject* bulk_load(PyObject* module, PyObject* arguments);
PyObject* bulk_stream(PyObject* module, PyObject* arguments);
PyObject* numpy_memory(PyObject* module, PyObject* arguments);
extern const char bulk_load_doc[];
extern const char bulk_stream_doc[];
extern const char numpy_memory_doc[];

}  // namespace python
