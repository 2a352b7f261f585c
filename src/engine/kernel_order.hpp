// SPDX-License-Identifier: Apache-2.0
// Everything that one thread does before it submits a request happens before everything that
// another thread does after it took the completion: the kernel in between makes sure of that.
// ThreadSanitizer doesn't see what the kernel does, so these functions tell it. In all other builds
// they are empty.
#pragma once

#include <atomic>

namespace engine {

#ifdef __SANITIZE_THREAD__
inline std::atomic<unsigned> kernel_order = 0;

inline void before_submission() noexcept { kernel_order.fetch_add(1, std::memory_order_release); }
inline void after_completion() noexcept {
    static_cast<void>(kernel_order.load(std::memory_order_acquire));
}
#else
inline void before_submission() noexcept {}
inline void after_completion() noexcept {}
#endif

}  // namespace engine
