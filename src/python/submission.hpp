// SPDX-License-Identifier: Apache-2.0
// The way of operations into a context.
#pragma once

#include <span>

#include "python/context.hpp"

namespace python {

// Submits operations (checked to be of that type), each to signal `eventfd`, or if that is null
// what it was prepared for. Returns how many the engine took, or -1 with an exception set.
Py_ssize_t submit(ContextObject* context, std::span<PyObject* const> operations,
                  PyObject* eventfd);

}  // namespace python
