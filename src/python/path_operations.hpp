// SPDX-License-Identifier: Apache-2.0
// The private methods of AIOContext for operations on paths and on whole files. linux_aio/files.py
// and linux_aio/fs.py use them. Each returns an awaitable, as AIOContext.read() does.
#pragma once

#include <cstddef>
#include <memory>

#include "python/call_details.hpp"
#include "python/context.hpp"
#include "python/refs.hpp"

namespace python {

// Returns an awaitable that carries out the call: a new reference, or null with an exception set.
// `fd` and `second_fd` are the descriptors of the program that the call uses, AT_FDCWD or -1.
PyObject* start_call(ContextObject* context, std::unique_ptr<CallDetails> details, int fd,
                     int second_fd);

// The methods. The last entry has no name.
inline constexpr std::size_t most_path_methods = 32;
const PyMethodDef* path_methods();

// _core._close_soon(fd)
PyObject* close_in_background(PyObject* module, PyObject* fd);

}  // namespace python
