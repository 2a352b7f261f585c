// SPDX-License-Identifier: Apache-2.0
#include "engine/request.hpp"

#include <sys/uio.h>

#include <numeric>
#include <span>

namespace engine {

std::size_t size_of(const OperationData& operation) noexcept {
    if (!is_vectored(operation.opcode)) {
        return operation.length;
    }
    const std::span parts(static_cast<const iovec*>(operation.address), operation.length);
    return std::accumulate(
        parts.begin(), parts.end(), std::size_t{0},
        [](std::size_t total, const iovec& part) { return total + part.iov_len; });
}

}  // namespace engine
