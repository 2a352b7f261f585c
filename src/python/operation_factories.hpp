// SPDX-License-Identifier: Apache-2.0
// The class methods that make operations, and the memory that operations work on.
#pragma once

#include "python/operation.hpp"

namespace python {

PyObject* make_read(PyObject* type, PyObject* const* arguments, Py_ssize_t count, PyObject* names);
PyObject* make_write(PyObject* type, PyObject* const* arguments, Py_ssize_t count, PyObject* names);
PyObject* make_fsync(PyObject* type, PyObject* const* arguments, Py_ssize_t count, PyObject* names);
PyObject* make_fdsync(PyObject* type, PyObject* const* arguments, Py_ssize_t count,
                      PyObject* names);
PyObject* make_poll(PyObject* type, PyObject* const* arguments, Py_ssize_t count, PyObject* names);

extern const char make_read_doc[];
extern const char make_write_doc[];
extern const char make_fsync_doc[];
extern const char make_fdsync_doc[];
extern const char make_poll_doc[];

// Takes `object` as the buffer of a write. False with an exception set, and nothing changed.
bool set_buffer(OperationObject* operation, PyObject* object);

// Gives a read about to be submitted memory to land in. False with MemoryError.
bool prepare_landing(OperationObject* operation);

}  // namespace python
