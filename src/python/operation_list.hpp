// SPDX-License-Identifier: Apache-2.0
// A list of operations, linked through the operations themselves: an operation is in at most one
// list. All code may read a list; only OperationLife changes it.
#pragma once

#include <cstddef>

#include "python/operation.hpp"

namespace python {

class OperationList {
public:
    bool empty() const noexcept { return first_ == nullptr; }
    std::size_t size() const noexcept { return size_; }
    OperationObject* front() const noexcept { return first_; }
    static OperationObject* next(const OperationObject* operation) noexcept {
        return operation->links.next;
    }

private:
    friend class OperationLife;

    void push_back(OperationObject* operation) noexcept {
        operation->links = {.previous = last_, .next = nullptr};
        (last_ != nullptr ? last_->links.next : first_) = operation;
        last_ = operation;
        ++size_;
    }

    void push_front(OperationObject* operation) noexcept {
        operation->links = {.previous = nullptr, .next = first_};
        (first_ != nullptr ? first_->links.previous : last_) = operation;
        first_ = operation;
        ++size_;
    }

    void remove(OperationObject* operation) noexcept {
        auto [previous, next] = operation->links;
        (previous != nullptr ? previous->links.next : first_) = next;
        (next != nullptr ? next->links.previous : last_) = previous;
        operation->links = {};
        --size_;
    }

    OperationObject* first_ = nullptr;
    OperationObject* last_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace python
