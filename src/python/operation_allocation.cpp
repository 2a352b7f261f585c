// SPDX-License-Identifier: Apache-2.0
#include "python/operation_allocation.hpp"

#include <new>

namespace python {
namespace {

// In free-threaded Python the list would need a lock that costs more than it saves.
#ifdef Py_GIL_DISABLED
constexpr bool use_free_list = false;
#else
constexpr bool use_free_list = true;
#endif

PyObject* take_free(PyTypeObject* type) noexcept {
    auto& state = state_of(type);
    if (!use_free_list || state.free_operation_count == 0) {
        return nullptr;
    }
    return PyObject_Init(state.free_operations[--state.free_operation_count], type);
}

}  // namespace

OperationObject* allocate_operation(PyTypeObject* type) {
    PyObject* object = take_free(type);
    if (object == nullptr) {
        object = PyObject_GC_New(OperationObject, type);
    }
    if (object == nullptr) {
        return nullptr;
    }
    auto* operation = static_cast<OperationObject*>(object);
    new (static_cast<Operation*>(operation)) Operation;
    return operation;
}

void deallocate_operation(ModuleState& state, OperationObject* operation) noexcept {
    operation->~Operation();
    auto* type = Py_TYPE(operation);
    if (use_free_list && state.free_operation_count < state.free_operations.size()) {
        state.free_operations[state.free_operation_count++] = operation;
    } else {
        PyObject_GC_Del(operation);
    }
    Py_DECREF(type);
}

void free_operation_memory(ModuleState& state) noexcept {
    while (state.free_operation_count != 0) {
        PyObject_GC_Del(state.free_operations[--state.free_operation_count]);
    }
}

}  // namespace python
