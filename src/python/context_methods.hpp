// SPDX-License-Identifier: Apache-2.0
// The Python type AIOContext: its methods and attributes.
#pragma once

#include "python/refs.hpp"

namespace python {

PyTypeObject* add_context_type(PyObject* module);

}  // namespace python
