// SPDX-License-Identifier: Apache-2.0
// Blocking functions for programs without an event loop. They do the work of AIOContext's
// _read_part and _replace_file in the calling thread, without the GIL.
#pragma once

#include "python/refs.hpp"

namespace python {

// _core._is_mapped_from_disk(buffer) -> bool
PyObject* is_mapped_from_disk(PyObject* module, PyObject* buffer);

// _core._read_part_now(path, offset, length) -> bytes
PyObject* read_part_now(PyObject* module, PyObject* const* arguments, Py_ssize_t count);

// _core._replace_file_now(path, data, exclusive, durable, makes_parents) -> int
PyObject* replace_file_now(PyObject* module, PyObject* const* arguments, Py_ssize_t count);

// _core._take_old_status(path, fd) -> bool: gives the open file the owner, extended attributes and
// mode of the file at `path`. False if there is no such file.
PyObject* take_old_status(PyObject* module, PyObject* const* arguments, Py_ssize_t count);

// _core._new_bytes(lengths) -> (list of bytes, list of writable memoryviews on them). The caller
// must fill the bytes and release the views before any other code sees the bytes.
PyObject* new_bytes(PyObject* module, PyObject* lengths);

}  // namespace python
