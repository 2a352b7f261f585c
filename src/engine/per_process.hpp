// SPDX-License-Identifier: Apache-2.0
// An object that each process makes for itself when it first calls get().
//
// A thread of the parent may have held a lock of the object at the fork(2), and the child does not
// have this thread. So the child makes an object of its own, and never touches the parent's.
#pragma once

#include <atomic>
#include <new>

#include "engine/fork_guard.hpp"

namespace engine {

template <typename Object>
class PerProcess {
public:
    // Null for lack of memory. The object stays until the process ends.
    Object* get() noexcept {
        auto* found = current_.load(std::memory_order_acquire);
        while (found == nullptr || found->guard.is_inherited()) {
            auto* made = new (std::nothrow) Made;
            if (made == nullptr) {
                return nullptr;
            }
            made->inherited = found;
            if (current_.compare_exchange_strong(found, made)) {
                return &made->object;
            }
            delete made;
        }
        return &found->object;
    }

    // Null if this process has not made it.
    Object* get_if_made() noexcept {
        auto* found = current_.load(std::memory_order_acquire);
        return found == nullptr || found->guard.is_inherited() ? nullptr : &found->object;
    }

private:
    struct Made {
        Object object;
        ForkGuard guard;
        Made* inherited = nullptr;  // the parent's; referred to, so that leak checkers are content
    };

    std::atomic<Made*> current_ = nullptr;
};

}  // namespace engine
