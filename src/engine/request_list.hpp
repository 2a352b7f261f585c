// SPDX-License-Identifier: Apache-2.0
// Requests in order, linked by members of their own: nothing is allocated.
#pragma once

#include "engine/request.hpp"

namespace engine {

template <Request* Request::* previous, Request* Request::* next>
class LinkedRequests {
public:
    bool empty() const noexcept { return first_ == nullptr; }
    Request* front() const noexcept { return first_; }

    bool has(const Request& request) const noexcept {
        const auto* found = first_;
        while (found != nullptr && found != &request) {
            found = found->*next;
        }
        return found != nullptr;
    }

    void push_back(Request& request) noexcept {
        request.*previous = last_;
        request.*next = nullptr;
        (last_ != nullptr ? last_->*next : first_) = &request;
        last_ = &request;
    }

    void push_front(Request& request) noexcept {
        request.*previous = nullptr;
        request.*next = first_;
        (first_ != nullptr ? first_->*previous : last_) = &request;
        first_ = &request;
    }

    void remove(Request& request) noexcept {
        (request.*previous != nullptr ? (request.*previous)->*next : first_) = request.*next;
        (request.*next != nullptr ? (request.*next)->*previous : last_) = request.*previous;
        request.*previous = nullptr;
        request.*next = nullptr;
    }

    // Null if there is none.
    Request* pop_front() noexcept {
        auto* request = first_;
        if (request != nullptr) {
            remove(*request);
        }
        return request;
    }

private:
    Request* first_ = nullptr;
    Request* last_ = nullptr;
};

using RequestList = LinkedRequests<&Request::previous, &Request::next>;

// A request may be in one of these and in another list at once.
using PostedList = LinkedRequests<&Request::previous_posted, &Request::next_posted>;

}  // namespace engine
