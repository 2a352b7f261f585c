// SPDX-License-Identifier: Apache-2.0
// A list of objects that are linked by members of their own. It allocates and owns nothing.
#pragma once

namespace engine {

// `previous` and `next` are pointers to members of Node, or of a class that it inherits.
template <class Node, auto previous, auto next>
class IntrusiveList {
public:
    bool empty() const noexcept { return first_ == nullptr; }
    Node* front() const noexcept { return first_; }

    bool has(const Node& node) const noexcept {
        const auto* found = first_;
        while (found != nullptr && found != &node) {
            found = found->*next;
        }
        return found != nullptr;
    }

    void push_back(Node& node) noexcept {
        node.*previous = last_;
        node.*next = nullptr;
        (last_ != nullptr ? last_->*next : first_) = &node;
        last_ = &node;
    }

    // Moves all nodes of the other list to the end of this one.
    void append(IntrusiveList& other) noexcept {
        if (other.first_ == nullptr) {
            return;
        }
        other.first_->*previous = last_;
        (last_ != nullptr ? last_->*next : first_) = other.first_;
        last_ = other.last_;
        other = {};
    }

    void push_front(Node& node) noexcept {
        node.*previous = nullptr;
        node.*next = first_;
        (first_ != nullptr ? first_->*previous : last_) = &node;
        first_ = &node;
    }

    void remove(Node& node) noexcept {
        (node.*previous != nullptr ? (node.*previous)->*next : first_) = node.*next;
        (node.*next != nullptr ? (node.*next)->*previous : last_) = node.*previous;
        node.*previous = nullptr;
        node.*next = nullptr;
    }

    // Null if the list is empty.
    Node* pop_front() noexcept {
        auto* node = first_;
        if (node != nullptr) {
            remove(*node);
        }
        return node;
    }

private:
    Node* first_ = nullptr;
    Node* last_ = nullptr;
};

}  // namespace engine
