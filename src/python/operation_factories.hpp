// SPDX-License-Identifier: Apache-2.0
// The class methods that make operations.
#pragma once

#include "python/operation.hpp"

namespace python {

PyObject* make_read(PyObject* type, PyObject* const* arguments, Py_ssize_t count, PyObject* names);
PyObject* make_readinto(PyObject* type, PyObject* const* arguments, Py_ssize_t count,
                        PyObject* names);
PyObject* make_readv(PyObject* type, PyObject* const* arguments, Py_ssize_t count, PyObject* names);
PyObject* make_write(PyObject* type, PyObject* const* arguments, Py_ssize_t count, PyObject* names);
PyObject* make_writev(PyObject* type, PyObject* const* arguments, Py_ssize_t count,
                      PyObject* names);
PyObject* make_fsync(PyObject* type, PyObject* const* arguments, Py_ssize_t count, PyObject* names);
PyObject* make_fdsync(PyObject* type, PyObject* const* arguments, Py_ssize_t count,
                      PyObject* names);
PyObject* make_poll(PyObject* type, PyObject* const* arguments, Py_ssize_t count, PyObject* names);

extern const char make_read_doc[];
extern const char make_readinto_doc[];
extern const char make_readv_doc[];
extern const char make_write_doc[];
extern const char make_writev_doc[];
extern const char make_fsync_doc[];
extern const char make_fdsync_doc[];
extern const char make_poll_doc[];

}  // namespace python
