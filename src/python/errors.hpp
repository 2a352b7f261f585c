// SPDX-License-Identifier: Apache-2.0
// Raises OSErrors that say what was attempted and, where known, what would help.
#pragma once

#include <string_view>

#include "python/operation.hpp"

namespace python {

// Raises the OSError of an operation. Returns null.
PyObject* raise_operation_error(const OperationObject* operation, int error);

// Raises the error for an operation that has no room in the queue. Returns null.
PyObject* raise_queue_full(const OperationObject* operation, std::size_t max_requests);

// Raises the error for an engine that can't be set up. Returns null.
PyObject* raise_setup_error(std::string_view engine, int error, unsigned max_requests);

// Raises any other OSError, with our text. Returns null.
PyObject* raise_os_error(int error, const char* text);

}  // namespace python
