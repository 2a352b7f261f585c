// SPDX-License-Identifier: Apache-2.0
#include "python/operation_result.hpp"

#include "python/errors.hpp"
#include "python/read_memory.hpp"

namespace python {

PyObject* take_result(OperationObject* operation) {
    if (operation->result < 0) {
        return raise_operation_error(operation, static_cast<int>(-operation->result));
    }
    switch (operation->kind) {
        case OperationKind::call: {
            auto& details = *operation->details;
            return details.make_result(state_of(operation), details, operation->result);
        }
        case OperationKind::read:
            return read_result(*operation);
        case OperationKind::fsync:
        case OperationKind::fdsync:
            Py_RETURN_NONE;
        default:
            break;
    }
    return PyLong_FromLongLong(operation->result);
}

}  // namespace python
