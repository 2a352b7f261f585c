// SPDX-License-Identifier: Apache-2.0
#include "engine/request.hpp"

#include <sys/uio.h>

#include <numeric>
#include <span>

namespace engine {

std::size_t size_of(const Request& request) noexcept {
    if (!is_vectored(request.opcode)) {
        return request.length;
    }
    const std::span parts(static_cast<const iovec*>(request.address), request.length);
    return std::accumulate(
        parts.begin(), parts.end(), std::size_t{0},
        [](std::size_t total, const iovec& part) { return total + part.iov_len; });
}

}  // namespace engine
