// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "python/operation.hpp"

namespace python {

// Returns the operation's result as a new reference, or null with the operation's OSError. Called
// with the operation locked (operation_lock.hpp).
PyObject* take_result(OperationObject* operation);

}  // namespace python
