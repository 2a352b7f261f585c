// SPDX-License-Identifier: Apache-2.0
// A list of operations, linked through the operations themselves: an operation is in at most one
// list. All code may read a list; only OperationLife changes it.
#pragma once

#include <cstddef>

#include "engine/intrusive_list.hpp"
#include "python/operation.hpp"

namespace python {

class OperationList {
public:
    bool empty() const noexcept { return operations_.empty(); }
    std::size_t size() const noexcept { return size_; }
    OperationObject* front() const noexcept { return operations_.front(); }
    static OperationObject* next(const OperationObject* operation) noexcept {
        return operation->next;
    }

private:
    friend class OperationLife;

    void push_back(OperationObject* operation) noexcept {
        operations_.push_back(*operation);
        ++size_;
    }

    void push_front(OperationObject* operation) noexcept {
        operations_.push_front(*operation);
        ++size_;
    }

    void remove(OperationObject* operation) noexcept {
        operations_.remove(*operation);
        --size_;
    }

    engine::IntrusiveList<OperationObject, &Operation::previous, &Operation::next> operations_;
    std::size_t size_ = 0;
};

}  // namespace python
