// SPDX-License-Identifier: Apache-2.0
// Runs a Call (call.hpp). Neither kernel AIO nor io_uring can carry it out.
#include "engine/call.hpp"

#include "engine/operations/operations.hpp"

namespace engine {
namespace {

std::int64_t carry_out(const OperationData& operation, const Target& target) noexcept {
    return operation.call->run(
        {.first = target.fd, .second = operation.second_fd, .is_private = false, .returns = {}});
}

}  // namespace

constinit const OperationType operations::call{-1, nullptr, nullptr, carry_out};

}  // namespace engine
