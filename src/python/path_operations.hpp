// SPDX-License-Identifier: Apache-2.0
// The private methods of AIOContext for operations on paths and descriptors. linux_aio/files.py and
// linux_aio/fs.py use them. Each returns an awaitable, as AIOContext.read() does.
#pragma once

#include <span>

#include "python/call_methods.hpp"

namespace python {

// At most most_call_methods.
std::span<const PyMethodDef> path_methods();

// _core._close_soon(fd)
PyObject* close_in_background(PyObject* module, PyObject* fd);

}  // namespace python
