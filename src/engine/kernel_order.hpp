// SPDX-License-Identifier: Apache-2.0
// What a thread did before it submitted a request comes before what another does after it took the
// completion: so much is sure, for the kernel is in between. ThreadSanitizer doesn't see the
// kernel, and has to be told. In all other builds these are nothing.
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
