// SPDX-License-Identifier: Apache-2.0
#include "python/operation.hpp"

#include <utility>

namespace python {
namespace {

PyObject* describe_transfer(const OperationObject* operation, const char* name) {
    if (operation->request.at_position) {
        return PyUnicode_FromFormat("%s of %zu bytes where fd %d stands", name, operation->nbytes,
                                    operation->file.number());
    }
    return PyUnicode_FromFormat("%s of %zu bytes at offset %llu of fd %d", name, operation->nbytes,
                                static_cast<unsigned long long>(operation->offset),
                                operation->file.number());
}

}  // namespace

OperationObject* operation_of(engine::Request* request) noexcept {
    return static_cast<OperationObject*>(request->owner);
}

void release_buffers(OperationObject* operation) noexcept {
    if (is_busy(operation)) {
        return;
    }
    // The payload is taken out first, because release_memory() may run code that submits the
    // operation again and sets its payload anew.
    const auto failed_read = operation->kind == OperationKind::read && operation->result < 0
                                 ? std::move(operation->memory.payload)
                                 : Ref();
    release_memory(operation->memory);
}

PyObject* describe(const OperationObject* operation) {
    const int fd = operation->file.number();
    switch (operation->kind) {
        case OperationKind::read:
            return describe_transfer(operation, "read");
        case OperationKind::readinto:
            return describe_transfer(operation, "readinto");
        case OperationKind::readv:
            return describe_transfer(operation, "readv");
        case OperationKind::write:
            return describe_transfer(operation, "write");
        case OperationKind::writev:
            return describe_transfer(operation, "writev");
        case OperationKind::fsync:
            return PyUnicode_FromFormat("fsync of fd %d", fd);
        case OperationKind::fdsync:
            return PyUnicode_FromFormat("fdsync of fd %d", fd);
        case OperationKind::call:
            return operation->details->filename
                       ? PyUnicode_FromFormat("%s of %R", operation->details->name,
                                              operation->details->filename.get())
                       : PyUnicode_FromFormat("%s of fd %d", operation->details->name, fd);
        case OperationKind::poll:
            break;
    }
    return PyUnicode_FromFormat("poll of fd %d for events 0x%x", fd,
                                static_cast<unsigned>(operation->request.poll_events));
}

}  // namespace python
