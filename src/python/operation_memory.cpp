// SPDX-License-Identifier: Apache-2.0
#include "python/operation_memory.hpp"

#include <utility>

namespace python {

int OperationMemory::traverse(visitproc visit, void* arg) const {
    Py_VISIT(payload.get());
    if (const int status = vector.traverse(visit, arg); status != 0) {
        return status;
    }
    return view.traverse(visit, arg);
}

void OperationMemory::clear() noexcept {
    view.release();
    vector.release();
    payload.reset();
    read_bytes.reset();
}

void release_memory(OperationMemory& memory) noexcept {
    // All is taken out of `memory` first, because releasing it may run code that submits the
    // operation again and fills `memory` anew.
    const auto held = std::move(memory.read_bytes);
    BufferView view;
    swap(memory.view, view);
    memory.vector.release();
}

}  // namespace python
