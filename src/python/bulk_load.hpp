// SPDX-License-Identifier: Apache-2.0
// linux_aio._core's private functions for linux_aio.bulk: reading many parts of a file.
#pragma once

#include "bulk/load.hpp"
#include "python/refs.hpp"

namespace python {

// Adds the functions to the module. Returns false with an exception set.
bool add_bulk_functions(PyObject* module);

// Fills in `file` and `options` from the other arguments. Returns false with an exception set.
bool set_load_options(bulk::File& file, bulk::LoadOptions& options, int mode, Py_ssize_t chunk,
                      unsigned depth, const char* engine);

// Returns (nbytes, direct, cached, engine, chunk, depth, end), or (errno, offset) of a request
// that failed. Returns null with an exception set, also if the loader's callbacks have set one.
PyObject* load_answer(const bulk::LoadReport& report);

PyObject* bulk_load(PyObject* module, PyObject* arguments);
PyObject* numpy_memory(PyObject* module, PyObject* arguments);
extern const char bulk_load_doc[];
extern const char numpy_memory_doc[];

}  // namespace python
