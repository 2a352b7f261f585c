// SPDX-License-Identifier: Apache-2.0
// OSErrors that say what was attempted, and where it is known what would help.
#pragma once

#include <string_view>

#include "python/operation.hpp"

namespace python {

// The OSError of an operation. Returns null.
PyObject* raise_operation_error(const OperationObject* operation, int error);

// There is no room for the operation. Returns null.
PyObject* raise_queue_full(const OperationObject* operation, std::size_t max_requests);

// The engine can't be had. Returns null.
PyObject* raise_setup_error(std::string_view engine, int error, unsigned max_requests);

// Any other OSError with a text of ours. Returns null.
PyObject* raise_os_error(int error, const char* text);

}  // namespace python
