// SPDX-License-Identifier: Apache-2.0
// linux_aio._core's private functions for linux_aio.bulk: reading many parts of a file.
#pragma once

#include "bulk/load.hpp"
#include "python/refs.hpp"

namespace python {

// Adds them to the module; false with an exception set.
bool add_bulk_functions(PyObject* module);

// Fills in both from the arguments. False with an exception set.
bool set_load_options(bulk::File& file, bulk::LoadOptions& options, int mode, Py_ssize_t chunk,
                      unsigned depth, const char* engine);

// (nbytes, direct, cached, engine, chunk, depth, met_end), or (errno, offset) of a request that
// failed; null with an exception set, as where the loader's callbacks left one.
PyObject* load_answer(const bulk::LoadReport& report);

PyObject* bulk_load(PyObject* module, PyObject* arguments);
PyObject* numpy_memory(PyObject* module, PyObject* arguments);
extern const char bulk_load_doc[];
extern const char numpy_memory_doc[];

}  // namespace python
