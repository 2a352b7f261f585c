// SPDX-License-Identifier: Apache-2.0
#include "python/context.hpp"

namespace python {

bool check_usable(const ContextObject* context) {
    if (context->is_inherited()) {
        PyErr_SetString(PyExc_RuntimeError,
                        "the AIOContext belongs to the process that made it, and this is a child "
                        "of it: make a context after fork");
        return false;
    }
    if (!context->is_open()) {
        PyErr_SetString(PyExc_ValueError, "operation on closed AIOContext");
        return false;
    }
    return true;
}

}  // namespace python
