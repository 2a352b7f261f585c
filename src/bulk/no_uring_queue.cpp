// SPDX-License-Identifier: Apache-2.0
// Compiled in place of uring_queue.cpp if the build has no liburing.
#include <cerrno>

#include "bulk/queue.hpp"

namespace bulk {

std::unique_ptr<Queue> open_uring_queue(unsigned /*depth*/, int& error) noexcept {
    error = ENOTSUP;
    return nullptr;
}

}  // namespace bulk
